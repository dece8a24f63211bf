"""An explanation in the terminal: the verdict, the causes, how the search knows, and the hops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.core.compare import explain_failure, way
from parity.core.evidence import Attempt, Check
from parity.core.results import Subject
from parity.report.faults import where_to_read

if TYPE_CHECKING:
    from rich.console import Console

# How many attempts that did not help are printed, those that left the least first; results.json has all.
_UNHELPFUL = 5


def print_explanation(subject: Subject, console: Console) -> None:
    """Print the verdict and the causes of one subject."""
    if subject.verdict in ("pass", "skipped"):
        result = "parity holds" if subject.verdict == "pass" else subject.reason
        apart = "" if subject.max_abs_diff is None else f", largest |dp| {subject.max_abs_diff:.1e}"
        allowed = "" if subject.tolerance is None else f" of {subject.tolerance:.1e} allowed"
        console.print(
            f"{subject.model} by {way(subject)} on {subject.backend}: {result}{apart}{allowed}", soft_wrap=True
        )
        for diagnosis in subject.diagnoses:
            console.print(f"  no fault: {diagnosis.message}", soft_wrap=True)
        for remark in subject.remarks:
            console.print(f"  note: {remark}", soft_wrap=True)
        return
    console.print(explain_failure(subject), soft_wrap=True)
    for line in where_to_read(diagnosis.fault for diagnosis in subject.diagnoses):
        console.print(f"  {line}", soft_wrap=True)
    for line in how_it_knows(subject):
        console.print(f"  {line}", soft_wrap=True)
    for hop in subject.hops:
        console.print(f"  hop {hop}", soft_wrap=True)


def how_it_knows(subject: Subject) -> Iterator[str]:
    """Say what was measured, in the order in which a person would check it, and what was undone; a line each."""
    if not subject.checks:
        return
    yield "how it knows:"
    yield from (f"  {_check_line(check)}" for check in subject.checks)
    helped = [attempt for attempt in subject.attempts if attempt.restores]
    others = sorted((a for a in subject.attempts if not a.restores), key=_left)
    if not helped:
        yield f"  tried: {'nothing helps' if others else 'nothing'}"
    for attempt in helped:
        excused = f" ({attempt.reason})" if attempt.reason else ""
        yield f"  tried: {_attempt(attempt, subject.images)}: parity holds{excused}"
    for attempt in others[:_UNHELPFUL]:
        # What is guessed of each alone need not be said of several again.
        guess = f" (suspected: {attempt.messages[0].removesuffix('.')})" if len(attempt.messages) == 1 else ""
        yield f"  tried: {_attempt(attempt, subject.images)}: does not help{guess}"
    if len(others) > _UNHELPFUL:
        yield f"  tried: {len(others) - _UNHELPFUL} more, which leave no less"


def _check_line(check: Check) -> str:
    return f"{check.step}: {'differs: ' if check.agrees is False else ''}{check.told}"


def _attempt(attempt: Attempt, images: int) -> str:
    """Name what was undone, and say what was left on which images."""
    names = " and ".join(dict.fromkeys(attempt.faults))
    if attempt.left is None:
        return f"without {names}: {attempt.reason or 'no finite answer'}"
    where = f"the {attempt.images} worst" if attempt.images < images else f"{attempt.images} image(s)"
    return f"without {names} |dp| {attempt.left:.1e} is left on {where}"


def _left(attempt: Attempt) -> float:
    return float("inf") if attempt.left is None else attempt.left
