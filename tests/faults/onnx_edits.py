"""Faults of a file, put in with onnx alone: what a converter, an optimiser or a hand may have done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Changes a model in place; raises NoPlaceError where it has no place for it.
Edit = Callable[[Any], None]
_KERNELS = ("Conv", "Gemm", "MatMul")


class NoPlaceError(Exception):
    """Say that a file has no place for a fault."""


def on_file(edit: Edit) -> Callable[[Path], None]:
    """Make the change of a file out of the change of a model."""

    def changed(path: Path) -> None:
        model = onnx.load(str(path))
        edit(model)
        onnx.save(model, str(path))

    return changed


def _found(model: Any, kinds: Sequence[str], share: float = 0.5) -> Any:
    """Find a node of some kinds: the one behind so large a share of them."""
    nodes = [node for node in model.graph.node if node.op_type in kinds]
    if not nodes:
        raise NoPlaceError(f"it has no {' or '.join(kinds)}")
    return nodes[min(int(share * len(nodes)), len(nodes) - 1)]


def _weights(model: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _set(node: Any, **values: Any) -> None:
    kept = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(n, v) for n, v in values.items() if v is not None)])


def _fresh(model: Any, array: np.ndarray, name: str) -> str:
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _bypass(model: Any, node: Any, value: str) -> None:
    """Take a node out; who read its result reads another value."""
    if node.output[0] in {one.name for one in model.graph.output}:
        other = next(n for n in model.graph.node if value in n.output)
        result = node.output[0]
        model.graph.node.remove(node)
        for one in model.graph.node:
            one.input[:] = [result if name == value else name for name in one.input]
        other.output[:] = [result if name == value else name for name in other.output]
        return
    for one in model.graph.node:
        one.input[:] = [value if name == node.output[0] else name for name in one.input]
    model.graph.node.remove(node)


def _insert_behind(model: Any, value: str, kind: str, more: Sequence[str] = (), **attributes: Any) -> None:
    """Put a node behind a value, in front of all that reads it."""
    changed = f"{value} changed"
    ends = {one.name for one in model.graph.output}
    place = next((i + 1 for i, n in enumerate(model.graph.node) if value in n.output), 0)
    if value in ends:
        model.graph.node[place - 1].output[:] = [
            changed if name == value else name for name in model.graph.node[place - 1].output
        ]
        made = helper.make_node(kind, [changed, *more], [value], **attributes)
    else:
        for node in model.graph.node:
            node.input[:] = [changed if name == value else name for name in node.input]
        made = helper.make_node(kind, [value, *more], [changed], **attributes)
    model.graph.node.insert(place, made)


def removed(kinds: Sequence[str], share: float = 0.5) -> Edit:
    """Take an operation out."""

    def edit(model: Any) -> None:
        node = _found(model, kinds, share)
        _bypass(model, node, node.input[0])

    return edit


def repeated_softmax(model: Any) -> None:
    _insert_behind(model, model.graph.output[0].name, "Softmax", axis=1)


def added(kind: str, share: float = 0.5, **attributes: Any) -> Edit:
    """Put an operation behind a convolution that has none like it there."""

    def edit(model: Any) -> None:
        _insert_behind(model, _found(model, ("Conv",), share).output[0], kind, **attributes)

    return edit


def scaled_value(factor: float, share: float = 0.5) -> Edit:
    """Multiply what a convolution gives."""

    def edit(model: Any) -> None:
        name = _fresh(model, np.array(factor, np.float32), "an extra factor")
        _insert_behind(model, _found(model, ("Conv",), share).output[0], "Mul", [name])

    return edit


def replaced_by(kinds: Sequence[str], kind: str, share: float = 0.5, **attributes: Any) -> Edit:
    """Put another operation of the same form in an operation's place."""

    def edit(model: Any) -> None:
        node = _found(model, kinds, share)
        node.op_type = kind
        del node.attribute[:]
        _set(node, **attributes)

    return edit


def max_for_average(model: Any) -> None:
    node = _found(model, ("GlobalAveragePool", "ReduceMean", "AveragePool"), 1.0)
    if node.op_type == "ReduceMean":
        node.op_type = "ReduceMax"
    else:
        node.op_type = node.op_type.replace("Average", "Max")
    _set(node, count_include_pad=None)


