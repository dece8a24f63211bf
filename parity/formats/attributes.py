"""What two converted files say of the same operations: settings and weights, field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.errors import ConversionError
from parity.coreml.reading.files import ModelFile, open_model
from parity.coreml.reading.mil_values import Constant, Weights, read_constant

if TYPE_CHECKING:
    from conversion import Artifact

# Longer lists are weights, where nobody reads the numbers.
_MOST = 16
# Of NeuralNetwork.proto's layers: how they hang together, which the order of the operations says already.
_WIRING = frozenset(("name", "input", "output", "inputTensor", "outputTensor"))


@dataclass(frozen=True)
class Operation:
    """Hold one operation of a file; attributes: name -> setting as text, or weights as numbers.

    inputs, outputs: the values that it reads and gives, by their names in the file.
    """

    type: str
    name: str
    attributes: Mapping[str, str | np.ndarray]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def changed_attributes(before: Artifact, now: Artifact) -> tuple[str, ...]:
    """Name the settings and weights that differ between operations which both files have, a line each.

    Operations are paired by their order and type; those without a partner are counted by `changed_facts`.
    """
    old, new = list(operations(before)), list(operations(now))
    matcher = SequenceMatcher(None, [o.type for o in old], [o.type for o in new], autojunk=False)
    found: dict[tuple[str, str, str], list[str]] = {}
    for start, begin, length in matcher.get_matching_blocks():
        for was, found_now in zip(old[start : start + length], new[begin : begin + length], strict=True):
            for name in sorted(was.attributes.keys() | found_now.attributes.keys()):
                told = _difference(was.attributes.get(name, "absent"), found_now.attributes.get(name, "absent"))
                if told:
                    found.setdefault((was.type, name, told), []).append(found_now.name)
    return tuple(_told(*key, names) for key, names in found.items())


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the operations of a file in its order, without constants; a file that cannot be read is an error."""
    if artifact.format == "onnx":
        return _onnx(str(artifact.path))
    model = open_model(artifact.path)
    kind = model.specification.WhichOneof("Type")
    if kind == "mlProgram":
        return _program(model)
    return _network(getattr(model.specification, kind))


def _told(kind: str, name: str, difference: str, where: list[str]) -> str:
    count = f"{len(where)} operations, {where[0]} first" if len(where) > 1 else where[0]
    return f"{kind} {name}: {difference} ({count})"


def _difference(was: str | np.ndarray, now: str | np.ndarray) -> str:
    if isinstance(was, str) or isinstance(now, str):
        both = [text if isinstance(text, str) else _shape(text) for text in (was, now)]
        return f"{both[0]} -> {both[1]}" if both[0] != both[1] else ""
    if was.shape != now.shape or was.dtype != now.dtype:
        return f"{_shape(was)} -> {_shape(now)}"
    # By their bytes, because NaN differs from itself.
    return "" if was.tobytes() == now.tobytes() else "other numbers"


def _shape(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _onnx(path: str) -> Iterator[Operation]:
    import onnx

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's and onnx's own, another class in each version
        raise ConversionError(f"{path}: not an ONNX model ({' '.join(str(error).split())})") from error
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                weights[node.output[0]] = attribute.t
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        found: dict[str, str | np.ndarray] = {
            attribute.name: _setting(onnx.helper.get_attribute_value(attribute)) for attribute in node.attribute
        }
        for place, name in enumerate(node.input):
            if name in weights:
                found[f"input[{place}]"] = onnx.numpy_helper.to_array(weights[name])
        yield Operation(node.op_type, node.name or node.output[0], found, tuple(node.input), tuple(node.output))


def _setting(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple) and not any(hasattr(item, "ListFields") for item in value):
        return _text(list(value))
    # A subgraph, or a tensor: a text of any length.
    return _text(value.SerializeToString(deterministic=True) if hasattr(value, "SerializeToString") else value)


def _network(network: Any) -> Iterator[Operation]:
    for step in network.preprocessing:
        yield Operation("preprocessing", step.featureName, dict(_fields(step)))
    for layer in network.layers:
        settings = {place: value for place, value in _fields(layer) if place.split(".")[0] not in _WIRING}
        kind = layer.WhichOneof("layer") or "layer"
        yield Operation(kind, layer.name, settings, tuple(layer.input), tuple(layer.output))


def _fields(message: Any, place: str = "") -> Iterator[tuple[str, str | np.ndarray]]:
    """Walk through what is set in a protobuf message: `convolution.stride` -> [2, 2]."""
    for field, value in message.ListFields():
        where = f"{place}.{field.name}" if place else field.name
        several = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if several and field.message_type is None:
            yield where, np.array(value, np.float32) if field.name == "floatValue" else _text(list(value))
        elif field.message_type is None:
            yield where, _text(value)
        elif not several:
            # A message without anything in it says something too: that it is there.
            yield from [*_fields(value, where)] or [(where, "present")]
        else:
            for index, item in enumerate(value):
                yield from _fields(item, f"{where}[{index}]")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:8]}"
    if isinstance(value, list) and len(value) > _MOST:
        return f"{len(value)} values {hashlib.sha256(repr(value).encode()).hexdigest()[:8]}"
    if isinstance(value, float) and float(np.float32(value)) == value:
        return str(np.float32(value))  # the fewest digits that tell it from its neighbours
    return str(value)


def _program(model: ModelFile) -> Iterator[Operation]:
    weights = Weights(model.name, model.weights_dir)
    for function in model.specification.mlProgram.functions.values():
        yield from _block(weights, function.block_specializations[function.opset], {})


def _block(weights: Weights, block: Any, constants: dict[str, str | np.ndarray]) -> Iterator[Operation]:
    for operation in block.operations:
        name = operation.outputs[0].name if operation.outputs else operation.type
        values = {
            key: _value(weights, value, f"{name}.{key}")
            for key, value in operation.attributes.items()
            if key != "name"
        }
        if operation.type == "const":
            constants[name] = values["val"]
            continue
        inputs: list[str] = []
        for key, argument in operation.inputs.items():
            for place, binding in enumerate(argument.arguments):
                where = key if len(argument.arguments) == 1 else f"{key}[{place}]"
                if binding.WhichOneof("binding") == "value":
                    values[where] = _value(weights, binding.value, f"{name}.{where}")
                elif binding.name in constants:
                    values[where] = constants[binding.name]
                else:
                    inputs.append(binding.name)
        outputs = tuple(output.name for output in operation.outputs)
        yield Operation(operation.type, name, values, tuple(inputs), outputs)
        for inner in operation.blocks:
            yield from _block(weights, inner, constants)


def _value(weights: Weights, value: Any, name: str) -> str | np.ndarray:
    """Read a constant: text where somebody chose it (a stride, a mode), numbers where somebody learned them."""
    found = read_constant(value, weights, name)
    if not isinstance(found, Constant):
        return _text(list(found) if isinstance(found, tuple) else found)
    if found.array.ndim and found.array.dtype.kind == "f":
        return found.array
    return _text(found.array.tolist())
