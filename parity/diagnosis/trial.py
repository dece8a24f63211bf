"""Repairs tried out: the candidate is examined anew with them, and compared again."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.results import Comparison
from parity.diagnosis.examination import Examination
from parity.diagnosis.repair import Repair, only
from parity.metrics.classification.variety import proves_nothing, variety_of


def repaired(examination: Examination, repairs: Sequence[Repair], rows: Sequence[int] | None = None) -> Examination:
    """Examine the candidate anew with repairs, on top of those that it has already.

    rows: places of the images to look at; None stands for all.
    """
    reference = examination.reference if rows is None else only(examination.reference, rows)
    for repair in repairs:
        if repair.reference:
            reference = repair.reference(reference)
    return examination.again(reference, repairs, rows)


def apply(examination: Examination, repairs: Sequence[Repair], rows: Sequence[int] | None = None) -> Comparison:
    """Compare the repaired candidate with PyTorch, on the same backend and by the same tolerance.

    Agreement that proves nothing, as with answers that are all of one class, restores no parity.
    """
    again = repaired(examination, repairs, rows)
    # One image that did not agree and does now says what was wrong with it.
    expected = again.torch.probabilities
    if rows is None and (len(expected) > 1 or variety_of(expected).flat):
        why = proves_nothing(expected, again.tolerance)
        if why:
            return Comparison("fail", why, again.tolerance, None, None, None, ())
    return again.candidate.comparison
