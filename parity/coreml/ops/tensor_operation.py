"""Making, joining, splitting and sorting tensors. Source: coremltools' MIL definitions, family tensor_operation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op


@op("argsort")
def argsort(x: torch.Tensor, axis: int = -1, ascending: bool = False) -> torch.Tensor:
    """Return the indices that sort one axis; equals keep their order."""
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@op("band_part", exact=True, view=True)
def band_part(x: torch.Tensor, lower: int = -1, upper: int = -1) -> torch.Tensor:
    """Set to zero what is further below or above the main diagonal; a negative number keeps that whole side."""
    banded = x if lower < 0 else x.triu(-lower)
    return banded if upper < 0 else banded.tril(upper)


@op("concat", exact=True)
def concat(values: list[torch.Tensor], axis: int, interleave: bool = False) -> torch.Tensor:
    """Join along one axis, one after the other or element by element in turn; scalars become a vector."""
    if values[0].ndim == 0:
        return torch.stack(values)
    if interleave:
        axis %= values[0].ndim
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


@op("cumsum")
def cumsum(x: torch.Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> torch.Tensor:
    """Add up along one axis; exclusive leaves each element out of its own sum, reverse starts at the end."""
    forward = x.flip(axis) if reverse else x
    total = forward.cumsum(axis)
    if exclusive:
        total -= forward
    return total.flip(axis) if reverse else total


@op("fill")
def fill(shape: tuple[int, ...], value: torch.Tensor | None = None) -> torch.Tensor:
    """Make a tensor of one value, 0.0 where none is given."""
    return torch.zeros(shape) if value is None else torch.full(shape, value.item(), dtype=value.dtype)


@op("fill_like", since="iOS16")
def fill_like(ref_tensor: torch.Tensor, value: torch.Tensor | None = None) -> torch.Tensor:
    """Make a tensor of one value with the shape of another; the type is that of the value."""
    return fill(tuple(ref_tensor.shape), value)


@op("flatten2d", exact=True, view=True)
def flatten2d(x: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """Collapse the axes before `axis` into one, and the rest into another."""
    return x.reshape(torch.Size(x.shape[:axis]).numel(), -1)


@op("identity", exact=True, view=True)
def identity(x: torch.Tensor) -> torch.Tensor:
    """Return x."""
    return x


@op("non_zero")
def non_zero(x: torch.Tensor) -> torch.Tensor:
    """Return the indices of what is not zero, [count, rank], in the order of rows."""
    return x.nonzero()


@op("one_hot")
def one_hot(
    indices: torch.Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: torch.Tensor | None = None,
    off_value: torch.Tensor | None = None,
) -> torch.Tensor:
    """Insert an axis that has on_value (1) at the index and off_value (0) elsewhere."""
    axis %= indices.ndim + 1
    classes = torch.arange(one_hot_vector_size).reshape(-1, *(1,) * (indices.ndim - axis))
    on = torch.tensor(1) if on_value is None else on_value
    off = torch.tensor(0) if off_value is None else off_value
    return torch.where(indices.unsqueeze(axis) == classes, on, off)


@op("pad", exact=True, view=True)
def pad(x: torch.Tensor, pad: tuple[int, ...], mode: str = "constant", constant_val: float = 0.0) -> torch.Tensor:
    """Pad the last len(pad) / 2 axes; pad is (before, after) per axis, in the axes' order."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    if mode == "constant":
        return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=constant_val)
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        if before or after:
            last = x.shape[axis] - 1
            index = torch.arange(-before, last + 1 + after)
            # torch's own modes reach three axes only. A reflection folds the index back at either edge.
            index = last - (last - index.abs()).abs() if mode == "reflect" else index.clamp(0, last)
            x = x.index_select(axis, index)
    return x


@op("range_1d")
def range_1d(start: torch.Tensor, end: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Count from start by step, up to and without end."""
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


@op("shape")
def shape(x: torch.Tensor) -> torch.Tensor:
    """Return the sizes of the axes."""
    return torch.tensor(x.shape, dtype=torch.int32)


@op("split", exact=True, view=True)
def split(
    x: torch.Tensor, axis: int, num_splits: int | None = None, split_sizes: tuple[int, ...] | None = None
) -> tuple[torch.Tensor, ...]:
    """Cut along one axis into parts of the given sizes, else into num_splits equal ones."""
    sizes = split_sizes or (x.shape[axis] // (num_splits or 1),) * (num_splits or 1)
    return torch.split(x, list(sizes), axis)


@op("stack", exact=True)
def stack(values: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Join along a new axis."""
    return torch.stack(values, axis)


@op("tile", exact=True)
def tile(x: torch.Tensor, reps: tuple[int, ...]) -> torch.Tensor:
    """Repeat each axis as often as `reps` says."""
    return x.repeat(reps)


# The declared type of the indices is output_indices_dtype already.
@op("topk", exact=True)
def topk(
    x: torch.Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest elements along one axis (-1: all), or the smallest, and their indices.

    They are sorted, also where `sort` does not ask for it; the first of equals leads.
    """
    values, indices = x.sort(dim=axis, descending=not ascending, stable=True)
    count = x.shape[axis] if k == -1 else k
    values, indices = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    return (values, indices) if return_indices else values
