"""Twins of what makes, moves, joins and cuts elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.coreml.random_programs.twins import twin_of


@twin_of("band_part")
def band_part(x: Any, lower: int, upper: int) -> Any:
    rows, columns = np.indices(x.shape[-2:])
    keep = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return np.where(keep, x, np.zeros_like(x))


@twin_of("concat")
def concat(values: Sequence[Any], axis: int, interleave: bool = False) -> Any:
    if not interleave:
        return np.concatenate(values, axis)
    rows = [np.moveaxis(value, axis, 0) for value in values]
    return np.moveaxis(np.stack([row[i] for i in range(len(rows[0])) for row in rows]), 0, axis)


@twin_of("stack")
def stack(values: Sequence[Any], axis: int) -> Any:
    return np.concatenate([np.expand_dims(value, axis) for value in values], axis)


@twin_of("split")
def split(x: Any, axis: int, num_splits: int | None = None, split_sizes: Any = None) -> Any:
    ends = np.cumsum(split_sizes)[:-1] if split_sizes is not None else num_splits
    return tuple(np.split(x, ends, axis))


@twin_of("tile")
def tile(x: Any, reps: Any) -> Any:
    for axis, count in enumerate(reps):
        x = np.concatenate([x] * int(count), axis)
    return x


@twin_of("fill")
def fill(shape: Any, value: Any) -> Any:
    return np.full([int(n) for n in shape], value)


@twin_of("fill_like")
def fill_like(ref_tensor: Any, value: Any) -> Any:
    return np.full(ref_tensor.shape, value)


@twin_of("flatten2d")
def flatten2d(x: Any, axis: int) -> Any:
    return x.reshape(math.prod(x.shape[:axis]), -1)


@twin_of("one_hot")
def one_hot(indices: Any, one_hot_vector_size: int, axis: int, on_value: Any = 1, off_value: Any = 0) -> Any:
    places = np.arange(one_hot_vector_size) == indices[..., None]
    return np.moveaxis(np.where(places, on_value, off_value), -1, axis)


@twin_of("pad")
def pad(x: Any, pad: Any, mode: str = "constant", constant_val: float = 0.0) -> Any:
    pairs = [(int(b), int(a)) for b, a in np.reshape(pad, (-1, 2))]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    return np.pad(x, pairs, mode="edge" if mode == "replicate" else "reflect")


@twin_of("range_1d")
def range_1d(start: float, end: float, step: float) -> Any:
    return np.array([start + i * step for i in range(math.ceil((end - start) / step))])


@twin_of("expand_dims")
def expand_dims(x: Any, axes: Any) -> Any:
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


@twin_of("squeeze")
def squeeze(x: Any, axes: Any = None) -> Any:
    return np.squeeze(x, None if axes is None else tuple(int(axis) for axis in axes))


@twin_of("transpose")
def transpose(x: Any, perm: Any) -> Any:
    return np.transpose(x, [int(axis) for axis in perm])


@twin_of("reshape")
def reshape(x: Any, shape: Any) -> Any:
    return x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)])


@twin_of("reshape", since="iOS17")
def reshape_from_right(x: Any, shape: Any) -> Any:
    return x.reshape([x.shape[i - len(shape)] if n == 0 else int(n) for i, n in enumerate(shape)])


@twin_of("reverse")
def reverse(x: Any, axes: Any = None) -> Any:
    for axis in range(x.ndim) if axes is None else axes:
        x = x.take(range(x.shape[int(axis)])[::-1], int(axis))
    return x


@twin_of("reverse_sequence")
def reverse_sequence(x: Any, lengths: Any, seq_axis: int, batch_axis: int) -> Any:
    result = np.moveaxis(x.copy(), (batch_axis, seq_axis), (0, 1))
    for row, length in zip(result, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(result, (0, 1), (batch_axis, seq_axis))


def _cuts(x: Any, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any) -> Any:
    cuts: list[Any] = []
    for axis in range(x.ndim):
        first = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        if squeeze_mask is not None and squeeze_mask[axis]:
            cuts.append(int(first or 0))
            continue
        last = None if end_mask is not None and end_mask[axis] else int(end[axis])
        cuts.append(slice(first, last, 1 if stride is None else int(stride[axis])))
    return tuple(cuts)


@twin_of("slice_by_index")
def slice_by_index(
    x: Any,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Any:
    return x[_cuts(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)]


@twin_of("slice_update")
def slice_update(
    x: Any,
    update: Any,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Any:
    result = x.copy()
    result[_cuts(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return result


@twin_of("slice_by_size")
def slice_by_size(x: Any, begin: Any, size: Any) -> Any:
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        start = int(first) % x.shape[axis]
        x = x.take(range(start, x.shape[axis] if count == -1 else start + int(count)), axis)
    return x


@twin_of("sliding_windows")
def sliding_windows(x: Any, axis: int, size: int, stride: int) -> Any:
    axis %= x.ndim
    starts = range(0, x.shape[axis] - size + 1, stride)
    return np.stack([x.take(range(start, start + size), axis) for start in starts], axis)


@twin_of("crop")
def crop(x: Any, crop_height: Any, crop_width: Any) -> Any:
    height, width = x.shape[-2:]
    return x[
        ..., int(crop_height[0]) : height - int(crop_height[1]), int(crop_width[0]) : width - int(crop_width[1])
    ]


def _blocks(x: Any, b: int, channel: Any, count: int) -> Any:
    """Spread channels over blocks of b x b; channel(c, row, column): which of x's it is."""
    n, _, h, w = x.shape
    result = np.empty((n, count, h * b, w * b), x.dtype)
    for c in range(count):
        for row in range(b):
            for column in range(b):
                result[:, c, row::b, column::b] = x[:, channel(c, row, column)]
    return result


