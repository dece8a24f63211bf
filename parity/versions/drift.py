"""A suite against its baselines: what has changed since they were stored, and what is stored anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from parity.backends import RECORDED, backends_for
from parity.core.errors import ParityError
from parity.core.results import Subject, Verdict
from parity.core.schemas import written_schema
from parity.pipeline import Leg, Progress, RunOptions, no_progress, run_legs
from parity.suite.suite import ALL, Selection
from parity.versions.alterations import alterations, is_system_alone
from parity.versions.baselines import (
    KINDS,
    Change,
    Kind,
    baseline_file,
    compare_with_baseline,
    make_baseline,
    read_baseline,
    unused_baselines,
    write_baseline,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from parity.suite.suite import Suite

SCHEMA: Final = "parity-drift/1"


@dataclass(frozen=True)
class Drift:
    """Say what became of one model by one route on one backend since its baseline.

    changes: image -> what became of its answer; empty where nothing was compared.
    since: what else is not as it was then: the artefact, versions, the machine.
    trouble: why a baseline was not written, or one that exists not compared: it is damaged, or nothing answered.
    written: the baseline file that was written, because the user asked for it. kept: one that says this already.
    """

    subject: Subject
    changes: Mapping[str, Change] = field(default_factory=dict)
    since: tuple[str, ...] = ()
    trouble: str = ""
    written: Path | None = None
    kept: Path | None = None

    @property
    def matters(self) -> bool:
        """Tell whether somebody has to look at it."""
        return bool(self.trouble) or any(change.matters for change in self.changes.values())

    @property
    def compared(self) -> bool:
        """Tell whether any image has an answer of then and one of now."""
        return any(change.kind not in ("new", "gone") for change in self.changes.values())

    @property
    def counts(self) -> dict[Kind, int]:
        """Count the images of each kind of change."""
        counts = Counter(change.kind for change in self.changes.values())
        return {kind: counts[kind] for kind in KINDS if counts[kind]}


@dataclass(frozen=True)
class Drifts:
    """Hold what became of a whole suite; unused: baseline files that nothing in it reads."""

    legs: tuple[Drift, ...]
    unused: tuple[Path, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 nothing moved, 1 something did, 3 there was nothing to compare, or to store."""
        if any(leg.matters for leg in self.legs):
            return 1
        return 0 if any(leg.compared or leg.written or leg.kept for leg in self.legs) else 3


@dataclass(frozen=True)
class WrittenDrift:
    """Say of a leg what --json has of it; written: the file's path from the suite file's directory."""

    model: str
    route: str
    backend: str
    precision: str
    verdict: Verdict
    reason: str
    counts: Mapping[Kind, int]
    since: tuple[str, ...]
    trouble: str
    images: Mapping[str, Change]
    written: str | None


@dataclass(frozen=True)
class WrittenDrifts:
    """Hold what --json has of a suite."""

    schema: Literal["parity-drift/1"]
    legs: tuple[WrittenDrift, ...]
    unused: tuple[str, ...]
    exit_code: int


def follow_suite(
    suite: Suite,
    selection: Selection = ALL,
    artifacts: Path = Path(".parity"),
    reason: str | None = None,
    progress: Progress = no_progress,
    force: bool = False,
) -> Drifts:
    """Run a suite and compare its answers with their baselines.

    reason: store the answers instead, for this reason. force: also over files that are no baselines.
    """
    legs = run_legs(suite, selection, RunOptions(artifacts), progress)
    followed = tuple(drift for leg in legs for drift in _all_of(suite, leg, selection, reason, force))
    unused = () if selection.is_partial else tuple(unused_baselines(suite))
    return Drifts(followed, unused)


def follow(directory: Path, leg: Leg, reason: str | None = None, force: bool = False) -> Drift:
    """Compare a leg's answers with its baseline, where it has one, or store them; directory: the suite file's.

    reason: why they are stored; None stores nothing. force: also over a file that is no baseline.
    """
    subject, file = leg.subject, baseline_file(directory, leg.subject)
    # What was recorded elsewhere is stored already.
    if subject.backend.startswith(RECORDED):
        return Drift(subject)
    # Answers that are not numbers, or not one for each label, are nothing to come back to.
    unfit = not subject.cases or any(case.verdict == "error" for case in subject.cases)
    if leg.artifact is None or leg.prediction is None or unfit:
        lost = file.is_file() and subject.verdict != "skipped"
        return Drift(subject, trouble=f"{subject.verdict}: {subject.reason}" if lost else "")
    if reason is None and not file.is_file():
        return Drift(subject)
    current = make_baseline(subject, leg.artifact, leg.reference, leg.prediction, reason or "")
    if reason is not None:
        try:
            written = write_baseline(file, current, force)
        except ParityError as error:
            return Drift(subject, trouble=str(error))
        return Drift(subject, written=file) if written else Drift(subject, kept=file)
    try:
        stored = read_baseline(file)
    except ParityError as error:
        return Drift(subject, trouble=str(error))
    whose, own = (f"{one.model} by {one.route} on {one.backend}" for one in (stored, current))
    if whose != own:
        return Drift(
            subject, trouble=f"{file}: is of {whose}, and stands where that of {own} should; record it again"
        )
    changes, altered = compare_with_baseline(stored, current), alterations(stored, current)
    since = tuple(one.told for one in altered)
    if any(change.matters for change in changes.values()) and is_system_alone(altered):
        was = stored.environment.get("platform", "")
        since = (*since, f"the same file and versions: golden outputs from {was} no longer match [v-os-update]")
    return Drift(subject, changes, since)


def _all_of(suite: Suite, leg: Leg, selection: Selection, reason: str | None, force: bool) -> Iterator[Drift]:
    """Follow a leg; a conversion that failed is one leg for all backends whose answers were stored."""
    subjects = [leg.subject]
    if leg.artifact is None:
        entry = next(entry for entry in suite.models if entry.name == leg.subject.model)
        able = selection.backends_of(backends_for(entry.recipe(leg.subject.route).format))
        every = [replace(leg.subject, backend=name) for name in able]
        subjects = [s for s in every if baseline_file(suite.directory, s).is_file()] or subjects
    for subject in subjects:
        yield follow(suite.directory, replace(leg, subject=subject), reason, force)


def to_json(drifts: Drifts, directory: Path) -> str:
    """Write what became of a suite; its files are named relative to `directory`, the suite file's."""

    def leg(drift: Drift) -> WrittenDrift:
        s = drift.subject
        return WrittenDrift(
            *(s.model, s.route, s.backend, s.precision, s.verdict, s.reason, drift.counts, drift.since),
            drift.trouble,
            drift.changes,
            drift.written.relative_to(directory).as_posix() if drift.written else None,
        )

    unused = tuple(path.relative_to(directory).as_posix() for path in drifts.unused)
    written = WrittenDrifts(SCHEMA, tuple(leg(drift) for drift in drifts.legs), unused, drifts.exit_code)
    return _adapter().dump_json(written, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of what became of a suite (committed as parity/schemas/drift.schema.json)."""
    return written_schema(_adapter(), "coreml-parity drift")


@cache
def _adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(WrittenDrifts)
