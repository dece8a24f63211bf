"""Changes to the specification of an ML Program; see `parity.formats.editing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.shapes import in_nchw, layout_of
from parity.coreml.reading.mil import default_function
from parity.formats.coreml.edit import BGR, RGB, declare_bgr, takes_image
from parity.formats.coreml.edit import declare_rgb as declare_rgb
from parity.formats.coreml.edit import declares_bgr as declares_bgr
from parity.formats.coreml.edit import halves as halves
from parity.formats.coreml.edit import read as read
from parity.formats.coreml.edit import save as save
from parity.formats.coreml.edit import stop_training as stop_training
from parity.formats.coreml.edit import strange_input_type as strange_input_type
from parity.formats.coreml.edit import take_channels_first as take_channels_first
from parity.formats.coreml.edit import take_floats as take_floats
from parity.formats.coreml.edit import training_norms as training_norms
from parity.formats.coreml.edit import widen as widen

# MIL.proto: DataType.
_BOOL, _STRING, _FP16, _FP32, _INT32 = 1, 2, 10, 11, 23


def replace_input(
    model: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Put casts, a mul and an add behind the image, in fp32.

    Where the image has its channels last and `value` stands behind the transposition, so do these.
    """
    function, operations = _function(model)
    image = function.inputs[0]
    image_type = model.description.input[0].type.imageType
    if image_type.colorSpace == BGR:
        image_type.colorSpace = RGB
    wanted = _types(model)[value].tensorType.dataType
    shape = [int(d.constant.size) for d in image.type.tensorType.dimensions]
    last = not takes_image(model) and layout_of(shape) == "NHWC"
    turned = last and value != image.name
    channels = [1] * (len(shape) - 3) + ([1, 1, 3] if last and not turned else [3, 1, 1])
    added: list[Any] = []
    current = image.name
    if image.type.tensorType.dataType != _FP32:
        current = _cast(model, added, current, "fp32", shape)
    if turned:
        batch = list(range(len(shape) - 3))
        order = [*batch, *(len(batch) + axis for axis in (2, 0, 1))]
        shape = in_nchw(shape)
        perm = _const(model, added, "repaired_perm", np.array(order, np.int32))
        current = _operation(model, added, "transpose", {"x": current, "perm": perm}, _FP32, shape)
    for kind, numbers in (("mul", scale), ("add", bias)):
        constant = _const(model, added, f"repaired_{kind}", np.array(numbers, np.float32).reshape(channels))
        current = _operation(model, added, kind, {"x": current, "y": constant}, _FP32, shape)
    if wanted == _FP16:
        current = _cast(model, added, current, "fp16", shape)
    for operation in operations:
        if operation.outputs and operation.outputs[0].name in readers:
            _rename(operation, value, current)
    for index, operation in enumerate(added):
        operations.insert(index, operation)


def swap_channels(model: Any) -> None:
    """Declare an image to be of blue, green, red; an array is reversed along its channels."""
    if takes_image(model):
        declare_bgr(model)
        return
    function, operations = _function(model)
    image = function.inputs[0]
    shape = [int(d.constant.size) for d in image.type.tensorType.dimensions]
    axis = len(shape) - (1 if layout_of(shape) == "NHWC" else 3)
    added: list[Any] = []
    axes = _const(model, added, "swapped_axes", np.array([axis], np.int32))
    reversed_ = _operation(
        model, added, "reverse", {"x": image.name, "axes": axes}, image.type.tensorType.dataType, shape
    )
    for operation in operations:
        _rename(operation, image.name, reversed_)
    for index, operation in enumerate(added):
        operations.insert(index, operation)


def set_weight(model: Any, operation: str, place: str, array: np.ndarray) -> None:
    """Add a constant of the type of the old one, fp32 where that was compressed, and let the operation read it."""
    _, operations = _function(model)
    index, message = _find(operations, operation)
    binding = message.inputs[place].arguments[0]
    kind = _FP32
    known = _types(model).get(binding.name) if binding.WhichOneof("binding") == "name" else binding.value.type
    if known is not None:
        kind = known.tensorType.dataType
    added: list[Any] = []
    dtype = np.float16 if kind == _FP16 else np.float32
    binding.name = _const(model, added, f"repaired_{operation}_{place}", array.astype(dtype))
    operations.insert(index, added[0])


def set_attribute(model: Any, operation: str, name: str, setting: Any) -> None:
    """Add a constant and let the operation read it."""
    _, operations = _function(model)
    index, message = _find(operations, operation)
    if setting is None:
        del message.inputs[name]
        return
    array: Any = setting
    if not isinstance(setting, str):
        array = np.asarray(setting)
        if array.dtype.kind == "f":
            array = array.astype(np.float16 if _is_half(model, message) else np.float32)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int32)
    added: list[Any] = []
    constant = _const(model, added, f"repaired_{operation}_{name}", array)
    del message.inputs[name]
    message.inputs[name].arguments.add().name = constant
    operations.insert(index, added[0])


def set_labels(model: Any, labels: Sequence[str]) -> None:
    """Replace the classes of the operation classify."""
    _, operations = _function(model)
    index, classify = _classify(operations)
    if classify is None:
        return
    added: list[Any] = []
    name = _const(model, added, "repaired_classes", list(labels))
    binding = classify.inputs["classes"].arguments[0]
    binding.name = name
    operations.insert(index, added[0])


def labels(model: Any) -> Sequence[str] | None:
    """Read the classes of the operation classify."""
    from parity.coreml.reading.mil_values import Constant, Weights, read_constant

    _, operations = _function(model)
    _, classify = _classify(operations)
    if classify is None:
        return None
    binding = classify.inputs["classes"].arguments[0]
    value = binding.value
    if binding.WhichOneof("binding") == "name":
        value = _find(operations, binding.name)[1].attributes["val"]
    constant = read_constant(value, Weights("", None), "classes")
    return [str(one) for one in (constant.array.tolist() if isinstance(constant, Constant) else constant)]


