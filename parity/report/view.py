"""What every report shows of a run: names made safe to look at, numbers written once, cases chosen and in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conversion.task import PROBABILITIES
from parity.core.compare import (
    explain_failure,
    remarks_of,
    rounded_up,
    summary_line,
    tell_confirmed,
    tell_divergence,
    way,
)
from parity.core.distribution import Distribution
from parity.core.metric import metric_of
from parity.core.results import VERDICTS, CaseVerdict, Diagnosis, Run, Subject, Verdict, worst_first
from parity.report.accuracy_view import AccuracyView as AccuracyView
from parity.report.accuracy_view import show_accuracy
from parity.report.case_view import (
    CaseView,
    Pair,
    case_counts,
    distances_of,
    distribution_of,
    pairs_of,
    show_case,
    with_sample,
)
from parity.report.envelope import told_envelope
from parity.report.gate_view import GateView, parity_matters, show_gate
from parity.report.matrix_view import MatrixRow, Skipped, matrix_of, skipped_of
from parity.report.migration_view import MigrationView, show_migration
from parity.report.text import counted, percent, small, visible, visible_lines
from parity.suite.thumbnails import SHOWN as CARDS

# A report that somebody opens is a page, not a database: results.json has every case that was kept.
_ROWS, _ALL_ROWS = 40, 1_200
_ALL_CARDS = 240


@dataclass(frozen=True)
class Cause:
    """Show a cause; told: whether it was confirmed, in words; fix: empty where there is none."""

    fault: str
    message: str
    confirmed: bool
    told: str
    fix: str


@dataclass(frozen=True)
class SubjectView:
    """Show one artefact on one backend.

    anchor: unique in a page. told: the verdict in words. matters: whether it keeps the run from holding.
    counts: over all images. worst: the cases to look at. rows: those to list, the worst first, then a sample.
    agreement, distance: what `top1` and `max_abs_diff` are called.
    unlisted: how many images are in no row. sampled: whether rows hold a sample too.
    explanation: why it does not pass, in lines, the remarks among them; empty where it does.
    remarks: what else a reader should know.
    """

    anchor: str
    model: str
    way: str
    artifact: str
    backend: str
    precision: str
    verdict: Verdict
    told: str
    matters: bool
    gate: GateView | None
    reason: str
    images: int
    top1: str
    max_abs_diff: float | None
    max_abs_diff_told: str
    tolerance: float | None
    tolerance_told: str
    tolerance_reason: str
    would_pass: str
    guilty_hop: str
    divergence: str
    unexplained: str
    recorded_by: str
    known: bool
    known_reason: str
    known_link: str
    causes: tuple[Cause, ...]
    explanation: tuple[str, ...]
    remarks: tuple[str, ...]
    counts: Mapping[CaseVerdict, int]
    distribution: Distribution
    worst: tuple[CaseView, ...]
    rows: tuple[CaseView, ...]
    unlisted: int
    sampled: bool
    pairs: tuple[Pair, ...]
    accuracy: AccuracyView | None
    envelope: str
    agreement: str
    distance: str

    @property
    def attention(self) -> bool:
        """Say whether either question keeps the run from holding."""
        return self.matters or (self.gate is not None and self.gate.matters)

    @property
    def title(self) -> str:
        """Name model, route and backend."""
        return f"{self.model} by {self.way} on {self.backend}"


@dataclass(frozen=True)
class RunView:
    """Show a run.

    told: the answer in one line; headline: its first part, what it means.
    shard: which part of the images this is, where it is one.
    counts: verdict -> subjects. ties: images over all subjects.
    headings: of two columns, how often both answer the same and how far they are apart, by what was measured.
    explained: what the largest distance is.
    unreadable: how many images could not be read, in words; unreadable_fails: that they are more than allowed;
    unreadable_images: the first of them, and why.
    """

    exit_code: int
    headline: str
    told: str
    shard: str
    counts: Mapping[Verdict, int]
    known: int
    subjects: tuple[SubjectView, ...]
    backends: tuple[str, ...]
    matrix: tuple[MatrixRow, ...]
    skipped: tuple[Skipped, ...]
    recorded: tuple[str, ...]
    ties: int
    unreadable: str
    unreadable_fails: bool
    unreadable_images: tuple[tuple[str, str], ...]
    stale: tuple[str, ...]
    python: str
    platform: str
    packages: Mapping[str, str] = field(default_factory=dict)
    headings: tuple[str, str] = ("", "")
    explained: str = ""
    migrations: tuple[MigrationView, ...] = ()


def make_view(run: Run) -> RunView:
    """Make what reports show of a run."""
    subjects = tuple(_subject(run, s, number, len(run.subjects)) for number, s in enumerate(run.subjects, 1))
    counts = {v: run.summary.get(v, 0) for v in VERDICTS if run.summary.get(v, 0)}
    known = sum(s.known_issue is not None for s in run.subjects)
    summary = summary_line(run)
    return RunView(
        exit_code=run.exit_code,
        headline=summary.partition(": ")[0],
        told=summary,
        shard=str(run.shard or ""),
        counts=counts,
        known=known,
        subjects=subjects,
        # A conversion that fails has no backend; it comes before all of them.
        backends=tuple(dict.fromkeys(sorted((s.backend for s in subjects), key=lambda name: name != "-"))),
        matrix=matrix_of(subjects),
        skipped=skipped_of(subjects),
        recorded=tuple(
            dict.fromkeys(f"{s.backend}: answers of {s.recorded_by}" for s in subjects if s.recorded_by)
        ),
        ties=sum(s.counts.get("tie", 0) for s in subjects),
        unreadable=_unreadable(run),
        unreadable_fails=run.unreadable is not None and run.unreadable.share > run.unreadable.allowed,
        unreadable_images=tuple(
            (visible(one.image), visible(one.reason)) for one in (run.unreadable.images if run.unreadable else ())
        ),
        stale=tuple(visible(line) for line in run.stale_known_issues),
        python=visible(run.environment.python),
        platform=visible(run.environment.platform),
        packages={visible(name): visible(version) for name, version in run.environment.packages.items()},
        headings=(
            " / ".join(dict.fromkeys(s.agreement for s in subjects)) or "top-1",
            f"max {' / '.join(dict.fromkeys(s.distance for s in subjects)) or metric_of(PROBABILITIES).distance}",
        ),
        explained="; ".join(dict.fromkeys(text for s in run.subjects for text in _explained(s))),
        migrations=tuple(show_migration(one) for one in run.migrations),
    )


def _explained(s: Subject) -> tuple[str, ...]:
    if s.outputs:
        return tuple(visible(f"the largest {output.distance} over all images") for output in s.outputs)
    return (metric_of(PROBABILITIES).explained,)


def _subject(run: Run, s: Subject, number: int, of: int) -> SubjectView:
    ordered = worst_first(s.cases)
    # Cards and rows of all subjects together have a bound, so that a page of many subjects stays one.
    cards, rows = (
        min(each, max(1, together // of)) for each, together in ((CARDS, _ALL_CARDS), (_ROWS, _ALL_ROWS))
    )
    listed = with_sample(ordered, rows)
    link = s.known_issue.link.strip() if s.known_issue else ""
    passed = s.verdict in ("pass", "skipped")
    return SubjectView(
        anchor=f"subject-{number}",
        model=visible(s.model),
        way=visible(way(s)),
        artifact=visible(s.artifact),
        backend=visible(s.backend),
        precision=visible(s.precision),
        verdict=s.verdict,
        told=f"{s.verdict} (known)" if s.known_issue else s.verdict,
        matters=parity_matters(run, s),
        gate=show_gate(run, s),
        reason="\n".join(visible_lines(s.reason)),
        images=s.images,
        top1="" if s.top1_agreement is None else percent(s.top1_agreement),
        max_abs_diff=s.max_abs_diff,
        max_abs_diff_told=small(s.max_abs_diff),
        tolerance=s.tolerance,
        tolerance_told=small(s.tolerance),
        tolerance_reason=visible(s.tolerance_reason),
        would_pass=rounded_up(s.required_tolerance) if s.required_tolerance else "",
        guilty_hop=visible(s.guilty_hop),
        divergence=visible(tell_divergence(s.first_divergence)) if s.first_divergence else "",
        unexplained=visible(s.unexplained),
        recorded_by=visible(s.recorded_by),
        known=s.known_issue is not None,
        known_reason=visible(s.known_issue.reason) if s.known_issue else "",
        known_link=visible(link),
        causes=tuple(_cause(s, d) for d in s.diagnoses),
        explanation=() if passed else visible_lines(explain_failure(s)),
        remarks=tuple(visible(remark) for remark in remarks_of(s)),
        counts=case_counts(s),
        distribution=distribution_of(s),
        worst=tuple(show_case(run, s, case) for case in ordered[:cards]),
        rows=tuple(show_case(run, s, case) for case in listed),
        unlisted=max(s.images, len(ordered)) - len(listed),
        sampled=len(ordered) > len(listed),
        pairs=pairs_of(ordered, s.tolerance),
        accuracy=show_accuracy(s.accuracy, *([run.gate.confidence] if run.gate else [])),
        envelope=told_envelope(s.envelope),
        agreement="same answer" if s.outputs else "top-1",
        distance=visible(" / ".join(dict.fromkeys(distances_of(s)))),
    )


def _unreadable(run: Run) -> str:
    unreadable = run.unreadable
    if unreadable is None:
        return ""
    be = "was" if unreadable.count == 1 else "were"
    return (
        f"{counted(unreadable.count, 'image')} could not be read and {be} skipped: "
        f"{100 * unreadable.share:.2g} % of all, {100 * unreadable.allowed:.2g} % allowed"
    )


def _cause(s: Subject, d: Diagnosis) -> Cause:
    confirmation = visible(tell_confirmed(s, d)) if d.confirmed else "suspected"
    # What might be is not to be mended: as in the terminal, the fix goes with what is confirmed.
    return Cause(
        visible(d.fault), visible(d.message), d.confirmed, confirmation, visible(d.fix) if d.confirmed else ""
    )
