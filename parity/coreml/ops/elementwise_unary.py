"""Operations on each element alone. Source: coremltools' MIL definitions, family elementwise_unary."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


# The declared type of the result does the casting; from float to integer Core ML truncates towards zero.
@op("cast", view=True)
def cast(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Change the type of every element to `dtype`."""
    return x != 0 if dtype == "bool" else x
