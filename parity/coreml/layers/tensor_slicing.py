"""Taking parts of a tensor. Source: NeuralNetwork.proto, the layers sliceStatic to gatherAlongAxis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from parity.coreml.layers.tensor_shape import integers
from parity.coreml.registry import layer

_FIELDS = ("beginIds", "endIds", "strides", "beginMasks", "endMasks", "squeezeMasks")


@layer("sliceStatic", view=True)
def slice_static(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Slice each axis as begin:end:stride, where masks leave ends open or take a single index."""
    fields = {name: [int(v) for v in getattr(params, name)] for name in _FIELDS}
    return lambda x: _slice(x, **fields)


@layer("sliceDynamic", view=True)
def slice_dynamic(params: Any) -> Callable[..., torch.Tensor]:
    """Slice as sliceStatic does, with the begins and up to five more fields given as inputs."""
    fixed = {name: [int(v) for v in getattr(params, name)] for name in _FIELDS[1:]}

    def run(x: torch.Tensor, begins: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        computed = {name: integers(value) for name, value in zip(_FIELDS, (begins, *others), strict=False)}
        return _slice(x, **fixed | computed)

    return run


# Named as in the file, so that the fields can be handed over by their names.
def _slice(
    x: torch.Tensor,
    beginIds: Sequence[int],  # noqa: N803
    endIds: Sequence[int],  # noqa: N803
    strides: Sequence[int],
    beginMasks: Sequence[int],  # noqa: N803
    endMasks: Sequence[int],  # noqa: N803
    squeezeMasks: Sequence[int],  # noqa: N803
) -> torch.Tensor:
    def flag(flags: Sequence[int], axis: int) -> bool:
        return bool(flags and flags[axis])

    squeezed = [axis for axis in range(x.ndim) if flag(squeezeMasks, axis)]
    for axis in range(x.ndim):
        size = x.shape[axis]
        if axis in squeezed:
            x = x.narrow(axis, beginIds[axis] % size, 1)
            continue
        begin = None if flag(beginMasks, axis) else beginIds[axis]
        end = None if flag(endMasks, axis) else endIds[axis]
        taken = range(*slice(begin, end, strides[axis] if strides else 1).indices(size))
        if taken.step > 0:
            x = x[(slice(None),) * axis + (slice(taken.start, taken.stop, taken.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    return x.squeeze(squeezed)


@layer("sliceBySize", view=True)
def slice_by_size(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Take `size` elements along an axis from the index that the second input gives."""
    axis, size = int(params.axis), int(params.size)
    return lambda x, begin: x.narrow(axis, int(begin.item()), size)


def wrapped(indices: torch.Tensor, size: int) -> torch.Tensor:
    """Turn float indices into whole ones, counting the negative ones from the end."""
    whole = indices.long()
    return torch.where(whole < 0, whole + size, whole)


@layer("gather")
def gather(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Take the slices at the given indices along an axis; the indices' axes replace that axis."""
    axis = int(params.axis)

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        at = axis % x.ndim
        taken = x.index_select(at, wrapped(indices, x.shape[at]).reshape(-1))
        return taken.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])

    return run


@layer("gatherAlongAxis")
def gather_along_axis(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Take single elements at the given indices along an axis."""
    axis = int(params.axis)
    return lambda x, indices: torch.gather(x, axis, wrapped(indices, x.shape[axis]))


@layer("gatherND")
def gather_nd(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Take what stands at each of the points [..., K], which index the first K axes."""

    def run(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        columns = points.unbind(-1)
        return x[tuple(wrapped(column, size) for column, size in zip(columns, x.shape, strict=False))]

    return run
