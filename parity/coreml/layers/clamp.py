"""Limits and changes of sign: the pointwise functions that are exact, and whose chains are again one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Clamp:
    """y = sign * min(max(x, low), high), with sign +1 or -1.

    onnx-coreml writes ReLU6 as three such layers in a row; one pass over the tensor does for all of them, without
    a rounding of difference.
    """

    sign: int = 1
    low: float = -math.inf
    high: float = math.inf

    # It is limited by the ends of its range, and needs no weights to know by how much.
    role: ClassVar[str] = "clip"
    gain: ClassVar[None] = None
    zeros: ClassVar[None] = None
    padded: ClassVar[None] = None

    def after(self, first: Clamp) -> Clamp:
        """Return this function of `first`."""
        # A crossed pair of limits is the constant `high`, by the order of min and max.
        low, first_low = min(self.low, self.high), min(first.low, first.high)
        low, high = (low, self.high) if first.sign > 0 else (-self.high, -low)
        return Clamp(
            self.sign * first.sign,
            min(max(first_low, low), high),
            min(max(first.high, low), high),
        )

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the function."""
        # Named so, a compiler knows it too.
        y = torch.relu(x) if (self.low, self.high) == (0.0, math.inf) else x.clamp(self.low, self.high)
        return y.neg_() if self.sign < 0 else y

    def inplace(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the function to x itself."""
        y = x.clamp_(self.low, self.high)
        return y.neg_() if self.sign < 0 else y
