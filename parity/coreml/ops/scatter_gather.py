"""Taking and putting elements by index. Source: coremltools' MIL definitions, family scatter_gather.

Up to iOS16 a negative index counts from the end. From iOS17 on its meaning is undefined, and it is read the same
way here unless validate_indices forbids it. An index beyond the axis is undefined everywhere, and an error here.
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
        raise CoreMLError(
            f"index {indices[outside][0].item()} into an axis of {size} element(s); allowed is "
            f"{least}..{size - 1}, beyond it Core ML's answer is undefined; correct the model's indices"
        )
    return torch.where(indices < 0, indices + size, indices).long()


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


# Apple's text gives `update` as the default of scatter, coremltools itself fills in `add` for all three.
@op("scatter")
def scatter(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put slices of `updates` at these places of one axis; mode: update, add, sub, mul, div, max, min."""
    axis %= data.ndim
    places = _places(indices, data.shape[axis], validate=validate_indices)
    aligned = places.reshape(-1, *(1,) * (data.ndim - 1 - axis)).expand(updates.shape)
    return _put(data, aligned, updates, axis, mode)


@op("scatter_along_axis")
def scatter_along_axis(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put each update at its own place on one axis; indices and updates have the same shape."""
    return _put(data, _places(indices, data.shape[axis], validate=validate_indices), updates, axis, mode)


@op("scatter_nd")
def scatter_nd(
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    mode: str = "add",
    validate_indices: bool = False,
) -> torch.Tensor:
    """Put parts of `updates` where the index vectors, on the last axis of the indices, point."""
    depth = indices.shape[-1]
    sizes, rest = data.shape[:depth], data.shape[depth:]
    places = _flat_places(indices, sizes, validate=validate_indices).reshape(-1, 1).expand(-1, rest.numel())
    rows = data.reshape(sizes.numel(), rest.numel())
    return _put(rows, places, updates.reshape(-1, rest.numel()), 0, mode).reshape(data.shape)
