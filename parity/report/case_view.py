"""What every report shows of images: the worst and a sample of the others, and the numbers of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conversion.task import PROBABILITIES
from parity.core.distribution import Distribution
from parity.core.envelope import Band
from parity.core.metric import metric_of
from parity.core.results import Case, CaseVerdict, Run, Subject
from parity.report.text import clipped, percent, probability, small, visible
from parity.suite.thumbnails import thumbnail_key

CASE_VERDICTS: tuple[CaseVerdict, ...] = ("error", "flip", "drift", "tie", "match")
_PAIRS = 400
_LABEL, _NAME = 80, 120


@dataclass(frozen=True)
class ClassView:
    """Show one class of one image: what both say of it; answer: whether it is the top-1 of that side.

    low, high: what hardware may say; band_told: the same in words. None and empty where it is not known.
    """

    label: str
    reference: float | None
    candidate: float | None
    reference_told: str
    candidate_told: str
    reference_answer: bool
    candidate_answer: bool
    low: float | None
    high: float | None
    band_told: str


@dataclass(frozen=True)
class CaseView:
    """Show one image; thumbnail: a data: URI, or nothing."""

    image: str
    verdict: CaseVerdict
    reference: str
    reference_told: str
    candidate: str
    candidate_told: str
    max_abs_diff: float | None
    max_abs_diff_told: str
    worst: str
    kl: float | None
    top5_overlap: str
    snr_db: float | None
    reason: str
    truth: str
    classes: tuple[ClassView, ...]
    thumbnail: str


@dataclass(frozen=True)
class Pair:
    """Show one class of one image as a point: both probabilities, and whether they are more apart than allowed."""

    reference: float
    candidate: float
    apart: bool


def case_counts(subject: Subject) -> Mapping[CaseVerdict, int]:
    """Count the images of each verdict; by the cases, where the subject does not say so itself."""
    counts = subject.counts or Counter(case.verdict for case in subject.cases)
    return {verdict: counts[verdict] for verdict in CASE_VERDICTS if counts.get(verdict)}


def distances_of(subject: Subject) -> tuple[str, ...]:
    """Say what the distances of a subject's outputs are called."""
    return tuple(output.distance for output in subject.outputs) or (metric_of(PROBABILITIES).distance,)


def distribution_of(subject: Subject) -> Distribution:
    """Return how distances are distributed; by the cases, where the subject does not say so itself."""
    if subject.distribution is not None:
        return subject.distribution
    return Distribution().add(case.max_abs_diff for case in subject.cases if case.max_abs_diff is not None)


def with_sample(ordered: Sequence[Case], most: int) -> list[Case]:
    """Choose the worst, and of the others every n-th, so that the good ones are seen too."""
    if len(ordered) <= most:
        return list(ordered)
    worst = -(-most * 3 // 4)
    others, wanted = ordered[worst:], most - worst
    return [*ordered[:worst], *(others[(2 * i + 1) * len(others) // (2 * wanted)] for i in range(wanted))]


def show_case(run: Run, s: Subject, case: Case) -> CaseView:
    """Make what reports show of one image."""
    bands = _bands(s, case.image)
    names = {output.name: output.distance for output in s.outputs}
    entries = (f"{one.output}: {names.get(one.output, '')} {small(one.distance) or '–'}" for one in case.outputs)
    worst = visible("; ".join(entries))
    if case.worst_label is not None and case.worst_reference is not None and case.worst_candidate is not None:
        both = f"{probability(case.worst_reference)} against {probability(case.worst_candidate)}"
        worst = f"{show_label(case.worst_label)} ({both})"
    return CaseView(
        image=clipped(visible(case.image), _NAME),
        verdict=case.verdict,
        reference=show_label(case.reference.label),
        reference_told=probability(case.reference.probability),
        candidate=show_label(case.candidate.label),
        candidate_told=probability(case.candidate.probability),
        max_abs_diff=case.max_abs_diff,
        max_abs_diff_told=small(case.max_abs_diff) or "–",
        worst=worst,
        kl=case.kl,
        top5_overlap="" if case.top5_overlap is None else percent(case.top5_overlap),
        snr_db=case.snr_db,
        reason=visible(case.reason),
        truth="" if case.truth is None else show_label(case.truth),
        classes=tuple(
            ClassView(
                label=show_label(pair.label),
                reference=pair.reference,
                candidate=pair.candidate,
                reference_told=probability(pair.reference),
                candidate_told=probability(pair.candidate),
                reference_answer=pair.label == case.reference.label,
                candidate_answer=pair.label == case.candidate.label,
                low=bands[pair.label].low if pair.label in bands else None,
                high=bands[pair.label].high if pair.label in bands else None,
                band_told=told_band(bands.get(pair.label)),
            )
            for pair in case.top
        ),
        thumbnail=run.thumbnails.get(thumbnail_key(run.thumbnails, s.model, case.image), ""),
    )


def _bands(s: Subject, image: str) -> Mapping[str, Band]:
    cases = s.envelope.cases if s.envelope else ()
    return {band.label: band for case in cases if case.image == image for band in case.bands}


def told_band(band: Band | None) -> str:
    """Write the range of a probability on hardware; nothing where there is none."""
    return "" if band is None else f"{probability(band.low)} to {probability(band.high)}"


def show_label(label: str) -> str:
    """Make a label safe to look at, and not too long."""
    return clipped(visible(label), _LABEL)


def pairs_of(ordered: Sequence[Case], tolerance: float | None) -> tuple[Pair, ...]:
    """Take each case's classes in turn, the most probable of all cases first, up to a bound."""
    allowed = 0.0 if tolerance is None else tolerance
    listed = [
        (rank, Pair(pair.reference, pair.candidate, abs(pair.reference - pair.candidate) > allowed))
        for case in with_sample(ordered, _PAIRS)
        for rank, pair in enumerate(case.top)
        if pair.reference is not None and pair.candidate is not None
    ]
    return tuple(pair for _, pair in sorted(listed, key=lambda item: (not item[1].apart, item[0]))[:_PAIRS])
