"""Arguments for what takes and puts elements by index, and for compressed weights."""

from __future__ import annotations

from math import prod

import numpy as np

from tests.coreml.random_programs.drawing import Arguments, Drawing, MisfitError, generates
from tests.coreml.random_programs.program import TYPES, Ref

_MODES = ["update", "add", "sub", "mul", "max", "min"]


def _indices(d: Drawing, shape: tuple[int, ...], size: int) -> Ref | np.ndarray:
    """Choose indices into an axis: a constant, or a value; negative ones where the opset defines them."""
    low = 0 if d.since("iOS17") else -size
    name = "indices"
    if d.flag():
        return d.tensor(name, shape=shape, low=low, high=size - 1, strict=True)
    dtype = d.dtype(name)
    return d.constant(shape, dtype, max(low, 0) if dtype.startswith("u") else low, size - 1)


def _checked(d: Drawing) -> Arguments:
    return {"validate_indices": d.flag()} if d.since("iOS17") else {}


@generates("gather")
def gather(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 4))
    axis = d.axis(x)
    shape = d.shape(x)
    batch = d.integer(0, min(1, axis % len(shape))) if d.since("iOS16") else 0
    indices = _indices(d, (*shape[:batch], *d.small_shape(1, 2)), shape[axis])
    return {"x": x, "indices": indices, "axis": axis} | ({"batch_dims": batch} if batch else {}) | _checked(d)


@generates("gather_along_axis")
def gather_along_axis(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 4))
    axis = d.axis(x)
    shape = list(d.shape(x))
    size, shape[axis] = shape[axis], d.integer(1, 4)
    return {"x": x, "indices": _indices(d, tuple(shape), size), "axis": axis} | _checked(d)


@generates("gather_nd")
def gather_nd(d: Drawing) -> Arguments:
    x = d.tensor("x", rank=(1, 4))
    depth = d.integer(1, len(d.shape(x)))
    least = min(d.shape(x)[:depth])
    return {"x": x, "indices": _indices(d, (*d.small_shape(1, 2), depth), least)} | _checked_vectors(d)


def _checked_vectors(d: Drawing) -> Arguments:
    # Not where they are constants: coremltools compares each index with the whole shape, and stumbles.
    return {"validate_indices": False} if d.since("iOS17") else {}


def _distinct(d: Drawing, size: int, count: int) -> np.ndarray:
    """Draw indices that differ: the order of updates of the same place is not defined."""
    left = list(range(size))
    return np.array([left.pop(d.integer(0, len(left) - 1)) for _ in range(count)], np.int32)


@generates("scatter")
def scatter(d: Drawing) -> Arguments:
    data = d.tensor("data", rank=(1, 4))
    axis = d.axis(data)
    shape = list(d.shape(data))
    count = d.integer(1, shape[axis])
    indices = _distinct(d, shape[axis], count)
    shape[axis] = count
    updates = d.tensor("updates", shape=tuple(shape))
    return {
        "data": data,
        "indices": indices,
        "updates": updates,
        "axis": axis,
        "mode": d.choice(_MODES),
    } | _checked(d)


@generates("scatter_along_axis")
def scatter_along_axis(d: Drawing) -> Arguments:
    data = d.tensor("data", rank=(1, 3))
    axis = d.axis(data)
    shape = list(d.shape(data))
    count = d.integer(1, shape[axis])
    along = [1] * len(shape)
    along[axis] = count
    indices = _distinct(d, shape[axis], count).reshape(along)
    shape[axis] = count
    updates = d.tensor("updates", shape=tuple(shape))
    places = np.ascontiguousarray(np.broadcast_to(indices, shape))
    return {"data": data, "indices": places, "updates": updates, "axis": axis, "mode": d.choice(_MODES)} | _checked(
        d
    )


@generates("scatter_nd")
def scatter_nd(d: Drawing) -> Arguments:
    data = d.tensor("data", rank=(1, 3))
    depth = d.integer(1, len(d.shape(data)))
    sizes, rest = d.shape(data)[:depth], d.shape(data)[depth:]
    count = d.integer(1, min(4, prod(sizes)))
    flat = _distinct(d, prod(sizes), count)
    indices = np.stack(np.unravel_index(flat, sizes), -1).astype(np.int32)
    updates = d.tensor("updates", shape=(count, *rest))
    return {"data": data, "indices": indices, "updates": updates, "mode": d.choice(_MODES)} | _checked_vectors(d)


@generates("constexpr_affine_dequantize")
def constexpr_affine_dequantize(d: Drawing) -> Arguments:
    shape = d.small_shape(1, 3)
    dtype, axis = d.dtype("quantized_data"), d.integer(0, len(shape) - 1)
    size = shape[axis : axis + 1] if d.flag() else ()
    zero = d.constant(size, dtype)
    return {
        "quantized_data": d.constant(shape, dtype),
        "zero_point": zero[()],
        "scale": d.constant(size, d.dtype("scale"), 0.0625, 0.5)[()],
        "axis": axis,
    }


@generates("constexpr_cast")
def constexpr_cast(d: Drawing) -> Arguments:
    return {"source_val": d.constant(d.small_shape(1, 3), "fp16"), "output_dtype": "fp32"}


@generates("constexpr_lut_to_dense")
def constexpr_lut_to_dense(d: Drawing) -> Arguments:
    shape = d.small_shape(1, 3)
    if not d.since("iOS18"):
        bits = d.choice([1, 2, 4, 6, 8])
        packed = d.constant((-(-prod(shape) * bits // 8),), "uint8", 0, 255)
        table = d.constant((2**bits,), d.dtype("lut"))
        return {"indices": packed, "lut": table, "shape": np.array(shape, np.uint32)}
    return _blockwise_table(d, shape)


def _blockwise_table(d: Drawing, shape: tuple[int, ...]) -> Arguments:
    from coremltools.converters.mil.mil.types import np_uint4_dtype

    length = d.choice([1, 2])
    blocks = tuple(n if d.flag() else 1 for n in shape)
    indices = d.constant(shape, "uint8", 0, 15)
    arguments: Arguments = {"indices": indices.astype(np_uint4_dtype) if np_uint4_dtype else indices}
    arguments["lut"] = d.constant((*blocks, 16, length), d.dtype("lut"))
    return arguments | ({"vector_axis": d.integer(0, len(shape) - 1)} if length > 1 else {})


@generates("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(d: Drawing) -> Arguments:
    if d.since("iOS18"):
        raise MisfitError  # its mask is of one-bit numbers
    shape = d.small_shape(1, 3)
    mask = d.constant((prod(shape),), "bool")
    if not mask.any():
        raise MisfitError
    return {
        "nonzero_data": d.constant((int(mask.sum()),), d.dtype("nonzero_data")),
        "mask": np.packbits(mask, bitorder="little"),
        "shape": np.array(shape, np.uint32),
    }


@generates("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(d: Drawing) -> Arguments:
    shape = d.small_shape(1, 3)
    blocks = tuple(n if d.flag() else 1 for n in shape)
    arguments: Arguments = {"data": d.constant(shape, d.choice(["int8", "uint8"]))}
    dtype = TYPES[arguments["data"].dtype]
    arguments["scale"] = d.constant(blocks, d.dtype("scale"), 0.0625, 0.5)
    return arguments | ({"offset": d.constant(blocks, dtype, 0, 9)} if d.flag() else {})
