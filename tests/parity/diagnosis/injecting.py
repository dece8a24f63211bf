"""Faults put into a known place of a converted file; every function here changes a copy."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conversion import Artifact
from conversion.artifact import open_artifact
from conversion.guards.quiet import import_coremltools
from parity.coreml.reading.files import open_model
from parity.coreml.reading.mil import read_constants
from tests.parity.diagnosis.networks import converted, scratch

_COUNT = itertools.count()


def edited(name: str, route: str, change: Callable[[Any], None]) -> Artifact:
    """Convert a network of networks.py, change a copy of what comes out, and open it.

    change: takes the ONNX ModelProto, or the specification of a Core ML model.
    """
    good = converted(name, route).path
    path = scratch() / f"changed-{next(_COUNT)}{good.suffix}"
    if good.suffix == ".onnx":
        model = onnx.load(str(good))
        change(model)
        onnx.save(model, str(path))
        return open_artifact(path)
    utils = import_coremltools().utils
    specification = utils.load_spec(str(good))
    change(specification)
    if good.is_dir():
        shutil.copytree(good, path)
        (path / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(specification.SerializeToString())
    else:
        utils.save_spec(specification, str(path))
    return open_artifact(path)


def nodes(model: Any, kind: str) -> list[Any]:
    """List the ONNX nodes of a type."""
    return [node for node in model.graph.node if node.op_type == kind]


def reading(model: Any, weight: str) -> Any:
    """Find the one ONNX node that reads a weight, by the end of the weight's name before it was folded."""
    return next(node for node in model.graph.node if any(name.endswith(weight) for name in node.input))


def set_attribute(node: Any, name: str, value: Any) -> None:
    """Set an attribute of an ONNX node."""
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def change_weight(model: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change an initializer of an ONNX model."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = np.array(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array).astype(array.dtype)), name))


def bypass(model: Any, node: Any) -> None:
    """Take an ONNX node out, and give its readers what it read."""
    for other in model.graph.node:
        for place, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[place] = node.input[0]
    model.graph.node.remove(node)


def operations(specification: Any) -> Any:
    """Return the operations of an ML Program."""
    function = specification.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def program_operations(specification: Any, kind: str) -> list[Any]:
    """List the operations of an ML Program of a type."""
    return [operation for operation in operations(specification) if operation.type == kind]


def set_constant(name: str, route: str, specification: Any, operation: Any, place: str, change: Any) -> None:
    """Give one operation of an ML Program another constant. change: takes the array that it reads."""
    held = open_model(converted(name, route).path)
    binding = operation.inputs[place].arguments[0]
    before = read_constants(held.specification, held.name, held.weights_dir)[binding.name]
    listed = operations(specification)
    const = next(o for o in listed if o.type == "const" and o.outputs[0].name == binding.name)
    fresh = type(const)()
    fresh.CopyFrom(const)
    fresh.outputs[0].name = f"{binding.name}_of_{operation.outputs[0].name}"
    value = fresh.attributes["val"]
    value.ClearField("value")
    array, tensor = np.asarray(change(before)), value.immediateValue.tensor
    if value.type.tensorType.dataType == 10:  # MIL.proto: FLOAT16
        tensor.bytes.values = array.astype(np.float16).tobytes()
    elif value.type.tensorType.dataType == 11:  # FLOAT32
        tensor.floats.values[:] = array.astype(np.float32).ravel().tolist()
    else:
        tensor.ints.values[:] = array.ravel().tolist()
    binding.name = fresh.outputs[0].name
    copies = [fresh]
    for one in listed:
        copy = type(one)()
        copy.CopyFrom(one)
        copies.append(copy)
    del listed[:]
    listed.extend(copies)


def layers(specification: Any, kind: str) -> list[Any]:
    """List the layers of a NeuralNetwork of a type."""
    return [x for x in specification.neuralNetworkClassifier.layers if x.WhichOneof("layer") == kind]
