"""Saved results that contradict themselves: refused in one line that names both values.

What the numbers decide, a verdict, is decided anew by whoever reads them. Refused are numbers that cannot be true
together, and verdicts without the numbers that they rest on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import isclose, isfinite
from pathlib import Path

from parity.core.accuracy import Accuracy, Share
from parity.core.compare import way
from parity.core.errors import ParityError
from parity.core.results import FAILING_CASES, Case, CaseVerdict, Run, Subject, summarise
from parity.core.tally import tally_of

# Softmax sums to one but for rounding, and files keep all digits of a number.
ROUNDING = 1e-6


def check_run(path: Path, run: Run) -> None:
    """Raise ParityError for a results.json that contradicts itself."""
    for place, subject in enumerate(run.subjects):
        for told in _subject(subject):
            name = f"{subject.model} by {way(subject)} on {subject.backend}"
            raise ParityError(f"{path}: subjects.{place}, {name}: {told}; write it anew by the run that it is of")
    for told in _run(run):
        raise ParityError(f"{path}: {told}; write it anew by the run that it is of")


def contradictions(case: Case) -> Iterator[str]:
    """Say what cannot be true of an image: numbers that are none, or that deny each other."""
    for name, number in _numbers(case):
        if not isfinite(number):
            yield f"{name} is {number}, which is no number; what is not known is null"
    own = (case.reference.label, case.reference.probability)
    for label, probability in (own, *((pair.label, pair.reference) for pair in case.top)):
        # A candidate that lost its softmax answers any number, and fails.
        if probability is not None and not -ROUNDING <= probability <= 1 + ROUNDING:
            yield f"the reference of {label!r} is {probability:g}, and a probability is between 0 and 1"
    if case.top5_overlap is not None and not 0 <= case.top5_overlap <= 1:
        yield f"top5_overlap is {case.top5_overlap:g}, and a share is between 0 and 1"
    yield from _labels(case)
    yield from _distances(case)


def possible(case: Case, tolerance: float) -> str:
    """Say why the verdict of an image cannot be what it says, whatever rule gave it; empty where it can."""
    passes, distance = case.verdict not in FAILING_CASES, case.max_abs_diff
    if passes and (distance is None or distance > tolerance):
        apart = "no finite |dp|" if distance is None else f"|dp| {distance:g}"
        return f"{case.image} is `{case.verdict}` with {apart}, and {tolerance:g} is allowed"
    if passes and (case.verdict == "match") != (case.reference.label == case.candidate.label):
        labels = f"{case.reference.label!r} and {case.candidate.label!r}"
        return f"{case.image} is `{case.verdict}`, and the labels are {labels}"
    return ""


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
        if own is None or not isclose(own, answer.probability, abs_tol=ROUNDING):
            yield f"the {side} is {answer.label!r} at {answer.probability:g}, and at {own} in the top classes"
        # Where the model names a class that is not its most probable one, the case has a reason.
        best = max((number for number in named.values() if number is not None), default=answer.probability)
        if not (side == "candidate" and case.reason) and best > answer.probability + ROUNDING:
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
        elif abs(pair.reference - pair.candidate) > distance + ROUNDING:
            apart = f"{pair.reference:g} against {pair.candidate:g}"
            yield f"max_abs_diff is {distance:g}, and {pair.label!r} is {apart}"
    one, other = case.worst_reference, case.worst_candidate
    if one is not None and other is not None and not isclose(abs(one - other), distance, abs_tol=ROUNDING):
        yield f"max_abs_diff is {distance:g}, and its class {case.worst_label!r} is {one:g} against {other:g}"
    if case.reference.label == case.candidate.label:
        one, other = case.reference.probability, case.candidate.probability
        if one is not None and other is not None and abs(one - other) > distance + ROUNDING:
            yield f"max_abs_diff is {distance:g}, and {case.reference.label!r} is {one:g} against {other:g}"


def _run(run: Run) -> Iterator[str]:
    counted = {verdict: count for verdict, count in run.summary.items() if count}
    expected = {verdict: count for verdict, count in summarise(run.subjects).items() if count}
    if run.summary and counted != expected:
        yield f"the summary counts {_counts(counted)}, and the subjects are {_counts(expected)}"
    if run.shard and not 1 <= run.shard.number <= run.shard.of:
        yield f"shard is {run.shard}, and there is no such shard"
    if lost := run.unreadable:
        for name, share in (("share", lost.share), ("allowed", lost.allowed)):
            if not 0 <= share <= 1:
                yield f"unreadable.{name} is {share}, and a share is between 0 and 1"
        if lost.count < max(1, len(lost.images)):
            yield f"unreadable.count is {lost.count}, and {len(lost.images)} are named"


def _subject(s: Subject) -> Iterator[str]:
    for name in ("top1_agreement", "max_abs_diff", "tolerance", "required_tolerance"):
        number = getattr(s, name)
        if number is not None and not isfinite(number):
            yield f"{name} is {number}, which is no number; what is not known is null"
    if s.tolerance is not None and not 0 < s.tolerance < 1:
        yield f"tolerance is {s.tolerance:g}, and a tolerance is between 0 and 1"
    for image, times in Counter(case.image for case in s.cases).items():
        if times > 1:
            yield f"{image} is there {times} times, and an image is counted once"
    for case in s.cases:
        yield from (f"{case.image}: {told}" for told in contradictions(case))
    yield from _counted(s) if s.counts else _listed(s)
    if s.verdict == "pass" and (not s.images or s.tolerance is None):
        yield f"verdict is pass, with {s.images} images and a tolerance of {s.tolerance}"
    if s.required_tolerance is not None and s.required_tolerance != s.max_abs_diff:
        yield f"required_tolerance is {s.required_tolerance:g}, and max_abs_diff is {s.max_abs_diff}"
    if s.accuracy:
        yield from _accuracy(s.accuracy, s.images)


def _listed(s: Subject) -> Iterator[str]:
    """Hold what is said of all images against them, where all are there."""
    if s.images != len(s.cases):
        yield f"images is {s.images}, and there are {len(s.cases)} cases"
    if not s.cases:
        if s.top1_agreement is not None or s.max_abs_diff is not None:
            yield f"top1_agreement is {s.top1_agreement} and max_abs_diff {s.max_abs_diff}, of no cases"
        return
    if s.verdict in ("skipped", "error") or s.tolerance is None:
        yield f"verdict is {s.verdict} and tolerance {s.tolerance}, and there are {len(s.cases)} cases"
    tally = tally_of(s.cases)
    agreement = tally.top1_agreement
    assert agreement is not None
    if s.top1_agreement is None or not isclose(s.top1_agreement, agreement, abs_tol=ROUNDING):
        yield f"top1_agreement is {s.top1_agreement}, and that of the cases is {agreement:g}"
    if s.max_abs_diff != tally.max_abs_diff:
        yield f"max_abs_diff is {s.max_abs_diff}, and that of the cases is {tally.max_abs_diff}"


def _counted(s: Subject) -> Iterator[str]:
    """Hold the counts of all images against the worst of them, which alone are there."""
    total = sum(s.counts.values())
    if total != s.images or min(s.counts.values()) < 0:
        yield f"images is {s.images}, and the counts are {_counts(s.counts)}"
    listed = Counter(case.verdict for case in s.cases)
    if any(count > s.counts.get(verdict, 0) for verdict, count in listed.items()):
        yield f"the counts are {_counts(s.counts)}, and the cases that are listed {_counts(listed)}"
    failing = sum(count for verdict, count in s.counts.items() if verdict in FAILING_CASES)
    if (s.verdict == "fail") != bool(failing):
        yield f"verdict is {s.verdict}, and the counts are {_counts(s.counts)}"
    if s.tolerance is not None:
        yield from filter(None, (possible(case, s.tolerance) for case in s.cases))
    apart = sum(case.reference.label != case.candidate.label for case in s.cases)
    if s.top1_agreement is None or not -ROUNDING <= s.top1_agreement * s.images <= s.images - apart + ROUNDING:
        yield f"top1_agreement is {s.top1_agreement}, and {apart} of {s.images} labels at least are others"
    worst = max((case.max_abs_diff for case in s.cases if case.max_abs_diff is not None), default=None)
    if worst is not None and (s.max_abs_diff is None or s.max_abs_diff < worst):
        yield f"max_abs_diff is {s.max_abs_diff}, and that of the cases is {worst}"
    if s.distribution and s.distribution.total != total - s.counts.get("error", 0):
        yield f"the distribution is of {s.distribution.total} images, and the counts are {_counts(s.counts)}"


def _accuracy(accuracy: Accuracy, images: int) -> Iterator[str]:
    if not 0 <= accuracy.images <= images:
        yield f"accuracy.images is {accuracy.images}, and images is {images}"
    for side in ("reference", "candidate"):
        for top in ("top1", "top5"):
            share: Share = getattr(getattr(accuracy, side), top)
            told = f"accuracy.{side}.{top} is {share.count} of {share.total}, a share of {share.share}"
            if not 0 <= share.count <= share.total or share.total != accuracy.images:
                yield f"{told}, and accuracy.images is {accuracy.images}"
            elif share.total and not isclose(share.share, share.count / share.total, abs_tol=ROUNDING):
                yield told


def _counts(counts: Mapping[str, int] | Mapping[CaseVerdict, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
