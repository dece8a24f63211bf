"""Changes to the specification of an ML Program; see `parity.formats.editing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.shapes import in_nchw, layout_of
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
from parity.formats.mlprogram.building import (
    FP16,
    FP32,
    blank,
    cast,
    classify_of,
    const,
    find,
    function_of,
    is_half,
    operation_of,
    rename,
    types_of,
)


def replace_input(
    model: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Put casts, a mul and an add behind the image, in fp32.

    Where the image has its channels last and `value` stands behind the transposition, so do these.
    """
    function, operations = function_of(model)
    image = function.inputs[0]
    image_type = model.description.input[0].type.imageType
    if image_type.colorSpace == BGR:
        image_type.colorSpace = RGB
    wanted = types_of(model)[value].tensorType.dataType
    shape = [int(d.constant.size) for d in image.type.tensorType.dimensions]
    last = not takes_image(model) and layout_of(shape) == "NHWC"
    turned = last and value != image.name
    channels = [1] * (len(shape) - 3) + ([1, 1, -1] if last and not turned else [-1, 1, 1])
    added: list[Any] = []
    current = image.name
    if image.type.tensorType.dataType != FP32:
        current = cast(model, added, current, "fp32", shape)
    if turned:
        batch = list(range(len(shape) - 3))
        order = [*batch, *(len(batch) + axis for axis in (2, 0, 1))]
        shape = in_nchw(shape)
        perm = const(model, added, "repaired_perm", np.array(order, np.int32))
        current = operation_of(model, added, "transpose", {"x": current, "perm": perm}, FP32, shape)
    for kind, numbers in (("mul", scale), ("add", bias)):
        constant = const(model, added, f"repaired_{kind}", np.array(numbers, np.float32).reshape(channels))
        current = operation_of(model, added, kind, {"x": current, "y": constant}, FP32, shape)
    if wanted == FP16:
        current = cast(model, added, current, "fp16", shape)
    for operation in operations:
        if operation.outputs and operation.outputs[0].name in readers:
            rename(operation, value, current)
    for index, operation in enumerate(added):
        operations.insert(index, operation)


def swap_channels(model: Any) -> None:
    """Declare an image to be of blue, green, red; an array is reversed along its channels."""
    if takes_image(model):
        declare_bgr(model)
        return
    function, operations = function_of(model)
    image = function.inputs[0]
    shape = [int(d.constant.size) for d in image.type.tensorType.dimensions]
    axis = len(shape) - (1 if layout_of(shape) == "NHWC" else 3)
    added: list[Any] = []
    axes = const(model, added, "swapped_axes", np.array([axis], np.int32))
    reversed_ = operation_of(
        model, added, "reverse", {"x": image.name, "axes": axes}, image.type.tensorType.dataType, shape
    )
    for operation in operations:
        rename(operation, image.name, reversed_)
    for index, operation in enumerate(added):
        operations.insert(index, operation)


def set_weight(model: Any, operation: str, place: str, array: np.ndarray) -> None:
    """Add a constant of the type of the old one, fp32 where that was compressed, and let the operation read it."""
    _, operations = function_of(model)
    index, message = find(operations, operation)
    binding = message.inputs[place].arguments[0]
    kind = FP32
    known = types_of(model).get(binding.name) if binding.WhichOneof("binding") == "name" else binding.value.type
    if known is not None:
        kind = known.tensorType.dataType
    added: list[Any] = []
    dtype = np.float16 if kind == FP16 else np.float32
    binding.name = const(model, added, f"repaired_{operation}_{place}", array.astype(dtype))
    operations.insert(index, added[0])


def set_attribute(model: Any, operation: str, name: str, setting: Any) -> None:
    """Add a constant and let the operation read it."""
    _, operations = function_of(model)
    index, message = find(operations, operation)
    if setting is None:
        message.inputs.pop(name, None)
        return
    array: Any = setting
    if not isinstance(setting, str):
        array = np.asarray(setting)
        if array.dtype.kind == "f":
            array = array.astype(np.float16 if is_half(model, message) else np.float32)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int32)
    added: list[Any] = []
    constant = const(model, added, f"repaired_{operation}_{name}", array)
    message.inputs.pop(name, None)
    message.inputs[name].arguments.add().name = constant
    operations.insert(index, added[0])


def set_labels(model: Any, labels: Sequence[str]) -> None:
    """Replace the classes of the operation classify."""
    _, operations = function_of(model)
    index, classify = classify_of(operations)
    if classify is None:
        return
    added: list[Any] = []
    name = const(model, added, "repaired_classes", list(labels))
    binding = classify.inputs["classes"].arguments[0]
    binding.name = name
    operations.insert(index, added[0])


def labels(model: Any) -> Sequence[str] | None:
    """Read the classes of the operation classify."""
    from parity.coreml.reading.mil_values import Constant, Weights, read_constant

    _, operations = function_of(model)
    _, classify = classify_of(operations)
    if classify is None:
        return None
    binding = classify.inputs["classes"].arguments[0]
    value = binding.value
    if binding.WhichOneof("binding") == "name":
        value = find(operations, binding.name)[1].attributes["val"]
    constant = read_constant(value, Weights("", None), "classes")
    return [str(one) for one in (constant.array.tolist() if isinstance(constant, Constant) else constant)]


def bypass(model: Any, operation: str) -> None:
    """Take an operation out."""
    function, operations = function_of(model)
    _, message = find(operations, operation)
    source, result = message.inputs["x"].arguments[0].name, message.outputs[0].name
    operations.remove(message)
    for other in operations:
        rename(other, result, source)
    block = function.block_specializations[function.opset]
    block.outputs[:] = [source if name == result else name for name in block.outputs]


def set_output(model: Any, was: str, value: str) -> None:
    """Let the operation classify read another value; without one the two values exchange their names."""
    _, operations = function_of(model)
    _, classify = classify_of(operations)
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
    _, operations = function_of(model)
    index, first = find(operations, operation)
    again = blank(model)
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
    function, operations = function_of(model)
    image = function.inputs[0]
    added: list[Any] = []
    target = const(model, added, "mutated_shape", np.array(shape, np.int32))
    dtype = image.type.tensorType.dataType
    changed = operation_of(model, added, "reshape", {"x": image.name, "shape": target}, dtype, shape)
    for operation in operations:
        rename(operation, image.name, changed)
    for index, operation in enumerate(added):
        operations.insert(index, operation)
