"""Taking and putting elements by index. Source: coremltools' MIL definitions, family scatter_gather.

Up to iOS16 a negative index counts from the end, and one beyond the axis is undefined, and an error here. From
iOS17 on both are out of bounds: an error where validate_indices asks for one, and else "undefined but memory safe",
in Apple's words. Apple's tests of scatter want an answer there that does not count from the end, so such an update
is left out here. Taking from such a place counts from the end as before, and beyond it is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from parity.core.errors import CoreMLError
from parity.coreml.registry import op


def _places(indices: torch.Tensor, size: int, *, validate: bool) -> torch.Tensor:
    """Return the indices into an axis of this size as int64 in 0..size - 1."""
    least = 0 if validate else -size
    outside = (indices >= size) | (indices < least)
    if outside.any():
        raise _outside(indices[outside], least, size)
    return torch.where(indices < 0, indices + size, indices).long()


def _outside(indices: torch.Tensor, least: int, size: int) -> CoreMLError:
    return CoreMLError(
        f"index {indices[0].item()} into an axis of {size} element(s); allowed is {least}..{size - 1}, beyond it "
        "Core ML's answer is undefined; correct the model's indices"
    )


def _places_or_behind(indices: torch.Tensor, size: int, *, validate: bool) -> torch.Tensor:
    """Return the indices into an axis of this size as int64; what is outside becomes the place behind the last."""
    outside = (indices >= size) | (indices < 0)
    if validate and outside.any():
        raise _outside(indices[outside], 0, size)
    return torch.where(outside, size, indices).long()


def _flat_places(indices: torch.Tensor, sizes: Sequence[int], *, validate: bool) -> torch.Tensor:
    """Turn index vectors, on the last axis, into places in the flattened axes of these sizes."""
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for column, size in enumerate(sizes):
        places = places * size + _places(indices[..., column], size, validate=validate)
    return places


@op("gather", exact=True)
def gather(
    x: torch.Tensor, indices: torch.Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> torch.Tensor:
    """Take these elements of one axis, each of the first batch_dims axes with indices of its own."""
    axis %= x.ndim
    places = _places(indices, x.shape[axis], validate=validate_indices)
    batch, before, after = x.shape[:batch_dims], x.shape[batch_dims:axis], x.shape[axis + 1 :]
    result = (*batch, *before, *indices.shape[batch_dims:], *after)
    if batch_dims == 0:
        return x.index_select(axis, places.reshape(-1)).reshape(result)
    rows = x.reshape(batch.numel(), before.numel(), x.shape[axis], after.numel())
    chosen = places.reshape(batch.numel(), 1, -1, 1).expand(-1, rows.shape[1], -1, rows.shape[3])
    return rows.gather(2, chosen).reshape(result)


@op("gather_along_axis", exact=True)
def gather_along_axis(
    x: torch.Tensor, indices: torch.Tensor, axis: int = 0, validate_indices: bool = False
) -> torch.Tensor:
    """Take one element of the axis for each index; the result has the shape of the indices."""
    return x.gather(axis, _places(indices, x.shape[axis], validate=validate_indices))


@op("gather_nd", exact=True)
def gather_nd(
    x: torch.Tensor, indices: torch.Tensor, batch_dims: int = 0, validate_indices: bool = False
) -> torch.Tensor:
    """Take the part of x that each index vector, on the last axis of the indices, points at."""
    depth = indices.shape[-1]
    batch, sizes, rest = x.shape[:batch_dims], x.shape[batch_dims:][:depth], x.shape[batch_dims + depth :]
    places = _flat_places(indices, sizes, validate=validate_indices).reshape(batch.numel(), -1, 1)
    rows = x.reshape(batch.numel(), sizes.numel(), rest.numel())
    return rows.gather(1, places.expand(-1, -1, rows.shape[2])).reshape(*indices.shape[:-1], *rest)


def _put(data: torch.Tensor, places: torch.Tensor, updates: torch.Tensor, axis: int, mode: str) -> torch.Tensor:
    """Put each update at its place on one axis; updates of the same place add up, multiply, ... one another."""
    if mode == "update":
        return data.scatter(axis, places, updates)
    if mode == "add":
        return data.scatter_add(axis, places, updates)
    if mode == "sub":
        return data.scatter_add(axis, places, -updates)
    if mode == "div":
        divisors = torch.ones_like(data).scatter_reduce(axis, places, updates, "prod")
        return torch.div(data, divisors, rounding_mode=None if data.is_floating_point() else "trunc")
    reduction = {"mul": "prod", "max": "amax", "min": "amin"}[mode]
    return data.scatter_reduce(axis, places, updates, reduction)


def _put_inside(
    data: torch.Tensor, places: torch.Tensor, updates: torch.Tensor, axis: int, mode: str
) -> torch.Tensor:
    """Put each update at its place, and leave out those of the place behind the last."""
    size = data.shape[axis]
    if not bool((places == size).any()):
        return _put(data, places, updates, axis, mode)
    behind = data.new_zeros([1 if at == axis else length for at, length in enumerate(data.shape)])
    return _put(torch.cat([data, behind], axis), places, updates, axis, mode).narrow(axis, 0, size).clone()


# Apple's text gives `update` as the default of scatter, coremltools itself fills in `add` for all three.
@op("scatter")
def scatter(
    data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int = 0, mode: str = "add"
) -> torch.Tensor:
    """Put slices of `updates` at these places of one axis; mode: update, add, sub, mul, div, max, min."""
    axis %= data.ndim
    places = _places(indices, data.shape[axis], validate=False)
    return _put(data, _aligned(places, updates, axis), updates, axis, mode)


@op("scatter", since="iOS17")
def scatter_within_bounds(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put slices of `updates` at those of these places of one axis that are within its bounds."""
    axis %= data.ndim
    places = _places_or_behind(indices, data.shape[axis], validate=validate_indices)
    return _put_inside(data, _aligned(places, updates, axis), updates, axis, mode)


