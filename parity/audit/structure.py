"""Edits that add to a file what `parity.diagnosis.editing`, which undoes faults, has no need of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.diagnosis.edit_onnx import insert_behind_image
from parity.diagnosis.editing import Editable

_BGR = 30  # FeatureTypes.proto: ImageFeatureType.ColorSpace
_INT32 = 23  # MIL.proto: DataType


def swap_channels(model: Editable) -> None:
    """Let the network read blue where red was."""
    if model.format != "onnx":
        model.content.description.input[0].type.imageType.colorSpace = _BGR
        return
    insert_behind_image(model.content, "Gather", np.array([2, 1, 0], np.int64), axis=1)


def fix_shape(model: Editable, shape: Sequence[int]) -> None:
    """Bake a shape [N, 3, H, W] in, right behind the image."""
    if model.format == "onnx":
        insert_behind_image(model.content, "Reshape", np.array(shape, np.int64))
    elif model.format == "mlprogram":
        _reshape_program(model.content, shape)
    else:
        _reshape_network(model.content, shape)


def repeat(model: Editable, operation: str) -> None:
    """Do an operation twice, one after the other."""
    if model.format == "onnx":
        nodes = model.content.graph.node
        index = next(i for i, node in enumerate(nodes) if (node.name or node.output[0]) == operation)
        again = _copy(nodes[index])
        again.name = f"{operation} again"
        nodes[index].output[0] = again.input[0] = f"{again.output[0]} once"
        nodes.insert(index + 1, again)
    elif model.format == "mlprogram":
        _, operations = _block(model.content)
        index = next(i for i, o in enumerate(operations) if o.outputs and o.outputs[0].name == operation)
        again = _copy(operations[index])
        once = f"{operation}_once"
        operations[index].outputs[0].name = once
        again.inputs["x"].arguments[0].name = once
        _name(operations[index], once)
        operations.insert(index + 1, again)
    else:
        layers = _network(model.content).layers
        index = next(i for i, layer in enumerate(layers) if layer.name == operation)
        again = _copy(layers[index])
        again.name = f"{operation} again"
        layers[index].output[0] = again.input[0] = f"{again.output[0]} once"
        layers.insert(index + 1, again)


def approximate_erf(model: Editable, operation: str) -> None:
    """Put the tanh of the approximate GELU in the place of an ONNX Erf.

    GELU's erf(x / sqrt(2)) becomes tanh(sqrt(2 / pi) * (x + 0.044715 x^3)); what comes in is x / sqrt(2).
    """
    from onnx import helper, numpy_helper

    graph = model.content.graph
    index = next(i for i, node in enumerate(graph.node) if (node.name or node.output[0]) == operation)
    (value,), (result,) = graph.node[index].input, graph.node[index].output
    linear, cubic = 2 / np.sqrt(np.pi), np.sqrt(2 / np.pi) * 0.044715 * 2 * np.sqrt(2)
    names = [f"{operation} {part}" for part in ("linear", "cubic", "square", "scaled", "factor", "inner")]
    first, third, square, scaled, factor, inner = names
    for name, number in ((first, linear), (third, cubic)):
        graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    del graph.node[index]
    steps = (
        ("Mul", [value, value], square),
        ("Mul", [square, third], scaled),
        ("Add", [scaled, first], factor),
        ("Mul", [factor, value], inner),
        ("Tanh", [inner], result),
    )
    for place, (kind, inputs, output) in enumerate(steps):
        graph.node.insert(index + place, helper.make_node(kind, inputs, [output], output))


def _reshape_program(model: Any, shape: Sequence[int]) -> None:
    function, operations = _block(model)
    image, changed = function.inputs[0], "mutated_image"
    for operation in operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name" and binding.name == image.name:
                    binding.name = changed
    reshape = type(operations[0])()
    reshape.type = "reshape"
    reshape.inputs["x"].arguments.add().name = image.name
    value = reshape.inputs["shape"].arguments.add().value
    value.type.tensorType.dataType = _INT32
    value.type.tensorType.rank = 1
    value.type.tensorType.dimensions.add().constant.size = len(shape)
    value.immediateValue.tensor.ints.values.extend(shape)
    output = reshape.outputs.add()
    output.name = changed
    output.type.tensorType.dataType = image.type.tensorType.dataType
    output.type.tensorType.rank = len(shape)
    for size in shape:
        output.type.tensorType.dimensions.add().constant.size = size
    operations.insert(0, reshape)


def _reshape_network(model: Any, shape: Sequence[int]) -> None:
    network = _network(model)
    image, changed = model.description.input[0].name, "mutated image"
    for layer in network.layers:
        layer.input[:] = [changed if name == image else name for name in layer.input]
    layer = type(network.layers[0])()
    layer.name = changed
    layer.input.append(image)
    layer.output.append(changed)
    layer.reshape.targetShape.extend(shape[1:])
    network.layers.insert(0, layer)


def _block(model: Any) -> tuple[Any, Any]:
    function = model.mlProgram.functions[model.description.defaultFunctionName or "main"]
    return function, function.block_specializations[function.opset].operations


def _network(model: Any) -> Any:
    return getattr(model, model.WhichOneof("Type"))


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _name(operation: Any, name: str) -> None:
    if "name" in operation.attributes:
        operation.attributes["name"].immediateValue.tensor.strings.values[:] = [name]
