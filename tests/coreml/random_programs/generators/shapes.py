"""Arguments for what makes, moves, joins and cuts elements."""

from __future__ import annotations

from math import prod

import numpy as np

from tests.coreml.random_programs.drawing import Arguments, Drawing, generates
from tests.coreml.random_programs.program import NUMPY, TYPES, Ref

_ANY = ("fp16", "fp32", "int32", "bool")


def _alike(d: Drawing, axis_free: bool) -> tuple[list[Ref], int]:
    """Choose values of one type and shape, but for the axis that is returned where it is free."""
    first = d.tensor("values", dtype=d.choice([d.real, "int32", "bool"]), rank=(1, 4))
    shape, axis = d.shape(first), d.axis(first)
    values = [first]
    for _ in range(d.integer(1, 2)):
        size = list(shape)
        size[axis] = d.integer(1, 3) if axis_free else size[axis]
        values.append(d.tensor("values", dtype=TYPES[d.array(first).dtype], shape=tuple(size)))
    return values, axis


@generates("concat")
def concat(d: Drawing) -> Arguments:
    interleave = d.flag()
    values, axis = _alike(d, not interleave)
    return {"values": values, "axis": axis, "interleave": interleave}


@generates("stack")
def stack(d: Drawing) -> Arguments:
    values, _ = _alike(d, False)
    rank = len(d.shape(values[0]))
    return {"values": values, "axis": d.integer(-rank - 1, rank)}


@generates("split")
def split(d: Drawing) -> Arguments:
    x = d.tensor("x", fits=lambda shape: max(shape) > 1)
    axis = max(range(len(d.shape(x))), key=lambda a: d.shape(x)[a])
    size = d.shape(x)[axis]
    axis -= len(d.shape(x)) if d.flag() else 0
    even = [n for n in range(2, size + 1) if size % n == 0]
    if d.flag():
        return {"x": x, "num_splits": d.choice(even), "axis": axis}
    first = d.integer(1, size - 1)
    return {"x": x, "split_sizes": (first, size - first), "axis": axis}


@generates("tile")
def tile(d: Drawing) -> Arguments:
    x = d.tensor("x")
    return {"x": x, "reps": tuple(d.integer(1, 3) for _ in d.shape(x))}


@generates("fill")
def fill(d: Drawing) -> Arguments:
    return {"shape": d.small_shape(1, 4), "value": d.number("value", -4, 4)}


@generates("fill_like")
def fill_like(d: Drawing) -> Arguments:
    return {"ref_tensor": d.tensor("ref_tensor"), "value": d.number("value", -4, 4)}


@generates("flatten2d")
def flatten2d(d: Drawing) -> Arguments:
    # At axis 0 coremltools cannot even build what it would fold; a test of its own has that one.
    x = d.tensor("x", rank=(2, 5))
    return {"x": x, "axis": d.axis(x, first=1)}


@generates("band_part")
def band_part(d: Drawing) -> Arguments:
    return {"x": d.tensor("x", rank=(2, 5)), "lower": d.integer(-1, 2), "upper": d.integer(-1, 2)}


@generates("one_hot")
def one_hot(d: Drawing) -> Arguments:
    count = d.integer(1, 5)
    indices = d.tensor("indices", rank=(1, 3), low=0, high=count - 1, strict=True)
    arguments: Arguments = {"indices": indices, "one_hot_vector_size": count}
    arguments["axis"] = d.integer(-1, len(d.shape(indices)))
    if d.flag():
        arguments |= {"on_value": d.number("on_value", 1, 4), "off_value": d.number("off_value", -4, 0)}
    return arguments


