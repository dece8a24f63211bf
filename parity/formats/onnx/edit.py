"""Changes to an ONNX ModelProto; see `parity.formats.editing`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.shapes import layout_of
from parity.formats.onnx.description import image_of, sizes_of
from parity.formats.onnx.halves import halves as halves
from parity.formats.onnx.halves import widen as widen

if TYPE_CHECKING:
    from conversion import Artifact

# More than protobuf can hold in one message.
_LARGE = 2**31 - 1


def read(artifact: Artifact) -> Any:
    """Read a file with its weights."""
    import onnx

    return onnx.load(str(artifact.path))


def save(artifact: Artifact, model: Any, path: Path) -> None:
    """Write a model, its weights beside it only where one file cannot hold them."""
    import onnx

    onnx.save(model, str(path), save_as_external_data=int(model.ByteSize()) > _LARGE)


def replace_input(
    model: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Put a Mul and an Add behind the image; a Cast before them where it is of whole numbers.

    Where the image has its channels last and `value` stands behind the transposition, so do these.
    """
    from onnx import TensorProto, helper

    image = image_of(model)
    kind = image.type.tensor_type.elem_type
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    last = channels_last(image)
    turned = last and value != image.name
    channels = (1, 1, 1, -1) if last and not turned else (1, -1, 1, 1)
    parts = ("scale", "bias", "floats", "planes", "scaled", "input")
    scales, biases, floats, planes, scaled, result = (_fresh(model, f"repaired {part}") for part in parts)
    for name, numbers in ((scales, scale), (biases, bias)):
        _add(model, name, np.array(numbers, dtype).reshape(channels))
    for node in model.graph.node:
        if _name(node) in readers:
            node.input[:] = [result if name == value else name for name in node.input]
    added, current = [], image.name
    if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        added.append(helper.make_node("Cast", [current], [floats], floats, to=TensorProto.FLOAT))
        current = floats
    if turned:
        added.append(helper.make_node("Transpose", [current], [planes], planes, perm=[0, 3, 1, 2]))
        current = planes
    added.append(helper.make_node("Mul", [current, scales], [scaled], scaled))
    added.append(helper.make_node("Add", [scaled, biases], [result], result))
    for place, node in enumerate(added):
        model.graph.node.insert(place, node)


def channels_last(image: Any) -> bool:
    """Say whether an image, a ValueInfoProto, is [N, H, W, 3]."""
    return layout_of(sizes_of(image)) == "NHWC"


def insert_behind_image(model: Any, kind: str, constant: np.ndarray | None = None, **attributes: Any) -> None:
    """Put a node between the image and all that reads it; constant: what else it reads."""
    from onnx import helper

    image = image_of(model).name
    changed, more = _fresh(model, f"{image} changed"), []
    if constant is not None:
        more = [_fresh(model, f"{image} change")]
        _add(model, more[0], constant)
    for node in model.graph.node:
        node.input[:] = [changed if name == image else name for name in node.input]
    model.graph.node.insert(0, helper.make_node(kind, [image, *more], [changed], changed, **attributes))


def set_weight(model: Any, operation: str, place: str, array: np.ndarray) -> None:
    """Add an initializer and let the node read it. place: `input[1]`."""
    import onnx

    node, index = _node(model, operation), int(place.removeprefix("input[").rstrip("]"))
    was = next((t for t in model.graph.initializer if t.name == node.input[index]), None)
    dtype = np.float32 if was is None else onnx.numpy_helper.to_array(was).dtype
    name = _fresh(model, f"{operation} {place}")
    _add(model, name, array.astype(dtype if np.dtype(dtype).kind == "f" else np.float32))
    node.input[index] = name


def set_attribute(model: Any, operation: str, name: str, setting: Any) -> None:
    """Set an attribute; an input of the node, `input[3]`, takes a constant."""
    from onnx import helper

    node = _node(model, operation)
    if name.startswith("input["):
        index = int(name.removeprefix("input[").rstrip("]"))
        while len(node.input) <= index:
            node.input.append("")
        fresh = _fresh(model, f"{operation} {name}")
        _add(model, fresh, np.asarray(setting))
        node.input[index] = fresh
        return
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if setting is not None:
        node.attribute.append(helper.make_attribute(name, setting))


def set_labels(model: Any, labels: Sequence[str]) -> None:
    """Write labels into the note of where the file comes from: the format has no other place."""
    import json

    from conversion.provenance import KEY

    for entry in model.metadata_props:
        if entry.key == KEY:
            entry.value = json.dumps({**json.loads(entry.value), "labels": list(labels)})


