"""Saved cases of a classifier that contradict themselves: probabilities that cannot be true together."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, isfinite

from parity.core.noise import SAVED_ROUNDING
from parity.core.results import Case


def contradictions(case: Case) -> Iterator[str]:
    """Say what cannot be true of an image: numbers that are none, or that deny each other."""
    for name, number in _numbers(case):
        if not isfinite(number):
            yield f"{name} is {number}, which is no number; what is not known is null"
    own = (case.reference.label, case.reference.probability)
    for label, probability in (own, *((pair.label, pair.reference) for pair in case.top)):
        # A candidate that lost its softmax answers any number, and fails.
        if probability is not None and not -SAVED_ROUNDING <= probability <= 1 + SAVED_ROUNDING:
            yield f"the reference of {label!r} is {probability:g}, and a probability is between 0 and 1"
    if case.top5_overlap is not None and not 0 <= case.top5_overlap <= 1:
        yield f"top5_overlap is {case.top5_overlap:g}, and a share is between 0 and 1"
    yield from _labels(case)
    yield from _distances(case)


def _numbers(case: Case) -> Iterator[tuple[str, float]]:
    names = ("max_abs_diff", "kl", "worst_reference", "worst_candidate", "top5_overlap", "snr_db", "psnr_db")
    listed = [(name, getattr(case, name)) for name in names]
    listed += [("the reference", case.reference.probability), ("the candidate", case.candidate.probability)]
    listed += [(f"the reference of {pair.label!r}", pair.reference) for pair in case.top]
    listed += [(f"the candidate of {pair.label!r}", pair.candidate) for pair in case.top]
    yield from ((name, number) for name, number in listed if number is not None)


def _labels(case: Case) -> Iterator[str]:
    """Hold the two answers against the most probable classes."""
    sides = (("reference", case.reference), ("candidate", case.candidate))
    for side, answer in sides:
        named: dict[str, float | None] = {pair.label: getattr(pair, side) for pair in case.top}
        if answer.probability is None or answer.label not in named:
            continue
        own = named[answer.label]
        if own is None or not isclose(own, answer.probability, abs_tol=SAVED_ROUNDING):
            yield f"the {side} is {answer.label!r} at {answer.probability:g}, and at {own} in the top classes"
        # Where the model names a class that is not its most probable one, the case has a reason.
        best = max((number for number in named.values() if number is not None), default=answer.probability)
        if not (side == "candidate" and case.reason) and best > answer.probability + SAVED_ROUNDING:
            label = next(label for label, number in named.items() if number == best)
            yield f"the {side} is {answer.label!r} at {answer.probability:g}, and {label!r} is at {best:g}"


def _distances(case: Case) -> Iterator[str]:
    """Hold the largest |dp| against the probabilities that are listed."""
    distance = case.max_abs_diff
    if distance is None:
        return
    if distance < 0:
        yield f"max_abs_diff is {distance:g}, and a distance is at least 0"
    for pair in case.top:
        if pair.reference is None or pair.candidate is None:
            yield f"max_abs_diff is {distance:g}, and {pair.label!r} has no finite probability"
        elif abs(pair.reference - pair.candidate) > distance + SAVED_ROUNDING:
            apart = f"{pair.reference:g} against {pair.candidate:g}"
            yield f"max_abs_diff is {distance:g}, and {pair.label!r} is {apart}"
    one, other = case.worst_reference, case.worst_candidate
    if one is not None and other is not None and not isclose(abs(one - other), distance, abs_tol=SAVED_ROUNDING):
        yield f"max_abs_diff is {distance:g}, and its class {case.worst_label!r} is {one:g} against {other:g}"
    if case.reference.label == case.candidate.label:
        one, other = case.reference.probability, case.candidate.probability
        if one is not None and other is not None and abs(one - other) > distance + SAVED_ROUNDING:
            yield f"max_abs_diff is {distance:g}, and {case.reference.label!r} is {one:g} against {other:g}"
