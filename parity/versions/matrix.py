"""Every model by every combination of versions of packages: `parity upgrade --matrix`.

    axes --> Cell, each once --opened, convert, judge--> Tried, a line of the record --judge_cells--> Matrix

The first version of every package together is what the other combinations are better or worse than. A matrix that
was stopped goes on where its record ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conversion.contract import ASSUMED, Contract
from parity.core.errors import ParityError
from parity.core.results import Environment, KnownIssue, Subject
from parity.core.schemas import counts_schema, written_schema
from parity.entries import load_entry
from parity.suite.known_issues import mark_known_issues
from parity.suite.toolchain import ToolChain, normal
from parity.versions.bench import Bench, opened, runtime_for
from parity.versions.matrix_record import Cell, Record, Tried, identity
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchain_packages import installed
from parity.versions.upgrade import TIMEOUT, Progress
from parity.versions.upgrade_verdicts import REGRESSIONS, UPGRADE_VERDICTS, SideState, UpgradeVerdict, judge_upgrade

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from parity.suite.suite import Suite

# Package -> its versions, the first of which is the old one.
Axes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class MatrixLeg:
    """Judge one cell against the first combination of its model and route.

    culprits: where it is worse, the packages whose change alone makes it so; guilt says it in words, also where it
    takes several at once. known_issue: of the suite, with these versions, where it is worse by it.
    """

    cell: Cell
    backend: str
    verdict: UpgradeVerdict
    reason: str
    state: SideState
    subject: Subject
    culprits: tuple[str, ...] = ()
    guilt: str = ""
    known_issue: KnownIssue | None = None


@dataclass(frozen=True)
class Matrix:
    """Hold all cells, model by model, route by route, in the order of the combinations."""

    axes: Axes
    legs: tuple[MatrixLeg, ...]
    environment: Environment
    remarks: tuple[str, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    schema: Literal["parity-matrix/1"] = "parity-matrix/1"

    @property
    def combinations(self) -> tuple[tuple[str, ...], ...]:
        """List the versions of all packages together, the old ones first."""
        return tuple(product(*self.axes.values()))

    @property
    def exit_code(self) -> int:
        """0 nothing got worse anywhere, 1 something did or broke, 3 nothing can be concluded."""
        first = self.combinations[0]
        unexpected = [leg for leg in self.legs if leg.known_issue is None]
        if {leg.verdict for leg in unexpected} & REGRESSIONS:
            return 1
        others = {leg.verdict for leg in unexpected if leg.cell.versions != first}
        return 0 if others & {"better", "same"} else 3


def matrix(
    suite: Suite,
    axes: Axes,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = lambda message, share: None,
    timeout: float = TIMEOUT,
) -> Matrix:
    """Try the models of a suite by each combination of versions once; empty selections mean all.

    artifacts: where converted models, environments and the record of what was tried are kept between runs. What was
    tried already, of the same model on the same images, is not tried again, unless its tool chain could not be had.
    """
    from parity.core.environment import environment

    check_axes(axes)
    work: list[SuiteRoute] = []
    for entry in suite.models:
        chosen = [route for route in entry.routes if not routes or route in routes]
        if chosen and (not models or entry.name in models):
            progress(f"{entry.name}: PyTorch", None)
            reference = load_entry(suite, entry)
            work += [SuiteRoute(suite, entry, reference, route) for route in chosen]
    record = Record(artifacts / "matrix.jsonl", {tried.entry.name: identity(tried, tuple(axes)) for tried in work})
    remarks: dict[str, None] = {}
    marked: dict[Cell, Tried] = {}
    combinations = list(product(*axes.values()))
    for done, versions in enumerate(combinations):
        progress(told_versions(axes, versions), done / len(combinations))
        row = [Cell(tried.entry.name, tried.route, versions) for tried in work]
        if any(cell not in record for cell in row):
            with opened(_side(axes, versions), artifacts, timeout) as bench:
                for tried, cell in zip(work, row, strict=True):
                    if cell not in record:
                        record.add(cell, _try(tried, bench, _held(record, tried, combinations[0])))
                remarks.update(dict.fromkeys(bench.remarks))
        marked.update(_known(suite, axes, {cell: record[cell] for cell in row}))
    legs = judge_cells(axes, marked, [(tried.entry.name, tried.route) for tried in work])
    summary: dict[str, int] = {verdict: sum(leg.verdict == verdict for leg in legs) for verdict in UPGRADE_VERDICTS}
    return Matrix(axes, legs, environment(), tuple(remarks), summary)


def check_axes(axes: Axes) -> None:
    """Raise ParityError for axes that compare nothing with nothing."""
    if not axes or all(len(versions) < 2 for versions in axes.values()):
        raise ParityError("a matrix compares at least two versions of a package: --matrix onnx==1.17.0,1.18.0")
    for package, versions in axes.items():
        if not versions or len(set(versions)) != len(versions):
            raise ParityError(f"--matrix {package}=={','.join(versions)}: name each version once")


def judge_cells(axes: Axes, tried: Mapping[Cell, Tried], ways: Sequence[tuple[str, str]]) -> tuple[MatrixLeg, ...]:
    """Compare every cell with the first of its model and route, and say what made it worse.

    ways: models and routes, in the order of the answer.
    """
    legs: dict[Cell, MatrixLeg] = {}
    combinations = list(product(*axes.values()))
    for (model, route), versions in product(ways, combinations):
        cell = Cell(model, route, versions)
        first, now = tried[Cell(model, route, combinations[0])], tried[cell]
        verdict, reason = judge_upgrade(first.subject, now.subject, first.state, now.state)
        leg = MatrixLeg(cell, now.subject.backend, verdict, reason, now.state, now.subject)
        legs[cell] = replace(leg, known_issue=now.subject.known_issue) if verdict in REGRESSIONS else leg
    return tuple(_accused(axes, leg, legs) for leg in legs.values())


def _accused(axes: Axes, leg: MatrixLeg, legs: Mapping[Cell, MatrixLeg]) -> MatrixLeg:
    """Say which package made a cell worse: the one whose change alone does, by the cell with that change alone."""
    if leg.verdict not in REGRESSIONS:
        return leg
    first = [versions[0] for versions in axes.values()]
    changed = {place for place, version in enumerate(leg.cell.versions) if version != first[place]}
    alone: dict[int, MatrixLeg] = {}
    for place in changed:
        versions = tuple(v if at == place else first[at] for at, v in enumerate(leg.cell.versions))
        alone[place] = legs[replace(leg.cell, versions=versions)]
    packages, guilty = list(axes), [place for place in sorted(changed) if alone[place].verdict in REGRESSIONS]
    if guilty:
        named = [f"{packages[place]} {leg.cell.versions[place]}" for place in guilty]
        told = f"{' and '.join(named)}, {'each ' if len(named) > 1 else ''}alone"
        return replace(leg, culprits=tuple(packages[place] for place in guilty), guilt=told)
    if any(alone[place].verdict not in ("same", "better") for place in changed):
        return replace(leg, guilt="a change alone could not be tried, so nobody can be named")
    named = [f"{packages[place]} {leg.cell.versions[place]}" for place in sorted(changed)]
    return replace(leg, guilt=f"{' and '.join(named)} together, neither of them alone")


def _known(suite: Suite, axes: Axes, row: Mapping[Cell, Tried]) -> dict[Cell, Tried]:
    """Mark what the suite expects to fail with a cell's versions; a record holds what was seen, and not that."""
    marked: dict[Cell, Tried] = {}
    for cell, tried in row.items():
        own = {normal(package): version for package, version in zip(axes, cell.versions, strict=True)}
        versions = {**installed(), **own}
        (subject,), _ = mark_known_issues(
            *((tried.subject,), suite.known_issues),
            partial=True,
            version_of=lambda package, versions=versions: versions.get(normal(package), ""),  # type: ignore[misc]
        )
        marked[cell] = replace(tried, subject=subject)
    return marked


