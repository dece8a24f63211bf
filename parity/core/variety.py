"""Whether a model that ignores its input could pass for the reference: bounds of its answers, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parity.core.noise import TIE_TOLERANCE

# Why agreement proves nothing, in words: a model that does not look at its input would agree as well.
ONE_IMAGE = (
    "one image was compared, and a model that gives every image this one answer would agree: give images of at "
    "least two classes"
)


def one_answer(spread: float, allowed: float) -> str:
    """Say that one and the same answer, `spread` away from the reference's at most, is within what is allowed."""
    return (
        f"the reference answers the same for every image, within {spread:.1e} where {allowed:g} is allowed; a "
        "model that ignores its input would agree: give images that differ"
        + (", or a smaller tolerance" if spread > TIE_TOLERANCE else "")
    )


def _largest(numbers: np.ndarray) -> float:
    return float(numbers.max())


@dataclass(frozen=True, eq=False)
class Bounds:
    """Hold the smallest and the largest of each of the answer's numbers.

    distance: of an answer from another, by the absolute differences of their numbers; the largest, unless the
        metric measures otherwise.
    """

    images: int
    low: np.ndarray
    high: np.ndarray
    distance: Callable[[np.ndarray], float] = _largest

    def merge(self, other: Bounds) -> Bounds:
        """Return the bounds of both."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Bounds(self.images + other.images, low, high, self.distance)

    def lacking(self, allowed: float) -> str:
        """Say why agreement with these answers within `allowed` would prove nothing; empty where it would."""
        if self.images < 2:
            return ONE_IMAGE
        # The constant nearest to all answers lies midway between the extremes of each number.
        spread = float(self.distance(self.high - self.low)) / 2
        return one_answer(spread, allowed) if spread <= allowed else ""


def bounds_of(answers: np.ndarray, distance: Callable[[np.ndarray], float] = _largest) -> Bounds:
    """Look at answers; float64 [N, ...], at least one image."""
    return Bounds(len(answers), answers.min(axis=0), answers.max(axis=0), distance)