@twin_of("depth_to_space")
def depth_to_space(x: Any, block_size: int) -> Any:
    count = x.shape[1] // block_size**2
    return _blocks(x, block_size, lambda c, row, column: (row * block_size + column) * count + c, count)


@twin_of("pixel_shuffle")
def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    b = upscale_factor
    return _blocks(x, b, lambda c, row, column: c * b * b + row * b + column, x.shape[1] // b**2)


@twin_of("space_to_depth")
def space_to_depth(x: Any, block_size: int) -> Any:
    b = block_size
    return np.concatenate([x[:, :, row::b, column::b] for row in range(b) for column in range(b)], 1)


@twin_of("pixel_unshuffle")
def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    b = int(downscale_factor)
    parts = [x[:, c, r::b, k::b] for c in range(x.shape[1]) for r in range(b) for k in range(b)]
    return np.stack(parts, 1)


@twin_of("space_to_batch")
def space_to_batch(x: Any, block_shape: Any, paddings: Any) -> Any:
    rows, columns = (int(b) for b in block_shape)
    pairs = np.reshape(paddings, (2, 2)).tolist()
    x = np.pad(x, [(0, 0), (0, 0), *pairs])
    return np.concatenate([x[:, :, r::rows, c::columns] for r in range(rows) for c in range(columns)])


@twin_of("batch_to_space")
def batch_to_space(x: Any, block_shape: Any, crops: Any) -> Any:
    rows, columns = (int(b) for b in block_shape)
    n, c, h, w = len(x) // (rows * columns), *x.shape[1:]
    result = np.empty((n, c, h * rows, w * columns), x.dtype)
    for i, part in enumerate(np.split(x, rows * columns)):
        result[:, :, i // columns :: rows, i % columns :: columns] = part
    (top, bottom), (left, right) = np.reshape(crops, (2, 2)).tolist()
    return result[:, :, top : h * rows - bottom, left : w * columns - right]


@twin_of("reshape_like")
def reshape_like(x: Any, ref_tensors: Any, begins: Any, ends: Any, end_masks: Any) -> Any:
    shape: list[int] = []
    for ref, begin, end, open_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += ref.shape[int(begin) : None if open_end else int(end)]
    return x.reshape(shape)
