"""What a new version of a converter or of a runtime changes: every model and route by the old one and by the new.

    Classifier + images --old side--> Artifact --runtime--> Subject \\
                                                                     judge_upgrade --> UpgradeLeg --> Upgrade
    Classifier + images --new side--> Artifact --runtime--> Subject /

PyTorch stays the reference of both: better and worse are distances from PyTorch, not from the old side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conversion.contract import ASSUMED
from parity.backends import runtimes
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.faults import known
from parity.core.results import Case, Diagnosis, Environment, KnownIssue, Prediction, Subject
from parity.core.schemas import counts_schema, written_schema
from parity.core.tolerance import Tolerance
from parity.diagnosis.repair import as_measured
from parity.entries import load_entry
from parity.formats.attributes import changed_attributes
from parity.formats.facts import artifact_digest, changed_facts, facts
from parity.suite.known_issues import mark_known_issues
from parity.versions.bench import Bench, Conversion, Outcome, opened, runtime_for
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.upgrade_verdicts import REGRESSIONS, UPGRADE_VERDICTS, SideState, UpgradeVerdict, judge_upgrade

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from conversion import Artifact
    from parity.backends.reference import Reference
    from parity.suite.suite import Suite

SCHEMA = "parity-upgrade/1"
TIMEOUT = 900.0

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class UpgradeLeg:
    """Compare one model by one route before and after.

    changes: what differs between the two files, a line each. max_abs_diff: between the two sides' probabilities.
    flips: images whose top-1 differs between the sides by more than a tie.
    old, new: each side against PyTorch; what is diagnosed of a side stands in its `diagnoses`.
    said: the last lines of a tool chain that failed.
    before, after: the states of the two sides, by which the verdict is read out of upgrade_verdicts.TABLE.
    """

    model: str
    route: str
    backend: str
    verdict: UpgradeVerdict
    reason: str
    old: Subject
    new: Subject
    changes: tuple[str, ...] = ()
    max_abs_diff: float | None = None
    flips: int | None = None
    said: tuple[str, ...] = ()
    before: SideState = "inconclusive"
    after: SideState = "inconclusive"

    @property
    def known_issue(self) -> KnownIssue | None:
        """Return the known issue that the new side is worse by; None where it is none."""
        return self.new.known_issue if self.verdict in REGRESSIONS else None


@dataclass(frozen=True)
class Upgrade:
    """Hold all that an upgrade changes.

    old, new: names of the sides. packages: side -> versions; of a tool chain those that it has instead of the
    installed ones. remarks: what has to be said of the tool chains.
    """

    old: str
    new: str
    legs: tuple[UpgradeLeg, ...]
    environment: Environment
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    schema: Literal["parity-upgrade/1"] = "parity-upgrade/1"

    @property
    def exit_code(self) -> int:
        """0 nothing got worse, 1 something did or broke, 3 nothing can be concluded; known issues do not count."""
        verdicts = {leg.verdict for leg in self.legs if leg.known_issue is None}
        if verdicts & REGRESSIONS:
            return 1
        return 0 if verdicts & {"better", "same"} and not verdicts & {"inconclusive", "untried"} else 3


def upgrade(
    suite: Suite,
    old: Side,
    new: Side,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = lambda message, share: None,
    timeout: float = TIMEOUT,
) -> Upgrade:
    """Convert the models of a suite on both sides, run the artefacts, and compare; empty selections mean all.

    artifacts: where converted models and environments of tool chains are kept between runs.
    timeout: seconds until one conversion in a tool chain is stopped.
    """
    from parity.core.environment import environment

    if old == new:
        raise ParityError(f"both sides are {old.name}; name another with --with, --from or --to")
    progress("preparing tool chains", None)
    legs: list[UpgradeLeg] = []
    with opened(old, artifacts, timeout) as before, opened(new, artifacts, timeout) as after:
        for bench in (before, after):
            if bench.failure and bench.failure.stage == "resolve":  # what was asked for is not to be had
                raise ParityError(f"tool chain {bench.side.name}: {bench.failure}")
        chosen = [(entry, [r for r in entry.routes if not routes or r in routes]) for entry in suite.models]
        chosen = [(entry, its) for entry, its in chosen if its and (not models or entry.name in models)]
        total = sum(len(its) for _, its in chosen)
        for entry, its in chosen:
            progress(f"{entry.name}: PyTorch", len(legs) / total)
            reference = load_entry(suite, entry)
            for route in its:
                progress(f"{entry.name}: {route}", len(legs) / total)
                legs.append(_leg(SuiteRoute(suite, entry, reference, route), before, after))
        packages = {old.name: before.versions, new.name: after.versions}
        marked, stale = _marked(suite, legs, before, after)
        remarks = (*before.remarks, *after.remarks, *stale)
    summary: dict[str, int] = {verdict: sum(leg.verdict == verdict for leg in legs) for verdict in UPGRADE_VERDICTS}
    return Upgrade(old.name, new.name, marked, environment(), packages, remarks, summary)


def _marked(
    suite: Suite, legs: Sequence[UpgradeLeg], before: Bench, after: Bench
) -> tuple[tuple[UpgradeLeg, ...], tuple[str, ...]]:
    """Mark on each side what the suite expects to fail with its versions; says too what the new side mended."""
    issues = suite.known_issues
    olds, _ = mark_known_issues(tuple(leg.old for leg in legs), issues, partial=True, version_of=before.version)
    news, stale = mark_known_issues(tuple(leg.new for leg in legs), issues, partial=True, version_of=after.version)
    marked = (replace(leg, old=old, new=new) for leg, old, new in zip(legs, olds, news, strict=True))
    return tuple(marked), tuple(f"{after.side.name}: {line}" for line in stale)


def _leg(tried: SuiteRoute, old_bench: Bench, new_bench: Bench) -> UpgradeLeg:
    was = old_bench.convert(tried)
    now = new_bench.convert(tried, was.artifact.contract if was.artifact else ASSUMED)
    backend = runtime_for(tried.recipe)
    before = old_bench.judge(tried, was, backend)
    after = new_bench.judge(tried, now, backend)
    verdict, reason = judge_upgrade(before.subject, after.subject, before.state, after.state)
    new, changes = after.subject, tuple[str, ...]()
    if was.artifact and now.artifact:
        changes = changed_files(was.artifact, now.artifact)
    if verdict in REGRESSIONS and now.artifact:
        new = new_bench.explain(tried, now.artifact, after)
        if was.artifact and artifact_digest(was.artifact) == artifact_digest(now.artifact):
            new = replace(new, diagnoses=(*_accused(old_bench, new_bench, before, after), *new.diagnoses))
    leg = UpgradeLeg(
        *(tried.entry.name, tried.route, backend, verdict, reason, before.subject, new, changes),
        said=_said(old_bench, was) + _said(new_bench, now),
        before=before.state,
        after=after.state,
    )
    if before.answers is None or after.answers is None:
        return leg
    between = _between(tried.reference, before.answers, after.answers, new.tolerance)
    if not between:
        return leg
    apart = [case.max_abs_diff for case in between if case.max_abs_diff is not None]
    flips = sum(case.verdict == "flip" for case in between)
    return replace(leg, max_abs_diff=max(apart, default=None), flips=flips)


def _accused(old_bench: Bench, new_bench: Bench, before: Outcome, after: Outcome) -> Iterator[Diagnosis]:
    """Say what two runtimes' answers to one file prove: with the other runtime it is right, so the file is."""
    backend = after.subject.backend
    package = next((name for name, runtime in runtimes().items() if runtime == backend), "")
    old, new = (bench.version(package) for bench in (old_bench, new_bench))
    if before.state != "right" or not package or old == new:
        return
    apart = after.subject.max_abs_diff
    answered = "gives no answer to this file" if after.answers is None else "answers this file wrongly"
    difference = "" if apart is None else f", by up to {apart:.2g}"
    yield Diagnosis(
        known("v-runtime-regression"),
        f"{package} {new} {answered}{difference}; {package} {old} answers the same file as PyTorch does.",
        confirmed=True,
        fix=f"pip install {package}=={old}",
    )


