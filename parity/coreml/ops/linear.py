"""Matrix products. Source: coremltools' MIL definitions, family linear."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op


@op("linear")
def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute x @ weight.T + bias; x [..., D_in], weight [D_out, D_in], bias [D_out]."""
    return F.linear(x, weight, bias)