def _held(record: Record, tried: SuiteRoute, first: tuple[str, ...]) -> Contract:
    """Return the contract of the first combination's file, which the others are held to."""
    cell = Cell(tried.entry.name, tried.route, first)
    return (record[cell].contract if cell in record else None) or ASSUMED


def _try(tried: SuiteRoute, bench: Bench, held: Contract) -> Tried:
    conversion = bench.convert(tried, held)
    outcome = bench.judge(tried, conversion, runtime_for(tried.recipe))
    contract = conversion.artifact.contract if conversion.artifact else None
    return Tried(outcome.subject, outcome.state, contract)


def _side(axes: Axes, versions: Sequence[str]) -> Side:
    packages = tuple(f"{package}=={version}" for package, version in zip(axes, versions, strict=True))
    name = " ".join(packages)
    return Side(name, ToolChain(name, packages))


def told_versions(axes: Iterable[str], versions: Sequence[str]) -> str:
    """Name a combination: `onnxruntime 1.19.0, coremltools 8.3.0`."""
    return ", ".join(f"{package} {version}" for package, version in zip(axes, versions, strict=True))


def matrix_to_json(found: Matrix) -> str:
    """Write a matrix as JSON."""
    return _adapter().dump_json(found, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a matrix (committed as parity/schemas/matrix.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity matrix")
    schema["properties"]["summary"] = counts_schema("Summary", UPGRADE_VERDICTS)
    return schema


@cache
def _adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Matrix)
