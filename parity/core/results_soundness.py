"""Saved results that contradict themselves: refused in one line that names both values.

What the numbers decide, a verdict, is decided anew by whoever reads them. Refused are numbers that cannot be true
together, and verdicts without the numbers that they rest on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import isclose, isfinite
from pathlib import Path

from conversion.task import PROBABILITIES
from parity.core.accuracy import Accuracy, Share
from parity.core.compare import way
from parity.core.errors import ParityError
from parity.core.gate import Gate, GateResult
from parity.core.metric import metric_of
from parity.core.noise import SAVED_ROUNDING
from parity.core.results import FAILING_CASES, Case, CaseVerdict, Run, Subject, summarise
from parity.core.second_look import excess_told
from parity.core.tally import tally_of


def check_run(path: Path, run: Run) -> None:
    """Raise ParityError for a results.json that contradicts itself."""
    for place, subject in enumerate(run.subjects):
        for trouble in _subject(subject):
            name = f"{subject.model} by {way(subject)} on {subject.backend}"
            raise ParityError(
                f"{path}: subjects.{place}, {name}: {trouble}; write it anew by the run that it is of"
            )
    for trouble in _run(run):
        raise ParityError(f"{path}: {trouble}; write it anew by the run that it is of")


def contradictions(case: Case) -> Iterator[str]:
    """Say what cannot be true of an image: numbers that are none, or that deny each other."""
    if not case.outputs:
        yield from metric_of(PROBABILITIES).contradictions(case)
        return
    for one in case.outputs:
        numbers = {"distance": one.distance, "margin": one.margin, **one.detail}
        for name, number in numbers.items():
            if number is not None and not isfinite(number):
                yield f"{name} of `{one.output}` is {number}, which is no number; what is not known is null"
        if one.distance is not None and one.distance < 0:
            yield f"distance of `{one.output}` is {one.distance:g}, and a distance is at least 0"
    distances = [one.distance for one in case.outputs]
    largest = None if None in distances else max(filter(None, distances), default=0.0)
    if case.max_abs_diff != largest:
        yield f"max_abs_diff is {case.max_abs_diff}, and that of the outputs is {largest}"


def own_trouble(case: Case, tolerance: float, measured_on: int) -> Iterator[str]:
    """Say why an image cannot have an allowance of its own; measured_on: how many images the tolerance was."""
    own, distance = case.own_allowed, case.max_abs_diff
    if own is None:
        return
    if not measured_on:
        yield f"own_allowed is {own:g}, and no image of this comparison was looked at again"
    if own <= tolerance or distance is None or distance <= tolerance:
        yield f"own_allowed is {own:g} and max_abs_diff {distance}, and all images are allowed {tolerance:g}"


def possible(case: Case, tolerance: float) -> str:
    """Say why the verdict of an image cannot be what it says, whatever rule gave it; empty where it can."""
    passes, distance = case.verdict not in FAILING_CASES, case.max_abs_diff
    tolerance = max(tolerance, case.own_allowed or 0.0)
    if passes and (distance is None or distance > tolerance):
        what = "distance" if case.outputs else "|dp|"
        apart = f"no finite {what}" if distance is None else f"{what} {distance:g}"
        return f"{case.image} is `{case.verdict}` with {apart}, and {tolerance:g} is allowed"
    if passes and (case.verdict == "match") != case.same_answer:
        labels = f"{case.reference.label!r} and {case.candidate.label!r}"
        return f"{case.image} is `{case.verdict}`, and the labels are {labels}"
    return ""


def _run(run: Run) -> Iterator[str]:
    for s in run.subjects:
        if s.gate and (run.gate is None or (s.gate.margin, s.gate.confidence) != _asked(run.gate)):
            yield f"a gate has the margin {s.gate.margin:g} at {s.gate.confidence:g}, and the run asks for another"
            return
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
        yield from (f"{case.image}: {trouble}" for trouble in contradictions(case))
        if s.tolerance is not None:
            own = own_trouble(case, s.tolerance, s.measured_on)
            yield from (f"{case.image}: {trouble}" for trouble in own)
    listed = tally_of(s.cases).excused
    if s.excused > s.images or s.excused < listed or (not s.counts and s.excused != listed):
        yield f"excused is {s.excused}, and {listed} of {len(s.cases)} cases are"
    yield from _counted(s) if s.counts else _listed(s)
    if s.verdict == "pass" and (not s.images or s.tolerance is None):
        yield f"verdict is pass, with {s.images} images and a tolerance of {s.tolerance}"
    if s.required_tolerance is not None and s.required_tolerance != s.max_abs_diff:
        yield f"required_tolerance is {s.required_tolerance:g}, and max_abs_diff is {s.max_abs_diff}"
    if s.accuracy:
        yield from _accuracy(s.accuracy, s.images)
    if s.gate:
        yield from gate_trouble(s.gate, s.accuracy)


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
    if s.top1_agreement is None or not isclose(s.top1_agreement, agreement, abs_tol=SAVED_ROUNDING):
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
    excess = s.tolerance is not None and excess_told(s.excused, s.images, s.tolerance, s.measured_on)
    if (s.verdict == "fail") != bool(failing or excess):
        yield f"verdict is {s.verdict}, and the counts are {_counts(s.counts)}"
    if s.tolerance is not None:
        yield from filter(None, (possible(case, s.tolerance) for case in s.cases))
    apart = sum(not case.same_answer for case in s.cases)
    if (
        s.top1_agreement is None
        or not -SAVED_ROUNDING <= s.top1_agreement * s.images <= s.images - apart + SAVED_ROUNDING
    ):
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
            claim = f"accuracy.{side}.{top} is {share.count} of {share.total}, a share of {share.share}"
            if not 0 <= share.count <= share.total or share.total != accuracy.images:
                yield f"{claim}, and accuracy.images is {accuracy.images}"
            elif share.total and not isclose(share.share, share.count / share.total, abs_tol=SAVED_ROUNDING):
                yield claim


def _asked(gate: Gate) -> tuple[float, float]:
    return gate.accuracy_loss, gate.confidence


def gate_trouble(gate: GateResult, accuracy: Accuracy | None) -> Iterator[str]:
    """Say why a gate's verdict cannot be that of its numbers."""
    told = f"gate is {gate.verdict}, with a loss from {gate.low} to {gate.high} where {gate.margin:g} is allowed"
    if accuracy is None or gate.loss is None or gate.low is None or gate.high is None:
        if gate.verdict != "inconclusive" or accuracy:
            yield f"{told}, and how often the two are right is not there"
        return
    lost = (accuracy.change.only_reference - accuracy.change.only_candidate) / accuracy.images
    if gate.images != accuracy.images or not isclose(gate.loss, lost, abs_tol=SAVED_ROUNDING):
        yield f"gate.loss is {gate.loss:g} of {gate.images} images, and accuracy says {lost:g} of {accuracy.images}"
    if not gate.low <= gate.loss <= gate.high:
        yield f"{told}, and the loss is {gate.loss:g}"
    below, above = gate.high < gate.margin, gate.low > gate.margin
    if (gate.verdict == "pass" and not below) or (gate.verdict == "fail" and not above):
        yield told


def _counts(counts: Mapping[str, int] | Mapping[CaseVerdict, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