@generates("pad")
def pad(d: Drawing) -> Arguments:
    x = d.tensor("x")
    mode = d.choice(["constant", "reflect", "replicate"])
    shape = d.shape(x)
    count = d.integer(1, min(2, len(shape)))
    most = [2 if mode != "reflect" else n - 1 for n in shape[-count:]]
    arguments: Arguments = {"x": x, "pad": tuple(d.integer(0, min(2, m)) for m in most for _ in range(2))}
    arguments["mode"] = mode
    dtype = TYPES[d.array(x).dtype]
    if mode == "constant" and dtype in ("fp16", "fp32", "int32"):
        arguments["constant_val"] = NUMPY[dtype](d.integer(-8, 8))
    return arguments


@generates("range_1d")
def range_1d(d: Drawing) -> Arguments:
    dtype = NUMPY[d.dtype("start")]
    start, count, step = d.integer(-5, 5), d.integer(1, 6), d.integer(1, 3)
    return {"start": dtype(start), "end": dtype(start + count * step), "step": dtype(step)}


@generates("expand_dims")
def expand_dims(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 3))
    rank = len(d.shape(x))
    return {"x": x, "axes": d.choice([(0,), (-1,), (rank,), (0, -1), (0, rank + 1)])}


@generates("squeeze")
def squeeze(d: Drawing) -> Arguments:
    x = d.tensor(
        "x", rank=(2, 5), fits=lambda shape: 1 in shape and max(shape) > 1, drawn=lambda: (d.integer(2, 4), 1)
    )
    ones = [axis for axis, n in enumerate(d.shape(x)) if n == 1]
    return {"x": x, "axes": (d.choice(ones) - (len(d.shape(x)) if d.flag() else 0),)} if d.flag() else {"x": x}


@generates("transpose")
def transpose(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(2, 5))
    left = list(range(len(d.shape(x))))
    return {"x": x, "perm": tuple(left.pop(d.integer(0, len(left) - 1)) for _ in d.shape(x))}


@generates("reshape")
def reshape(d: Drawing) -> Arguments:
    x = d.tensor("x")
    left, shape = d.array(x).size, []
    for _ in range(d.integer(0, 3)):
        shape.append(d.choice([n for n in range(1, 9) if left % n == 0]))
        left //= shape[-1]
    shape.append(left)
    if d.flag():
        shape[d.integer(0, len(shape) - 1)] = -1
    return {"x": x, "shape": tuple(shape)}


@generates("reverse")
def reverse(d: Drawing) -> Arguments:
    x = d.tensor("x")
    return {"x": x, "axes": d.axes(x)} if d.flag() else {"x": x}


@generates("reverse_sequence")
def reverse_sequence(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(2, 4))
    batch, sequence = (0, 1) if d.flag() else (1, 0)
    lengths = d.constant(d.shape(x)[batch : batch + 1], "int32", 0, d.shape(x)[sequence])
    return {"x": x, "lengths": np.minimum(lengths, d.shape(x)[sequence]), "seq_axis": sequence, "batch_axis": batch}


def _cuts(d: Drawing, x: Ref, *, squeeze: bool) -> tuple[Arguments, tuple[int, ...]]:
    """Draw a slice of every axis; return it with the shape that it has before axes are squeezed."""
    begin, end, stride, masks, sizes = [], [], [], [], []
    for n in d.shape(x):
        step = d.choice([1, 2, -1, -2])
        first, last = sorted((d.integer(0, n - 1), d.integer(0, n - 1)))
        # In reverse order the end is left open: no number says "before the first".
        ends = (first, last + 1) if step > 0 else (last, first - 1)
        mask = (d.flag(), d.flag() or (step < 0 and first == 0), squeeze and d.integer(0, 3) == 3)
        negative = d.flag()
        begin.append(ends[0] - n if negative and not mask[0] else ends[0])
        end.append(ends[1] if not mask[1] else 0)
        stride.append(1 if mask[2] else step)
        masks.append((mask[0] and not mask[2], mask[1], mask[2]))
        cut = range(n)[None if masks[-1][0] else ends[0] : None if mask[1] else ends[1] : step]
        sizes.append(1 if mask[2] else len(cut))
    arguments: Arguments = {"begin": tuple(begin), "end": tuple(end), "stride": tuple(stride)}
    for name, values in zip(("begin_mask", "end_mask", "squeeze_mask"), zip(*masks, strict=True), strict=True):
        if any(values):
            arguments[name] = tuple(values)
    return arguments, tuple(sizes)


