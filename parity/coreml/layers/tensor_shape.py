"""Other shapes for the same elements. Source: NeuralNetwork.proto, the layers squeeze to rankPreservingReshape.

A single number has no axes between layers, as rangeDynamic's inputs tell ("a scalar, or rank 1 and shape (1,)"):
only an output of the model has at least one. Apple's tests of the torch front end slice a number out of a vector,
insert an axis, and expect one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from parity.core.memory import too_large
from parity.coreml.registry import layer

_Function = Callable[[torch.Tensor], torch.Tensor]


def integers(x: torch.Tensor) -> list[int]:
    """Read a tensor of numbers as a list of whole ones: shapes and indices are floats in a NeuralNetwork."""
    return [int(v) for v in x.reshape(-1).tolist()]


@layer("transpose", view=True)
def transpose(params: Any) -> _Function:
    """Reorder the last axes, as many as `axes` has: usually all.

    coremltools.models.neural_network.utils.make_image_input writes three axes for an image, which has four.
    """
    axes = [int(axis) for axis in params.axes]

    def run(x: torch.Tensor) -> torch.Tensor:
        leading = x.ndim - len(axes)
        return x.permute(*range(leading), *(leading + axis for axis in axes))

    return run


@layer("expandDims", view=True)
def expand_dims(params: Any) -> _Function:
    """Insert axes of size 1 at the places that `axes` names in the result."""
    axes = [int(axis) for axis in params.axes]

    def run(x: torch.Tensor) -> torch.Tensor:
        rank = x.ndim + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


@layer("squeeze", view=True)
def squeeze(params: Any) -> _Function:
    """Remove axes of size 1, the named ones or all."""
    axes = [int(axis) for axis in params.axes]
    if params.squeezeAll:
        return lambda x: x.squeeze()

    def run(x: torch.Tensor) -> torch.Tensor:
        for axis in axes:
            if x.shape[axis] != 1:
                raise ValueError(f"axis {axis} has the size {x.shape[axis]}; only axes of size 1 can be removed")
        return x.squeeze(axes)

    return run


@layer("flattenTo2D", view=True)
def flatten_to_2d(params: Any) -> _Function:
    """Join the axes before `axis`, and those from it on."""
    at = int(params.axis)

    def run(x: torch.Tensor) -> torch.Tensor:
        first = math.prod(x.shape[: at % x.ndim if at < 0 else at])
        return x.reshape(first, x.numel() // first)

    return run


@layer("reshapeStatic", view=True)
def reshape_static(params: Any) -> _Function:
    """Reshape to `targetShape`; -1 is worked out."""
    target = [int(size) for size in params.targetShape]
    return lambda x: x.reshape(target)


@layer("reshapeDynamic", view=True)
def reshape_dynamic(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Reshape to the numbers of the second input."""
    return lambda x, shape: x.reshape(integers(shape))


@layer("reshapeLike", view=True)
def reshape_like(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Reshape to the shape of the second input."""
    return lambda x, other: x.reshape(other.shape)


@layer("rankPreservingReshape", view=True)
def rank_preserving_reshape(params: Any) -> _Function:
    """Reshape to `targetShape`, where 0 keeps the size of that axis and -1 is worked out."""
    target = [int(size) for size in params.targetShape]

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != len(target):
            raise ValueError(f"`targetShape` is {target}, the input has {x.ndim} axes")
        return x.reshape([size or x.shape[axis] for axis, size in enumerate(target)])

    return run


@layer("getShape")
def get_shape(params: Any) -> _Function:
    """Give the shape as a tensor."""
    return lambda x: torch.tensor(x.shape, dtype=torch.float32)


@layer("broadcastToStatic", view=True)
def broadcast_to_static(params: Any) -> _Function:
    """Broadcast to `targetShape`."""
    target = [int(size) for size in params.targetShape]
    return lambda x: _broadcast(x, target)


@layer("broadcastToDynamic", view=True)
def broadcast_to_dynamic(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Broadcast to the numbers of the second input."""
    return lambda x, shape: _broadcast(x, integers(shape))


@layer("broadcastToLike", view=True)
def broadcast_to_like(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Broadcast to the shape of the second input."""
    return lambda x, other: _broadcast(x, other.shape)


def _broadcast(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Broadcast as a view, which takes no memory here; refuse what would take too much as a value of its own."""
    result = x.broadcast_to(tuple(shape))
    if excess := too_large(result.shape, result.element_size()):
        raise ValueError(excess)
    return result
