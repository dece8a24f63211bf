"""Operations on two tensors with NumPy's broadcasting. Source: coremltools' MIL definitions, elementwise_binary."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


@op("add")
def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Add."""
    return x + y


@op("sub")
def sub(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Subtract y from x."""
    return x - y


@op("mul")
def mul(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply."""
    return x * y