def branch_lost(model: Any) -> None:
    """Take one side of a residual addition for the sum."""
    weights = _weights(model)
    sums = [n for n in model.graph.node if n.op_type == "Add" and not {*n.input} & {*weights}]
    if not sums:
        raise NoPlaceError("it adds no two values")
    node = sums[len(sums) // 2]
    _bypass(model, node, node.input[0])


def parts_exchanged(model: Any) -> None:
    """Put the parts of a concatenation in another order."""
    nodes = [n for n in model.graph.node if n.op_type == "Concat" and _attribute(n, "axis") == 1]
    weights = _weights(model)
    nodes = [n for n in nodes if len(n.input) > 1 and not any(i in weights for i in n.input)]
    nodes = [n for n in nodes if len({*n.input}) > 1]
    if not nodes:
        raise NoPlaceError("it concatenates nothing")
    node = nodes[len(nodes) // 2]
    node.input[:] = list(node.input)[::-1]


def padding_moved(share: float = 0.0, kinds: Sequence[str] = ("Conv",)) -> Edit:
    """Pad at the right and at the bottom alone what is padded all around."""

    def edit(model: Any) -> None:
        nodes = [n for n in model.graph.node if n.op_type in kinds and any(_attribute(n, "pads", [0]))]
        if not nodes:
            raise NoPlaceError("it pads nothing")
        node = nodes[min(int(share * len(nodes)), len(nodes) - 1)]
        top, left, bottom, right = _attribute(node, "pads")
        _set(node, pads=[0, 0, top + bottom, left + right])

    return edit


def automatic_padding(model: Any) -> None:
    """Let SAME_UPPER stand for symmetric padding, which is another where the stride is 2."""
    nodes = [n for n in model.graph.node if n.op_type == "Conv" and _attribute(n, "strides") == [2, 2]]
    nodes = [n for n in nodes if any(_attribute(n, "pads", [0]))]
    if not nodes:
        raise NoPlaceError("it has no padded convolution with stride 2")
    _set(nodes[0], pads=None, auto_pad="SAME_UPPER")


def dilated(model: Any) -> None:
    """Spread a 3x3 kernel over 5x5, and pad for it, so that no size changes."""
    nodes = [
        n
        for n in model.graph.node
        if n.op_type == "Conv"
        and _attribute(n, "kernel_shape") == [3, 3]
        and _attribute(n, "pads") == [1, 1, 1, 1]
        and _attribute(n, "strides", [1, 1]) == [1, 1]
    ]
    if not nodes:
        raise NoPlaceError("it has no padded 3x3 convolution with stride 1")
    _set(nodes[len(nodes) // 2], dilations=[2, 2], pads=[2, 2, 2, 2])


def clip_at(highest: float) -> Edit:
    """Cut the activations off elsewhere."""

    def edit(model: Any) -> None:
        name = _fresh(model, np.array(highest, np.float32), "another bound")
        for node in (n for n in model.graph.node if n.op_type == "Clip" and len(n.input) > 2):
            node.input[2] = name
            return
        raise NoPlaceError("it clips nothing")

    return edit


def turned_inside(model: Any) -> None:
    """Exchange rows and columns of a square feature map."""
    _insert_behind(model, _found(model, ("Conv",), 0.3).output[0], "Transpose", perm=[0, 1, 3, 2])


def _kernels(model: Any) -> list[tuple[Any, int]]:
    """List nodes with learnt weights, and at which input they are."""
    weights = _weights(model)
    return [
        (node, place)
        for node in model.graph.node
        if node.op_type in _KERNELS
        for place in (1, 0)
        if len(node.input) > place and node.input[place] in weights and len(weights[node.input[place]].dims) > 1
    ]


def kernel(change: Callable[[np.ndarray], np.ndarray], share: float = 0.5) -> Edit:
    """Change the weights of a layer."""

    def edit(model: Any) -> None:
        node, place = _chosen(_kernels(model), share)
        tensor = _weights(model)[node.input[place]]
        array = numpy_helper.to_array(tensor)
        found = np.ascontiguousarray(change(array))
        if found.shape != array.shape:
            raise NoPlaceError("its weights would have another form")
        node.input[place] = _fresh(model, found.astype(array.dtype), f"{tensor.name} changed")

    return edit


def all_kernels(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Change the weights of every layer."""

    def edit(model: Any) -> None:
        for node, place in _kernels(model):
            tensor = _weights(model)[node.input[place]]
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), tensor.name))

    return edit


def _chosen(items: Sequence[Any], share: float) -> Any:
    if not items:
        raise NoPlaceError("it has no weights")
    return items[min(int(share * len(items)), len(items) - 1)]


def drawn_anew(array: np.ndarray) -> np.ndarray:
    return np.random.default_rng(11).normal(0, array.std(), array.shape)


def outputs_shuffled(array: np.ndarray) -> np.ndarray:
    return array[np.random.default_rng(12).permutation(len(array))]


def inputs_shuffled(array: np.ndarray) -> np.ndarray:
    if array.shape[1] == 1:
        raise NoPlaceError("the layer reads one channel at a time")
    return array[:, np.random.default_rng(13).permutation(array.shape[1])]


def kernel_turned(array: np.ndarray) -> np.ndarray:
    if array.ndim != 4 or array.shape[-1] == 1:
        raise NoPlaceError("the kernel is one pixel")
    return array.swapaxes(2, 3)


def of_bits(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        step = np.abs(array).max() / (2 ** (bits - 1) - 1)
        return np.asarray(np.round(array / step) * step)

    return change


def _biases(model: Any) -> Iterator[tuple[Any, Any]]:
    weights = _weights(model)
    for node in model.graph.node:
        bias = node.input[2] if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 else ""
        if bias in weights and numpy_helper.to_array(weights[bias]).any():
            yield node, weights[bias]


def bias_shared(model: Any) -> None:
    """Let a convolution read the bias of another."""
    found = list(_biases(model))
    for i, (node, tensor) in enumerate(found):
        for other, foreign in found[i + 1 :]:
            if tensor.dims == foreign.dims and tensor.name != foreign.name and other.op_type == "Conv":
                node.input[2] = foreign.name
                return
    raise NoPlaceError("no two biases are of one size")


def bias_lost(model: Any) -> None:
    found = [node for node, _ in _biases(model)]
    node = _chosen(found, 0.5)
    del node.input[2:]


def bias_twice(model: Any) -> None:
    node, tensor = _chosen(list(_biases(model)), 0.5)
    node.input[2] = _fresh(model, 2 * numpy_helper.to_array(tensor), f"{tensor.name} twice")


def rows_of_head(order: Callable[[int], np.ndarray]) -> Edit:
    """Give the classes other places, in the weights of the last layer."""

    def edit(model: Any) -> None:
        node, _ = _kernels(model)[-1]
        weights = _weights(model)
        classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        places = order(classes)
        for name in list(node.input)[1:]:
            array = numpy_helper.to_array(weights[name])
            axis = next((a for a, size in enumerate(array.shape) if size == classes), None)
            if axis is None:
                raise NoPlaceError("its last layer is none of the classes")
            found = np.ascontiguousarray(np.take(array, places, axis=axis))
            weights[name].CopyFrom(numpy_helper.from_array(found, name))

    return edit


def for_bgr(model: Any) -> None:
    """Turn the colours of the first layer's weights around."""
    node, place = _kernels(model)[0]
    tensor = _weights(model)[node.input[place]]
    array = numpy_helper.to_array(tensor)
    if array.ndim != 4 or array.shape[1] != 3:
        raise NoPlaceError("its first layer reads no colours")
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:, ::-1]), tensor.name))


def behind_image(kind: str, constant: np.ndarray | None = None, **attributes: Any) -> Edit:
    """Put an operation behind the image."""

    def edit(model: Any) -> None:
        weights = _weights(model)
        image = next(value.name for value in model.graph.input if value.name not in weights)
        more = [] if constant is None else [_fresh(model, constant, "behind the image")]
        _insert_behind(model, image, kind, more, **attributes)

    return edit


def flipped_image(model: Any) -> None:
    """Mirror the image, with a slice that goes backwards."""
    weights = _weights(model)
    image = next(value.name for value in model.graph.input if value.name not in weights)
    more = [
        _fresh(model, np.array([value], np.int64), f"mirror {name}")
        for name, value in (("start", -1), ("end", np.iinfo(np.int64).min), ("axis", 3), ("step", -1))
    ]
    _insert_behind(model, image, "Slice", more)


def attribute(kinds: Sequence[str], share: float = 0.5, **values: Any) -> Edit:
    """Set an attribute of an operation."""

    def edit(model: Any) -> None:
        _set(_found(model, kinds, share), **values)

    return edit