def bypass(model: Any, operation: str) -> None:
    """Take an operation out."""
    function, operations = _function(model)
    _, message = _find(operations, operation)
    source, result = message.inputs["x"].arguments[0].name, message.outputs[0].name
    operations.remove(message)
    for other in operations:
        _rename(other, result, source)
    block = function.block_specializations[function.opset]
    block.outputs[:] = [source if name == result else name for name in block.outputs]


def set_output(model: Any, was: str, value: str) -> None:
    """Let the operation classify read another value; without one the two values exchange their names."""
    _, operations = _function(model)
    _, classify = _classify(operations)
    if classify is not None:
        classify.inputs["probabilities"].arguments[0].name = value
        return
    names = {was: value, value: was}
    for operation in operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names.get(binding.name, binding.name)
        for output in operation.outputs:
            output.name = names.get(output.name, output.name)


def repeat(model: Any, operation: str) -> None:
    """Do an operation twice."""
    _, operations = _function(model)
    index, first = _find(operations, operation)
    again = _blank(model)
    again.CopyFrom(first)
    once = f"{operation}_once"
    first.outputs[0].name = once
    again.inputs["x"].arguments[0].name = once
    if "name" in first.attributes:
        first.attributes["name"].immediateValue.tensor.strings.values[:] = [once]
    operations.insert(index + 1, again)


def set_softmax_axis(model: Any, operation: str, axis: int) -> None:
    """Set the parameter."""
    set_attribute(model, operation, "axis", axis)


def fix_shape(model: Any, shape: Sequence[int]) -> None:
    """Put a reshape behind the image."""
    function, operations = _function(model)
    image = function.inputs[0]
    added: list[Any] = []
    target = _const(model, added, "mutated_shape", np.array(shape, np.int32))
    dtype = image.type.tensorType.dataType
    changed = _operation(model, added, "reshape", {"x": image.name, "shape": target}, dtype, shape)
    for operation in operations:
        _rename(operation, image.name, changed)
    for index, operation in enumerate(added):
        operations.insert(index, operation)


def _function(model: Any) -> tuple[Any, Any]:
    function = default_function(model)
    return function, function.block_specializations[function.opset].operations


def _find(operations: Any, name: str) -> tuple[int, Any]:
    return next((i, o) for i, o in enumerate(operations) if o.outputs and o.outputs[0].name == name)


def _classify(operations: Any) -> tuple[int, Any]:
    return next(((i, o) for i, o in enumerate(operations) if o.type == "classify"), (0, None))


def _types(model: Any) -> dict[str, Any]:
    function, operations = _function(model)
    types = {one.name: one.type for one in function.inputs}
    types |= {one.name: one.type for operation in operations for one in operation.outputs}
    return types


def _is_half(model: Any, operation: Any) -> bool:
    types = _types(model)
    first = next(
        (a.name for i in ("x", "input") if i in operation.inputs for a in operation.inputs[i].arguments), ""
    )
    return first in types and types[first].tensorType.dataType == _FP16


def _rename(operation: Any, was: str, now: str) -> None:
    for argument in operation.inputs.values():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name" and binding.name == was:
                binding.name = now


def _blank(model: Any) -> Any:
    _, operations = _function(model)
    return type(operations[0])()


def _fresh(model: Any, added: Sequence[Any], name: str) -> str:
    taken = set(_types(model)) | {one.name for operation in added for one in operation.outputs}
    while name in taken:
        name += "_"
    return name


def _const(model: Any, added: list[Any], name: str, array: Any) -> str:
    """Append a constant; array: numbers, truth values, a text, or a list of texts."""
    operation = _blank(model)
    operation.type = "const"
    name = _fresh(model, added, name)
    operation.attributes["name"].CopyFrom(_value(name))
    operation.attributes["val"].CopyFrom(_value(array))
    output = operation.outputs.add()
    output.name = name
    output.type.CopyFrom(operation.attributes["val"].type)
    added.append(operation)
    return name


def _value(array: Any) -> Any:
    from conversion.guards.quiet import import_coremltools

    value = import_coremltools().proto.MIL_pb2.Value()
    tensor = value.immediateValue.tensor
    if isinstance(array, str | list):
        shape: tuple[int, ...] = () if isinstance(array, str) else (len(array),)
        kind = _STRING
        tensor.strings.values.extend([array] if isinstance(array, str) else array)
    else:
        shape = array.shape
        kind, values = {
            "b": (_BOOL, tensor.bools.values),
            "i": (_INT32, tensor.ints.values),
            "f": (_FP32, tensor.floats.values),
        }[array.dtype.kind]
        if array.dtype == np.float16:
            kind = _FP16
            tensor.bytes.values = array.tobytes()
        else:
            values.extend(array.reshape(-1).tolist())
    value.type.tensorType.dataType = kind
    value.type.tensorType.rank = len(shape)
    for size in shape:
        value.type.tensorType.dimensions.add().constant.size = size
    return value


def _operation(
    model: Any, added: list[Any], kind: str, inputs: dict[str, str], dtype: int, shape: Sequence[int]
) -> str:
    operation = _blank(model)
    operation.type = kind
    name = _fresh(model, added, f"repaired_input_{kind}")
    operation.attributes["name"].CopyFrom(_value(name))
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


def _cast(model: Any, added: list[Any], value: str, to: str, shape: Sequence[int]) -> str:
    constant = _const(model, added, f"repaired_{to}", to)
    dtype = _FP16 if to == "fp16" else _FP32
    return _operation(model, added, "cast", {"x": value, "dtype": constant}, dtype, shape)
