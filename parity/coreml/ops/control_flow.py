"""Choosing between values and between blocks, loops. Source: coremltools' MIL definitions, family control_flow.

Constants (`const`) are read in mil.py, lists stand in lists.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from parity.coreml.registry import op
from parity.coreml.running.blocks import Call, iterations


@op("select", exact=True)
def select(cond: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Take a where cond is true, elsewhere b; all three are broadcast."""
    return torch.where(cond, a, b)


@op("cond", exact=True, view=True)
def cond(pred: bool, blocks: Sequence[Call]) -> tuple[Any, ...]:
    """Run the first block where pred is true, else the second."""
    first, second = blocks
    return first() if pred else second()


@op("while_loop", exact=True, view=True)
def while_loop(loop_vars: list[Any], blocks: Sequence[Call]) -> tuple[Any, ...]:
    """Run the second block, from loop_vars to loop_vars, while the first says so of them."""
    condition, body = blocks
    values = tuple(loop_vars)
    for _ in iterations():
        (goes_on,) = condition(*values)
        if not goes_on:
            break
        values = body(*values)
    return values
