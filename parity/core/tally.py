"""What a verdict over many images consists of: two sums over cases and answers that add up over parts.

    cases --> Tally ----\\
                         judge --> verdict, reason, required tolerance
    answers --> Variety -/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from parity.core.cases import is_incurable
from parity.core.metric import Variety
from parity.core.results import FAILING_CASES, Case, CaseVerdict, Verdict
from parity.core.second_look import excess_told


@dataclass(frozen=True)
class Tally:
    """Count cases.

    counts: how many images got which verdict; agreeing: how many got the same answer from both.
    max_abs_diff: the largest distance; None where no answer was finite.
    incurable: there is a case that no tolerance helps.
    excused: how many images pass by their own allowance alone.
    """

    counts: Mapping[CaseVerdict, int] = field(default_factory=dict)
    agreeing: int = 0
    max_abs_diff: float | None = None
    incurable: bool = False
    excused: int = 0

    @property
    def images(self) -> int:
        """Return how many images were counted."""
        return sum(self.counts.values())

    @property
    def top1_agreement(self) -> float | None:
        """Return the share of images that got the same answer from both."""
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
            self.excused + other.excused,
        )


def tally_of(cases: Iterable[Case]) -> Tally:
    """Count cases; how they are named does not matter, nor their order."""
    listed = list(cases)
    return Tally(
        Counter(case.verdict for case in listed),
        sum(case.same_answer for case in listed),
        max((case.max_abs_diff for case in listed if case.max_abs_diff is not None), default=None),
        any(is_incurable(case) for case in listed),
        sum(case.own_allowed is not None and case.verdict not in FAILING_CASES for case in listed),
    )


def judge(tally: Tally, variety: Variety, allowed: float, measured: int = 0) -> tuple[Verdict, str, float | None]:
    """Judge what was counted within `allowed`: the verdict, its reason, and the smallest tolerance that passes.

    That tolerance is None where there is none. measured: how many of the images `allowed` was measured on; 0: no
    image has an allowance of its own.
    """
    required = None if tally.incurable else tally.max_abs_diff
    if required is not None and (required >= 1 or variety.lacking(required)):
        required = None
    if tally.failing:
        return "fail", tally.told, required
    if excess := excess_told(tally.excused, tally.images, allowed, measured):
        return "fail", excess, required
    if lacking := variety.lacking(allowed):
        return "inconclusive", lacking, required
    return "pass", "", required
