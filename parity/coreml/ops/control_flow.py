"""Choosing between values. Source: coremltools' MIL definitions, family control_flow.

Constants (`const`) are read in mil.py.
"""

from __future__ import annotations

import torch

from parity.coreml.registry import op


@op("select", exact=True)
def select(cond: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Take a where cond is true, elsewhere b; all three are broadcast."""
    return torch.where(cond, a, b)
