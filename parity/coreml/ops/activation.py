"""Activations. Source: coremltools' MIL definitions, family activation, and `clip` of elementwise_unary."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


def _clip_inplace(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return x.clamp_(alpha, beta)


# Exact: the bounds have the type of x, so an fp16 program's bounds are fp16 numbers.
@op("clip", exact=True, inplace=_clip_inplace)
def clip(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Limit every element to alpha..beta."""
    return x.clamp(alpha, beta)


@op("relu", exact=True, inplace=torch.relu_)
def relu(x: torch.Tensor) -> torch.Tensor:
    """Set what is negative to zero."""
    return torch.relu(x)


@op("softmax")
def softmax(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """Normalise exp(x) along one axis, shifted by its maximum so that nothing overflows on the way."""
    return torch.softmax(x, axis)