def labels(model: Any) -> Sequence[str] | None:
    """Read labels from the note."""
    from conversion.provenance import KEY, Provenance

    for entry in model.metadata_props:
        if entry.key == KEY and (provenance := Provenance.from_json(entry.value)):
            return provenance.labels or None
    return None


def bypass(model: Any, operation: str) -> None:
    """Take a node out; the graph's own outputs keep their names."""
    node = _node(model, operation)
    source, result = node.input[0], node.output[0]
    model.graph.node.remove(node)
    if any(value.name == result for value in model.graph.output):
        from onnx import helper

        model.graph.node.append(helper.make_node("Identity", [source], [result], _fresh(model, "bypassed")))
        return
    for other in model.graph.node:
        other.input[:] = [source if name == result else name for name in other.input]


def set_output(model: Any, was: str, value: str) -> None:
    """Give another value by the name of an output; its type and shape are left open."""
    from onnx import helper

    moved = _fresh(model, f"{was} before")
    for node in model.graph.node:
        node.output[:] = [moved if name == was else name for name in node.output]
        node.input[:] = [moved if name == was else name for name in node.input]
    model.graph.node.append(helper.make_node("Identity", [value], [was], _fresh(model, "repaired output")))
    for output in model.graph.output:
        if output.name == was:
            output.ClearField("type")


def repeat(model: Any, operation: str) -> None:
    """Do a node twice."""
    nodes = model.graph.node
    index = next(i for i, node in enumerate(nodes) if _name(node) == operation)
    again = type(nodes[index])()
    again.CopyFrom(nodes[index])
    again.name = f"{operation} again"
    nodes[index].output[0] = again.input[0] = f"{again.output[0]} once"
    nodes.insert(index + 1, again)


def set_softmax_axis(model: Any, operation: str, axis: int) -> None:
    """Set the attribute."""
    set_attribute(model, operation, "axis", axis)


def swap_channels(model: Any) -> None:
    """Gather the channels backwards."""
    axis = 3 if channels_last(image_of(model)) else 1
    insert_behind_image(model, "Gather", np.array([2, 1, 0], np.int64), axis=axis)


def fix_shape(model: Any, shape: Sequence[int]) -> None:
    """Put a Reshape behind the image."""
    insert_behind_image(model, "Reshape", np.array(shape, np.int64))


def declares_bgr(model: Any) -> bool:
    """Say no: an ONNX input has no colours."""
    return False


def declare_rgb(model: Any) -> None:
    """Do nothing: an ONNX input has no colours."""


def strange_input_type(model: Any) -> str:
    """Name the type of an input that is not float."""
    from onnx import TensorProto

    kind = image_of(model).type.tensor_type.elem_type
    return "" if kind == TensorProto.FLOAT else str(TensorProto.DataType.Name(kind).lower())


def take_floats(model: Any) -> None:
    """Put a Cast to the old type behind the image."""
    from onnx import TensorProto

    kind = image_of(model).type.tensor_type
    insert_behind_image(model, "Cast", to=kind.elem_type)
    kind.elem_type = TensorProto.FLOAT


def take_channels_first(model: Any) -> None:
    """Put a Transpose between an image with channels first and who reads it."""
    insert_behind_image(model, "Transpose", perm=[0, 2, 3, 1])
    shape = image_of(model).type.tensor_type.shape
    dims = list(shape.dim)
    del shape.dim[:]
    shape.dim.extend([dims[0], dims[3], dims[1], dims[2]])


def training_norms(model: Any) -> list[str]:
    """Name the batch norms whose attribute training_mode is set."""
    norms = (node for node in model.graph.node if node.op_type == "BatchNormalization")
    return [_name(node) for node in norms if any(a.name == "training_mode" and a.i for a in node.attribute)]


def stop_training(model: Any) -> None:
    """Put batch norms and dropouts into evaluation mode."""
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            kept = [a for a in node.attribute if a.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
            del node.output[1:]
        elif node.op_type == "Dropout" and len(node.input) > 2:
            del node.input[2:]


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _node(model: Any, operation: str) -> Any:
    return next(node for node in model.graph.node if _name(node) == operation)


def _add(model: Any, name: str, array: np.ndarray) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _fresh(model: Any, name: str) -> str:
    taken = {tensor.name for tensor in model.graph.initializer}
    taken |= {output for node in model.graph.node for output in node.output}
    while name in taken:
        name += "'"
    return name
