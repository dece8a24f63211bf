"""Cases -> Run: what a cases file says of every leg, summed up while the file streams by."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from conversion.task import PROBABILITIES
from parity.core.distribution import Distribution
from parity.core.errors import ParityError
from parity.core.gate import UNCHANGED, GateChange
from parity.core.measuring import outputs_of
from parity.core.metric import Variety
from parity.core.results import FAILING_CASES, Case, Part, Run, Subject, Unreadable, UnreadableImage, summarise
from parity.core.tally import Tally, judge, tally_of
from parity.core.tolerance import Tolerance, too_costly
from parity.metrics.classification.accuracy import Counts, accuracy_of, add_counts, count_accuracy
from parity.metrics.classification.gate import NO_LABELS, NOT_ONE_LABEL, judge_gate
from parity.stream.cases_file import parse_header, read_lines, read_rest
from parity.stream.job import Shard
from parity.stream.lines import Explained, Header, HeadLeg, Line, unpack
from parity.suite.known_issues import mark_known_issues

# How many cases a subject shows: the worst.
WORST = 32
# How many unreadable images are named.
NAMED = 100


@dataclass(frozen=True)
class Totals:
    """Sum up the cases of one leg; worst: (place of the image, case), the worst first."""

    tally: Tally = field(default_factory=Tally)
    distribution: Distribution = field(default_factory=Distribution)
    worst: tuple[tuple[int, Case], ...] = ()
    accuracy: Counts = field(default_factory=Counter)

    def merge(self, other: Totals) -> Totals:
        """Return the sums of both, whichever part of the images each has."""
        return Totals(
            self.tally.merge(other.tally),
            self.distribution.merge(other.distribution),
            _worst((*self.worst, *other.worst)),
            add_counts(self.accuracy, other.accuracy),
        )


def totals_of(
    indexed: Sequence[tuple[int, Case]], labels: dict[str, int], threshold: float | None = None
) -> Totals:
    """Sum up some cases. labels: label -> column. threshold: from which on an app takes an answer."""
    cases = [case for _, case in indexed]
    return Totals(
        tally_of(cases),
        Distribution().add(case.max_abs_diff for case in cases if case.max_abs_diff is not None),
        _worst(indexed),
        count_accuracy(cases, labels, threshold),
    )


def read_results(
    path: Path,
    allowed_unreadable: float,
    named: bool = True,
    explained: bool = True,
    gate: GateChange = UNCHANGED,
) -> Run:
    """Aggregate a cases file.

    named: the run names the file, because it stays. explained: with what it explains. gate: what of the gate that
    the file names is to be otherwise.
    """
    with path.open("rb") as file:
        header = parse_header(path, file.readline())
        header = replace(header, gate=gate.over(header.gate))
        name = path.name if named else ""
        run = aggregate(header, read_lines(path, header, file), allowed_unreadable, name)
        return with_explanations(run, read_rest(path, header, file) if explained else ())


def with_explanations(run: Run, explained: Iterable[Explained]) -> Run:
    """Put explanations into the legs that fail."""
    subjects = list(run.subjects)
    for leg in (leg for explanation in explained for leg in explanation.explained):
        if subjects[leg.leg].verdict in ("fail", "error"):
            subjects[leg.leg] = replace(
                subjects[leg.leg],
                guilty_hop=leg.guilty_hop,
                diagnoses=leg.diagnoses,
                hops=leg.hops,
                first_divergence=leg.first_divergence,
                explained_on=leg.images,
                unexplained=leg.unexplained,
            )
    return replace(run, subjects=tuple(subjects))


def aggregate(header: Header, lines: Iterable[Line], allowed_unreadable: float, cases_file: str = "") -> Run:
    """Judge every leg by its cases.

    allowed_unreadable: the share of images, 0..1, above which a run fails whose images could not be read.
    """
    if not 0 <= allowed_unreadable <= 1:
        raise ParityError(f"a share of unreadable images is between 0 and 1, not {allowed_unreadable}")
    places = {model.name: {label: i for i, label in enumerate(model.labels)} for model in header.models}
    totals = [Totals() for _ in header.running]
    threshold = header.gate.threshold if header.gate else None
    varieties: dict[str, Variety] = {}
    spots: dict[str, Variety] = {}
    images, lost, first_lost = 0, 0, list[UnreadableImage]()
    for batch in _batches(header, lines):
        images += len(batch)
        bad = [line for line in batch if line.unreadable]
        lost += len(bad)
        first_lost += [UnreadableImage(line.image, line.unreadable) for line in bad[: NAMED - len(first_lost)]]
        good = [line for line in batch if not line.unreadable]
        cases: list[list[tuple[int, Case]]] = [[] for _ in header.running]
        for line in good:
            for number, case in zip(header.seeing(line.index), line.cases, strict=True):
                cases[number].append((line.index, case))
        for number, leg in enumerate(header.running):
            totals[number] = totals[number].merge(totals_of(cases[number], places[leg.model], threshold))
        for merged, ended in ((varieties, batch[-1].varieties), (spots, batch[-1].spots)):
            for model, packed in zip(header.models, ended, strict=False):
                variety = unpack(packed, model)
                merged[model.name] = merged[model.name].merge(variety) if model.name in merged else variety
    summed = iter(totals)
    measured = {model.name: outputs_of((model.spec,)) for model in header.models}
    judged = (
        leg.subject(leg.verdict)
        if leg.verdict
        else _judged(leg, header, next(summed), (spots if leg.spots else varieties).get(leg.model))
        for leg in header.legs
    )
    # Where the conversion failed there is no output.
    subjects = tuple(s if s.backend == "-" else replace(s, outputs=measured[s.model]) for s in judged)
    marked, stale = mark_known_issues(subjects, header.known_issues, partial=header.partial)
    unreadable = Unreadable(lost, lost / images, allowed_unreadable, tuple(first_lost)) if lost else None
    return Run(
        header.environment,
        marked,
        stale,
        summarise(marked),
        unreadable=unreadable,
        cases_file=cases_file,
        shard=None if header.shard == Shard() else Part(header.shard.number, header.shard.of),
        gate=header.gate,
    )


def _judged(leg: HeadLeg, header: Header, totals: Totals, variety: Variety | None) -> Subject:
    tally = totals.tally
    model = next(model for model in header.models if model.name == leg.model)
    remarks = [*leg.remarks]
    if leg.spots:
        spotted = f"spot check on {tally.images} of {header.images} images, evenly spaced"
        remarks.append(f"{spotted}; --backend {leg.backend} asks for all")
    # The gate is for all images: a few of them would leave open what the others decide.
    asked = header.gate if header.shard == Shard() and not leg.spots else None
    if header.gate and not asked:
        where = "where all images are seen" if leg.spots else "on all shards together, by `parity merge`"
        remarks.append(f"the gate on accuracy is judged {where}")
    bounds = (header.gate.confidence, header.gate.threshold) if header.gate else ()
    accuracy = accuracy_of(totals.accuracy, model.labels, *bounds)
    unknown = NO_LABELS if model.kind == PROBABILITIES else NOT_ONE_LABEL
    gate = judge_gate(asked, accuracy, unknown) if asked else None
    if variety is None or leg.tolerance is None:
        nothing = replace(leg.subject("inconclusive"), reason="no images were compared", gate=gate)
        return replace(nothing, remarks=tuple(remarks))
    verdict, reason, required = judge(tally, variety, leg.tolerance, leg.measured_on)
    if verdict == "fail":
        allowed = Tolerance(leg.tolerance, leg.tolerance_reason, leg.cost, leg.compressed)
        reason = "; ".join(filter(None, (reason, too_costly(leg.precision, allowed, tally.max_abs_diff))))
    return replace(
        leg.subject(verdict),
        reason=reason,
        images=tally.images,
        top1_agreement=tally.top1_agreement,
        max_abs_diff=tally.max_abs_diff,
        tolerance=leg.tolerance,
        required_tolerance=required,
        cases=tuple(case for _, case in totals.worst),
        counts=dict(sorted(tally.counts.items())),
        distribution=totals.distribution,
        accuracy=accuracy,
        remarks=tuple(remarks),
        gate=gate,
        measured_on=leg.measured_on,
        excused=tally.excused,
    )


def _worst(cases: Iterable[tuple[int, Case]]) -> tuple[tuple[int, Case], ...]:
    """Keep the worst: those that fail come first, then the larger difference, then the image that comes first."""

    def key(indexed: tuple[int, Case]) -> tuple[bool, float, int]:
        index, case = indexed
        distance = float("inf") if case.max_abs_diff is None else case.max_abs_diff
        return case.verdict not in FAILING_CASES, -distance, index

    return tuple(heapq.nsmallest(WORST, cases, key=key))


def _batches(header: Header, lines: Iterable[Line]) -> Iterator[list[Line]]:
    remaining = iter(lines)
    for number in header.batches:
        yield list(islice(remaining, len(header.places(number))))
