"""How an explanation knows: what was looked at, and what was undone to see whether it is the cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

Step = Literal["comparison", "input", "weights", "operations", "head and labels"]


@dataclass(frozen=True)
class Check:
    """Say what one step of an examination came to.

    told: what was measured, with numbers, in one line. agrees: whether the two sides do there; None where that was
    not looked at, and `told` says why.
    """

    step: Step
    told: str
    agrees: bool | None = None


@dataclass(frozen=True)
class Attempt:
    """Say what was undone, and how far apart the two sides were then.

    faults, messages: of all that was undone together, in the same order. left: the largest |dp| that was left; None
    without a finite answer. images: on how many it was measured, the worst first. restores: whether parity held.
    reason: why it did not, in words; where it did, how many images are excused by what rounding costs on them.
    """

    faults: tuple[str, ...]
    messages: tuple[str, ...]
    left: float | None
    images: Annotated[int, Interval(ge=0, le=2**53)]
    restores: bool
    reason: str = ""
