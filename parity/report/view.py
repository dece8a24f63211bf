"""What every report shows of a run: names made safe to look at, numbers written once, cases chosen and in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conversion.task import PROBABILITIES
from parity.core.accuracy import Accuracy, Share
from parity.core.compare import explain_failure, rounded_up, summary_line, tell_confirmed, tell_divergence, way
from parity.core.distribution import Distribution
from parity.core.metric import metric_of
from parity.core.results import VERDICTS, CaseVerdict, Diagnosis, Run, Subject, Verdict, worst_first
from parity.report.case_view import (
    CaseView,
    Pair,
    case_counts,
    distribution_of,
    pairs_of,
    show_case,
    show_label,
    with_sample,
)
from parity.report.text import counted, percent, small, visible, visible_lines
from parity.suite.thumbnails import SHOWN as CARDS

# A report that somebody opens is a page, not a database: results.json has every case that was kept.
_ROWS, _ALL_ROWS = 40, 1_200
_ALL_CARDS = 240


@dataclass(frozen=True)
class Cause:
    """Show a cause that was found; told: whether it was confirmed, in words; fix: empty where there is none."""

    fault: str
    message: str
    confirmed: bool
    told: str
    fix: str


@dataclass(frozen=True)
class AccuracyView:
    """Show how often both are right; sides, classes: rows of a table, in words."""

    images: int
    sides: tuple[tuple[str, ...], ...]
    change: str
    classes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SubjectView:
    """Show one artefact on one backend.

    anchor: unique in a page. told: the verdict in words. matters: whether it keeps the run from holding.
    counts: over all images. worst: the cases to look at. rows: those to list, the worst first, then a sample.
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

    @property
    def title(self) -> str:
        """Name model, way and backend."""
        return f"{self.model} by {self.way} on {self.backend}"


@dataclass(frozen=True)
class Skipped:
    """Show what was not run for one reason."""

    backend: str
    reason: str
    legs: tuple[str, ...]


@dataclass(frozen=True)
class MatrixRow:
    """Show one model by one way; cells: backend -> subjects, most often one."""

    model: str
    way: str
    precision: str
    cells: Mapping[str, tuple[SubjectView, ...]]


@dataclass(frozen=True)
class RunView:
    """Show a run.

    told: the answer in one line; headline: its first part, what it means.
    shard: which part of the images this is, where it is one.
    counts: verdict -> subjects. ties: images over all subjects.
    headings: of two columns, how often both answer the same and how far they are apart, by what was measured.
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


def make_view(run: Run) -> RunView:
    """Make what reports show of a run."""
    subjects = tuple(_subject(run, s, number, len(run.subjects)) for number, s in enumerate(run.subjects, 1))
    counts = {v: run.summary.get(v, 0) for v in VERDICTS if run.summary.get(v, 0)}
    known = sum(s.known_issue is not None for s in run.subjects)
    told = summary_line(run)
    return RunView(
        exit_code=run.exit_code,
        headline=told.partition(": ")[0],
        told=told,
        shard=str(run.shard or ""),
        counts=counts,
        known=known,
        subjects=subjects,
        # A conversion that fails has no backend; it comes before all of them.
        backends=tuple(dict.fromkeys(sorted((s.backend for s in subjects), key=lambda name: name != "-"))),
        matrix=_matrix(subjects),
        skipped=_skipped(subjects),
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
        headings=_headings(run),
    )


def _headings(run: Run) -> tuple[str, str]:
    classes = metric_of(PROBABILITIES)
    outputs = [output for s in run.subjects for output in s.outputs]
    own = [classes.distance] if any(not s.outputs for s in run.subjects) or not outputs else []
    distances = dict.fromkeys([*own, *(output.distance for output in outputs)])
    return "same" if outputs else "top-1", visible(" / ".join(distances))


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
        matters=s.verdict in ("fail", "error", "inconclusive") and s.known_issue is None,
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
        remarks=tuple(visible(remark) for remark in s.remarks),
        counts=case_counts(s),
        distribution=distribution_of(s),
        worst=tuple(show_case(run, s, case) for case in ordered[:cards]),
        rows=tuple(show_case(run, s, case) for case in listed),
        unlisted=max(s.images, len(ordered)) - len(listed),
        sampled=len(ordered) > len(listed),
        pairs=pairs_of(ordered, s.tolerance),
        accuracy=_accuracy(s.accuracy),
    )


def _unreadable(run: Run) -> str:
    found = run.unreadable
    if found is None:
        return ""
    return (
        f"{counted(found.count, 'image')} could not be read and {'was' if found.count == 1 else 'were'} skipped: "
        f"{100 * found.share:.2g} % of all, {100 * found.allowed:.2g} % allowed"
    )


def _cause(s: Subject, d: Diagnosis) -> Cause:
    told = visible(tell_confirmed(s, d)) if d.confirmed else "suspected"
    # What might be is not to be mended: as in the terminal, the fix goes with what is confirmed.
    return Cause(visible(d.fault), visible(d.message), d.confirmed, told, visible(d.fix) if d.confirmed else "")


def _accuracy(found: Accuracy | None) -> AccuracyView | None:
    if found is None:
        return None
    change = found.change
    points, low, high = (100 * share for share in (change.difference, change.low, change.high))
    return AccuracyView(
        found.images,
        tuple(
            (name, _share(side.top1), _share(side.top5), _hundredths(side.calibration.error))
            for name, side in (("PyTorch", found.reference), ("candidate", found.candidate))
        ),
        f"{points:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), "
        f"{counted(change.only_reference, 'image')} right by PyTorch alone, "
        f"{counted(change.only_candidate, 'image')} by the candidate alone, p = {change.p_value:.2g} (McNemar)",
        tuple(
            (show_label(one.label), f"{one.images:,}", f"{one.reference:,}", f"{one.candidate:,}")
            for one in found.worst_classes
        ),
    )


def _share(share: Share) -> str:
    return f"{100 * share.share:.2f} % ({100 * share.low:.2f} to {100 * share.high:.2f})"


def _hundredths(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _matrix(subjects: Sequence[SubjectView]) -> tuple[MatrixRow, ...]:
    rows: dict[tuple[str, str, str], dict[str, tuple[SubjectView, ...]]] = {}
    for s in subjects:
        cells = rows.setdefault((s.model, s.way, s.precision), {})
        cells[s.backend] = (*cells.get(s.backend, ()), s)
    return tuple(MatrixRow(*key, cells) for key, cells in rows.items())


def _skipped(subjects: Sequence[SubjectView]) -> tuple[Skipped, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for s in subjects:
        if s.verdict == "skipped":
            found.setdefault((s.backend, s.reason), []).append(f"{s.model} by {s.way}")
    return tuple(Skipped(*key, tuple(legs)) for key, legs in found.items())