def changed_files(before: Artifact, now: Artifact) -> tuple[str, ...]:
    """Name what differs between two artefacts, a line each; nothing where they are the same but for notes."""
    if before.path == now.path or artifact_digest(before) == artifact_digest(now):
        return ()
    return (*changed_facts(facts(before), facts(now)), *changed_attributes(before, now)) or (
        "names or order alone",
    )


def _between(reference: Reference, old: Prediction, new: Prediction, tolerance: float | None) -> tuple[Case, ...]:
    """Compare the two sides with each other."""
    old = as_measured(reference.prediction, old)
    labels = old.labels or reference.classifier.labels
    if tolerance is None or old.probabilities.shape != (len(reference.images.names), len(labels)):
        return ()
    answered = replace(old, labels=labels, specs=reference.prediction.specs)
    return compare(answered, new, Tolerance(tolerance), reference.images.names).cases


def _said(bench: Bench, conversion: Conversion) -> tuple[str, ...]:
    lines = conversion.failure.last_lines if conversion.failure else ()
    return tuple(f"{bench.side.name}: {line}" for line in lines)


def upgrade_to_json(upgrade: Upgrade) -> str:
    """Write an upgrade as JSON."""
    return _adapter().dump_json(upgrade, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of an upgrade (committed as parity/schemas/upgrade.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity upgrade")
    schema["properties"]["summary"] = counts_schema("Summary", UPGRADE_VERDICTS)
    return schema


@cache
def _adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Upgrade)
