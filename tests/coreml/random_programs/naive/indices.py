"""Twins of what takes and puts elements by index, and of compressed weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tests.coreml.random_programs.twins import twin_of


@twin_of("gather")
def gather(x: Any, indices: Any, axis: int, batch_dims: int = 0, validate_indices: bool = False) -> Any:
    axis %= np.ndim(x)
    if not batch_dims:
        return np.take(x, indices, axis)
    parts = [gather(row, chosen, axis - 1, batch_dims - 1) for row, chosen in zip(x, indices, strict=True)]
    return np.stack(parts)


@twin_of("gather_along_axis")
def gather_along_axis(x: Any, indices: Any, axis: int, validate_indices: bool = False) -> Any:
    result = np.empty(indices.shape, x.dtype)
    for place in np.ndindex(indices.shape):
        source = list(place)
        source[axis] = indices[place]
        result[place] = x[tuple(source)]
    return result


@twin_of("gather_nd")
def gather_nd(x: Any, indices: Any, batch_dims: int = 0, validate_indices: bool = False) -> Any:
    if batch_dims:
        parts = [gather_nd(row, chosen, batch_dims - 1) for row, chosen in zip(x, indices, strict=True)]
        return np.stack(parts)
    result = np.empty(indices.shape[:-1] + x.shape[indices.shape[-1] :], x.dtype)
    for place in np.ndindex(indices.shape[:-1]):
        result[place] = x[tuple(indices[place])]
    return result


def _put(data: Any, place: Any, update: Any, mode: str) -> None:
    """Let an update meet what is at a place."""
    old = data[place]
    data[place] = {
        "update": lambda: update,
        "add": lambda: old + update,
        "sub": lambda: old - update,
        "mul": lambda: old * update,
        "div": lambda: old / update,
        "max": lambda: np.maximum(old, update),
        "min": lambda: np.minimum(old, update),
    }[mode]()


@twin_of("scatter")
def scatter(data: Any, indices: Any, updates: Any, axis: int, mode: str, validate_indices: bool = False) -> Any:
    result = np.moveaxis(data.copy(), axis, 0)
    moved = np.moveaxis(updates, axis, 0)
    for index, update in zip(indices, moved, strict=True):
        _put(result, index, update, mode)
    return np.moveaxis(result, 0, axis)


@twin_of("scatter_along_axis")
def scatter_along_axis(
    data: Any, indices: Any, updates: Any, axis: int, mode: str, validate_indices: bool = False
) -> Any:
    result = data.copy()
    for place in np.ndindex(indices.shape):
        target = list(place)
        target[axis] = indices[place]
        _put(result, tuple(target), updates[place], mode)
    return result


@twin_of("scatter_nd")
def scatter_nd(data: Any, indices: Any, updates: Any, mode: str, validate_indices: bool = False) -> Any:
    result = data.copy()
    for place in np.ndindex(indices.shape[:-1]):
        _put(result, tuple(indices[place]), updates[place], mode)
    return result


def _steps(parameter: Any, x: Any, axis: int) -> Any:
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.reshape(parameter, shape) if np.ndim(parameter) else parameter


@twin_of("constexpr_affine_dequantize")
def constexpr_affine_dequantize(quantized_data: Any, zero_point: Any, scale: Any, axis: int) -> Any:
    shift, factor = (_steps(p, quantized_data, axis) for p in (zero_point, scale))
    return factor * (quantized_data - shift)


@twin_of("constexpr_cast")
def constexpr_cast(source_val: Any, output_dtype: str) -> Any:
    return source_val


def _bits(packed: Any, width: int) -> list[int]:
    """Read numbers of so many bits, the lowest bit of the first byte first."""
    stream = [int(byte) >> bit & 1 for byte in packed for bit in range(8)]
    chunks = range(0, len(stream) - width + 1, width)
    return [sum(bit << i for i, bit in enumerate(stream[at : at + width])) for at in chunks]


@twin_of("constexpr_lut_to_dense")
def constexpr_packed_lut_to_dense(indices: Any, lut: Any, shape: Any) -> Any:
    width = {2: 1, 4: 2, 16: 4, 64: 6, 256: 8}[len(lut)]
    count = int(np.prod(shape))
    return lut[_bits(indices, width)[:count]].reshape([int(n) for n in shape])


@twin_of("constexpr_sparse_to_dense")
def constexpr_packed_sparse_to_dense(nonzero_data: Any, mask: Any, shape: Any) -> Any:
    numbers = iter(nonzero_data)
    count = int(np.prod(shape))
    return np.reshape([next(numbers) if bit else 0 for bit in _bits(mask, 1)[:count]], [int(n) for n in shape])


@twin_of("constexpr_blockwise_shift_scale", since="iOS18")
def constexpr_blockwise_shift_scale(data: Any, scale: Any, offset: Any = None) -> Any:
    result = np.empty(data.shape)
    for place in np.ndindex(data.shape):
        block = tuple(i * n // size for i, n, size in zip(place, scale.shape, data.shape, strict=True))
        result[place] = scale[block] * (data[place] - (0 if offset is None else offset[block]))
    return result


@twin_of("constexpr_lut_to_dense", since="iOS18")
def constexpr_lut_to_dense(indices: Any, lut: Any, vector_axis: int | None = None) -> Any:
    length = lut.shape[-1]
    axis = 0 if vector_axis is None else vector_axis
    shape = [n * length if i == axis else n for i, n in enumerate(indices.shape)]
    result = np.empty(shape)
    for place in np.ndindex(indices.shape):
        block = tuple(i * n // size for i, n, size in zip(place, lut.shape[:-2], indices.shape, strict=True))
        for element in range(length):
            target = list(place)
            target[axis] = place[axis] * length + element
            result[tuple(target)] = lut[block][indices[place], element]
    return result


@twin_of("constexpr_sparse_to_dense", since="iOS18")
def constexpr_sparse_to_dense(nonzero_data: Any, mask: Any) -> Any:
    numbers = itertools.chain(nonzero_data)
    return np.reshape([next(numbers) if one else 0 for one in mask.reshape(-1)], mask.shape)