def _aligned(places: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    return places.reshape(-1, *(1,) * (updates.ndim - 1 - axis)).expand(updates.shape)


@op("scatter_along_axis")
def scatter_along_axis(
    data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int = 0, mode: str = "add"
) -> torch.Tensor:
    """Put each update at its own place on one axis; indices and updates have the same shape."""
    return _put(data, _places(indices, data.shape[axis], validate=False), updates, axis, mode)


@op("scatter_along_axis", since="iOS17")
def scatter_along_axis_within_bounds(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put each update at its own place on one axis, where that is within its bounds."""
    axis %= data.ndim
    places = _places_or_behind(indices, data.shape[axis], validate=validate_indices)
    return _put_inside(data, places, updates, axis, mode)


@op("scatter_nd")
def scatter_nd(data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, mode: str = "add") -> torch.Tensor:
    """Put parts of `updates` where the index vectors, on the last axis of the indices, point."""
    places = _flat_places(indices, data.shape[: indices.shape[-1]], validate=False)
    rows, parts, places = _rows(data, updates, places, indices.shape[-1])
    return _put(rows, places, parts, 0, mode).reshape(data.shape)


@op("scatter_nd", since="iOS17")
def scatter_nd_within_bounds(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put parts of `updates` where the index vectors point, where that is within the bounds of all their axes."""
    depth = indices.shape[-1]
    sizes = data.shape[:depth]
    columns = [_places_or_behind(indices[..., i], size, validate=validate_indices) for i, size in enumerate(sizes)]
    outside = torch.zeros(indices.shape[:-1], dtype=torch.bool)
    for column, size in zip(columns, sizes, strict=True):
        outside |= column == size
    clamped = torch.stack(columns, -1).masked_fill(outside[..., None], 0)
    places = _flat_places(clamped, sizes, validate=True).masked_fill(outside, sizes.numel())
    rows, parts, places = _rows(data, updates, places, depth)
    return _put_inside(rows, places, parts, 0, mode).reshape(data.shape)


def _rows(
    data: torch.Tensor, updates: torch.Tensor, places: torch.Tensor, depth: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make matrices of data, updates and places: one row for each place in the first `depth` axes."""
    sizes, rest = data.shape[:depth], data.shape[depth:]
    width = rest.numel()
    return data.reshape(sizes.numel(), width), updates.reshape(-1, width), places.reshape(-1, 1).expand(-1, width)
