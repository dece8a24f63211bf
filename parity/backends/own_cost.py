"""What rounding costs PyTorch on one image, again and again: its weights go up or down by chance each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conversion.deployed import answer_singly
from parity.core.rounding import fp16_answers
from parity.core.second_look import OwnCost
from parity.core.tolerance import Apart, differences

if TYPE_CHECKING:
    import torch


def own_cost(
    module: torch.nn.Module, precision: str, pixels: np.ndarray, reference: np.ndarray, apart: Apart = differences
) -> OwnCost:
    """Make what measures how far a module is from the reference on one image, in some precision.

    module: deployed, PyTorch's own or the same with compressed weights. pixels: uint8 [N, H, W, 3]; reference:
    [N, ...]. Draw 0 rounds as what the tolerance was measured by does. What overflows costs more than anything, so
    the cap decides, as it does there. Where the module cannot be rounded, what it raises passes through.
    """

    def cost(place: int, draw: int) -> float:
        one = pixels[place : place + 1]
        answers = fp16_answers(module, one, draw) if precision == "fp16" else answer_singly(module, one)
        farthest = float(apart(answers, reference[place : place + 1]).max())
        return farthest if np.isfinite(farthest) else np.inf

    return cost