@generates("slice_by_index")
def slice_by_index(d: Drawing) -> Arguments:
    x = d.tensor("x")
    return {"x": x} | _cuts(d, x, squeeze=True)[0]


@generates("slice_update")
def slice_update(d: Drawing) -> Arguments:
    x = d.tensor("x")
    cuts, shape = _cuts(d, x, squeeze=False)
    return {"x": x, "update": d.tensor("update", shape=shape)} | cuts


@generates("slice_by_size")
def slice_by_size(d: Drawing) -> Arguments:
    x = d.tensor("x")
    begin = tuple(d.integer(0, n - 1) for n in d.shape(x))
    return {
        "x": x,
        "begin": begin,
        "size": tuple(d.integer(1, n - b) for n, b in zip(d.shape(x), begin, strict=True)),
    }


@generates("sliding_windows")
def sliding_windows(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 4))
    axis = d.axis(x)
    return {"x": x, "axis": axis, "size": d.integer(1, d.shape(x)[axis]), "stride": d.integer(1, 3)}


@generates("depth_to_space", "pixel_shuffle")
def to_space(d: Drawing) -> Arguments:
    x = d.tensor("x", (4, 4), fits=lambda shape: shape[1] % 4 == 0, drawn=lambda: (1, 4 * d.integer(1, 2), 2, 3))
    return {"x": x, "block_size" if d.kind == "depth_to_space" else "upscale_factor": 2}


@generates("space_to_depth", "pixel_unshuffle")
def to_depth(d: Drawing) -> Arguments:
    even = lambda shape: shape[2] % 2 == shape[3] % 2 == 0  # noqa: E731
    x = d.tensor("x", (4, 4), fits=even, drawn=lambda: (1, d.integer(1, 3), 2 * d.integer(1, 2), 4))
    return {"x": x, "block_size": 2} if d.kind == "space_to_depth" else {"x": x, "downscale_factor": np.uint32(2)}


@generates("space_to_batch")
def space_to_batch(d: Drawing) -> Arguments:
    x = d.tensor("x", (4, 4))
    blocks = (d.integer(1, 2) + 1, d.integer(1, 2))
    pad = []
    for n, b in zip(d.shape(x)[2:], blocks, strict=True):
        missing = -n % b
        first = d.integer(0, missing)
        pad.append((first, missing - first))
    return {"x": x, "block_shape": blocks, "paddings": np.array(pad, np.int32)}


@generates("batch_to_space")
def batch_to_space(d: Drawing) -> Arguments:
    x = d.tensor("x", (4, 4), fits=lambda shape: shape[0] % 2 == 0, drawn=lambda: (2 * d.integer(1, 3), 2, 3, 2))
    blocks = (2, 1) if d.flag() else (1, 2)
    cut = lambda: np.array([(d.integer(0, 1), 0), (0, d.integer(0, 1))], np.int32)  # noqa: E731
    return {
        "x": x,
        "block_shape": blocks,
        "crops": cut() if min(d.shape(x)[2:]) > 1 else np.zeros((2, 2), np.int32),
    }


@generates("reshape_like")
def reshape_like(d: Drawing) -> Arguments:
    x = d.tensor("x")
    other = d.tensor("x", fits=lambda shape: prod(shape) == d.array(x).size, drawn=lambda: d.shape(x)[::-1])
    rank = len(d.shape(other))
    bounds = {"begins": [np.int32(0)], "ends": [np.int32(rank)], "end_masks": [np.bool_(d.flag())]}
    return {"x": x, "ref_tensors": [other], **bounds}
