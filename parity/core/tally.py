"""What a verdict over many images is made of: two sums over cases and answers that add up over parts.

    cases --> Tally ----\\
                         judge --> verdict, reason, required tolerance
    answers --> Variety -/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from parity.core.cases import TIE_TOLERANCE, is_incurable
from parity.core.results import FAILING_CASES, Case, CaseVerdict, Verdict

# A network that spreads 95 % of the entropy of a uniform answer has seen nothing in the image.
FLAT_ENTROPY = 0.95


@dataclass(frozen=True)
class Tally:
    """Count cases.

    counts: how many images got which verdict; agreeing: how many got the same label from both.
    max_abs_diff: the largest |dp|; None where no answer was finite.
    incurable: there is a case that no tolerance helps.
    """

    counts: Mapping[CaseVerdict, int] = field(default_factory=dict)
    agreeing: int = 0
    max_abs_diff: float | None = None
    incurable: bool = False

    @property
    def images(self) -> int:
        """Return how many images were counted."""
        return sum(self.counts.values())

    @property
    def top1_agreement(self) -> float | None:
        """Return the share of images that got the same label from both."""
        return self.agreeing / self.images if self.images else None

    @property
    def failing(self) -> int:
        """Return how many cases fail."""
        return sum(count for verdict, count in self.counts.items() if verdict in FAILING_CASES)

    @property
    def told(self) -> str:
        """Say how many cases fail, and how."""
        listed = [f"{self.counts[kind]} {kind}" for kind in ("flip", "drift", "error") if self.counts.get(kind)]
        return f"{', '.join(listed)} of {self.images} image(s)"

    def merge(self, other: Tally) -> Tally:
        """Return the sums of both."""
        worst = [tally.max_abs_diff for tally in (self, other) if tally.max_abs_diff is not None]
        return Tally(
            Counter(self.counts) + Counter(other.counts),
            self.agreeing + other.agreeing,
            max(worst, default=None),
            self.incurable or other.incurable,
        )


def tally_of(cases: Iterable[Case]) -> Tally:
    """Count cases; how they are named does not matter, nor their order."""
    listed = list(cases)
    return Tally(
        Counter(case.verdict for case in listed),
        sum(case.reference.label == case.candidate.label for case in listed),
        max((case.max_abs_diff for case in listed if case.max_abs_diff is not None), default=None),
        any(is_incurable(case) for case in listed),
    )


@dataclass(frozen=True, eq=False)
class Variety:
    """Hold what tells whether a model that ignores its input could pass for the reference.

    flat: every answer is about the same for every class. classes: the columns of the most probable classes, two
    of them at most, for no more are asked for. low, high: per column the smallest and the largest answer.
    """

    images: int
    flat: bool
    classes: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray

    def merge(self, other: Variety) -> Variety:
        """Return what tells it of both."""
        return Variety(
            self.images + other.images,
            self.flat and other.flat,
            tuple(dict.fromkeys((*self.classes, *other.classes)))[:2],
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def lacking(self, allowed: float) -> str:
        """Say why agreement with these answers within `allowed` would prove nothing; empty where it would."""
        classes = len(self.low)
        if self.flat:
            return (
                f"the reference answers about 1/{classes} for every class of every image (an untrained network?); "
                "any other would agree: give trained weights"
            )
        if self.images < 2:
            return ONE_IMAGE
        # The constant nearest to all answers lies midway between the extremes of each class.
        spread = float((self.high - self.low).max()) / 2
        if spread <= allowed:
            return one_answer(spread, allowed)
        return one_class(self.images) if len(self.classes) == 1 else ""


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


def one_class(images: int) -> str:
    """Say that so many images are of one class."""
    return (
        f"the reference gives all {images} images one class; a model that knows only that class would agree: give "
        "images of at least two classes"
    )


def variety_of(reference: np.ndarray) -> Variety:
    """Look at answers; reference: [images, classes], at least one image."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(reference > 0, reference * np.log(reference), 0.0), axis=1)
    return Variety(
        len(reference),
        bool((entropy >= FLAT_ENTROPY * np.log(reference.shape[1])).all()),
        tuple(dict.fromkeys(reference.argmax(axis=1).tolist()))[:2],
        reference.min(axis=0),
        reference.max(axis=0),
    )


def judge(tally: Tally, variety: Variety, allowed: float) -> tuple[Verdict, str, float | None]:
    """Judge what was counted within `allowed`: the verdict, its reason, and the smallest tolerance that passes.

    That tolerance is None where there is none.
    """
    required = None if tally.incurable else tally.max_abs_diff
    if required is not None and (required >= 1 or variety.lacking(required)):
        required = None
    if tally.failing:
        return "fail", tally.told, required
    if lacking := variety.lacking(allowed):
        return "inconclusive", lacking, required
    return "pass", "", required
