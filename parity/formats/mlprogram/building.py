"""Parts of a program, looked up and made: functions, operations, constants, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.files.coreml_messages import coreml_messages
from parity.coreml.reading.mil import default_function

# MIL.proto: DataType.
BOOL, STRING, FP16, FP32, INT32 = 1, 2, 10, 11, 23


def function_of(model: Any) -> tuple[Any, Any]:
    function = default_function(model)
    return function, function.block_specializations[function.opset].operations


def find(operations: Any, name: str) -> tuple[int, Any]:
    return next((i, o) for i, o in enumerate(operations) if o.outputs and o.outputs[0].name == name)


def classify_of(operations: Any) -> tuple[int, Any]:
    return next(((i, o) for i, o in enumerate(operations) if o.type == "classify"), (0, None))


def types_of(model: Any) -> dict[str, Any]:
    function, operations = function_of(model)
    types = {one.name: one.type for one in function.inputs}
    types |= {one.name: one.type for operation in operations for one in operation.outputs}
    return types


def is_half(model: Any, operation: Any) -> bool:
    types = types_of(model)
    first = next(
        (a.name for i in ("x", "input") if i in operation.inputs for a in operation.inputs[i].arguments), ""
    )
    return first in types and types[first].tensorType.dataType == FP16


def rename(operation: Any, was: str, now: str) -> None:
    for argument in operation.inputs.values():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name" and binding.name == was:
                binding.name = now


def blank(model: Any) -> Any:
    _, operations = function_of(model)
    return type(operations[0])()


def fresh(model: Any, added: Sequence[Any], name: str) -> str:
    taken = set(types_of(model)) | {one.name for operation in added for one in operation.outputs}
    while name in taken:
        name += "_"
    return name


def const(model: Any, added: list[Any], name: str, array: Any) -> str:
    """Append a constant; array: numbers, truth values, a text, or a list of texts."""
    operation = blank(model)
    operation.type = "const"
    name = fresh(model, added, name)
    operation.attributes["name"].CopyFrom(value_of(name))
    operation.attributes["val"].CopyFrom(value_of(array))
    output = operation.outputs.add()
    output.name = name
    output.type.CopyFrom(operation.attributes["val"].type)
    added.append(operation)
    return name


def value_of(array: Any) -> Any:
    value = coreml_messages("MIL_pb2").Value()
    tensor = value.immediateValue.tensor
    if isinstance(array, str | list):
        shape: tuple[int, ...] = () if isinstance(array, str) else (len(array),)
        kind = STRING
        tensor.strings.values.extend([array] if isinstance(array, str) else array)
    else:
        shape = array.shape
        kind, values = {
            "b": (BOOL, tensor.bools.values),
            "i": (INT32, tensor.ints.values),
            "f": (FP32, tensor.floats.values),
        }[array.dtype.kind]
        if array.dtype == np.float16:
            kind = FP16
            tensor.bytes.values = array.tobytes()
        else:
            values.extend(array.reshape(-1).tolist())
    value.type.tensorType.dataType = kind
    value.type.tensorType.rank = len(shape)
    for size in shape:
        value.type.tensorType.dimensions.add().constant.size = size
    return value


def operation_of(
    model: Any, added: list[Any], kind: str, inputs: dict[str, str], dtype: int, shape: Sequence[int]
) -> str:
    operation = blank(model)
    operation.type = kind
    name = fresh(model, added, f"repaired_input_{kind}")
    operation.attributes["name"].CopyFrom(value_of(name))
    for place, source in inputs.items():
        operation.inputs[place].arguments.add().name = source
    output = operation.outputs.add()
    output.name = name
    output.type.tensorType.dataType = dtype
    output.type.tensorType.rank = len(shape)
    for size in shape:
        output.type.tensorType.dimensions.add().constant.size = size
    added.append(operation)
    return name


def cast(model: Any, added: list[Any], value: str, to: str, shape: Sequence[int]) -> str:
    constant = const(model, added, f"repaired_{to}", to)
    dtype = FP16 if to == "fp16" else FP32
    return operation_of(model, added, "cast", {"x": value, "dtype": constant}, dtype, shape)
