"""Writing into a tensor at indices. Source: NeuralNetwork.proto, scatter, scatterND and scatterAlongAxis.

Updates happen one after the other, so that of two for the same place the second meets the result of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.tensor_slicing import wrapped
from parity.coreml.registry import layer

_Scatter = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# ScatterMode, by number: what becomes of an element and its update.
_MODES: tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...] = (
    lambda old, new: new,
    torch.add,
    torch.sub,
    torch.mul,
    torch.div,
    torch.maximum,
    torch.minimum,
)


@layer("scatter")
def scatter(params: Any) -> _Scatter:
    """Update whole slices along an axis; the indices' axes stand in the updates where that axis was."""
    axis, mode = int(params.axis), _MODES[params.mode]

    def run(container: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        y, at = container.clone(), axis % container.ndim
        slices = updates.flatten(at, at + indices.ndim - 1).unbind(at)
        for index, update in zip(wrapped(indices, y.shape[at]).reshape(-1).tolist(), slices, strict=True):
            place = y.select(at, index)
            place.copy_(mode(place, update))
        return y

    return run


@layer("scatterND")
def scatter_nd(params: Any) -> _Scatter:
    """Update what stands at each of the points [..., K], which index the first K axes."""
    mode = _MODES[params.mode]

    def run(container: torch.Tensor, points: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        y, depth = container.clone(), points.shape[-1]
        each = updates.reshape(-1, *container.shape[depth:])
        for point, update in zip(points.reshape(-1, depth).long().tolist(), each, strict=True):
            place = y[tuple(point)]
            place.copy_(mode(place, update))
        return y

    return run


@layer("scatterAlongAxis")
def scatter_along_axis(params: Any) -> _Scatter:
    """Update single elements at the given indices along an axis."""
    axis, mode = int(params.axis), _MODES[params.mode]

    def run(container: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        y = container.clone()
        rows = wrapped(indices, y.shape[axis]).split(1, axis)
        for index, update in zip(rows, updates.split(1, axis), strict=True):
            y.scatter_(axis, index, mode(y.gather(axis, index), update))
        return y

    return run
