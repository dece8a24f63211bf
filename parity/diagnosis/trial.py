"""Repairs tried out: the candidate is examined anew with them, and compared again."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.measuring import varieties_of
from parity.core.results import Comparison
from parity.core.variety import ONE_IMAGE
from parity.diagnosis.examination import Examination
from parity.diagnosis.repair import Repair, only


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
    if rows is None:
        why = varieties_of(again.reference.prediction, len(again.pixels)).lacking(again.tolerance)
        # One image that did not agree and does now says what was wrong with it.
        if why and why != ONE_IMAGE:
            return Comparison("fail", why, again.tolerance, None, None, None, ())
    return again.candidate.comparison
