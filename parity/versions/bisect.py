"""Find the release that broke a conversion, and the one that mended it: `parity upgrade --bisect`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conversion.contract import ASSUMED, Contract
from parity.core.errors import ParityError
from parity.core.schemas import written_schema
from parity.entries import load_entry
from parity.suite.toolchain import ToolChain
from parity.versions.bench import Bench, opened, runtime_for
from parity.versions.pythons import find_uv
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.upgrade import TIMEOUT, Progress
from parity.versions.upgrade_verdicts import REGRESSIONS, TABLE, SideState

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from parity.suite.suite import Suite

# good, bad: its numbers; bad are wrong ones that come without an error. refused, crashed, nonsense: there is an
# error, as in an upgrade. untried: the release cannot be installed or loaded here; unknown: what it answers proves
# nothing. These two are passed over.
State = Literal["good", "bad", "refused", "crashed", "nonsense", "untried", "unknown"]
_OF_SIDES: Mapping[SideState, State] = {
    "right": "good",
    "wrong": "bad",
    "refused": "refused",
    "crashed": "crashed",
    "nonsense": "nonsense",
    "inconclusive": "unknown",
    "untried": "untried",
    "skipped": "untried",
}
# How an upgrade calls what is judged.
_JUDGED: Mapping[State, SideState] = {
    state: side for side, state in _OF_SIDES.items() if state not in ("untried", "unknown")
}


@dataclass(frozen=True)
class Trial:
    """Say how one release did."""

    version: str
    state: State
    reason: str = ""


@dataclass(frozen=True)
class History:
    """Hold how the releases did with one model by one route.

    trials: those that were asked for, oldest first. first_bad: the first that is worse than the one before, as an
    upgrade from one to the other would be, with every release between the two asked for: bad or broken after a good
    one, bad after one that raised an error. first_fixed: the first that is good after one that is not.
    """

    model: str
    route: str
    backend: str
    trials: tuple[Trial, ...]
    first_bad: str | None = None
    first_fixed: str | None = None
    told: str = ""

    @property
    def newest(self) -> State | None:
        """Return how the newest release did that could be judged; None where none could."""
        return next((trial.state for trial in reversed(self.trials) if trial.state in _JUDGED), None)


@dataclass(frozen=True)
class Bisection:
    """Hold the histories of a package's releases; releases: all in the range, oldest first."""

    package: str
    releases: tuple[str, ...]
    histories: tuple[History, ...]
    remarks: tuple[str, ...] = ()
    schema: Literal["parity-bisection/1"] = "parity-bisection/1"

    @property
    def exit_code(self) -> int:
        """0 the newest release is good, 1 it is bad or broken, 3 nothing can be concluded.

        A release that cannot be judged is passed over; the newest that can counts, of each model by each route.
        """
        newest = {history.newest for history in self.histories} - {None}
        if newest - {"good"}:
            return 1
        return 0 if newest else 3


def bisect(
    suite: Suite,
    package: str,
    first: str,
    last: str,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = lambda message, share: None,
    timeout: float = TIMEOUT,
    released: Callable[[str, str, str], Sequence[str]] | None = None,
) -> Bisection:
    """Try releases of a package from `first` to `last` until it is clear where models become bad and good again.

    Good is who agrees with PyTorch. released: lists a package's releases, first and last included; None asks the
    package index.
    """
    progress(f"asking for the releases of {package}", None)
    releases = tuple((released or list_releases)(package, first, last))
    work = [
        SuiteRoute(suite, entry, load_entry(suite, entry), route)
        for entry in suite.models
        if not models or entry.name in models
        for route in entry.routes
        if not routes or route in routes
    ]
    remarks: dict[str, None] = {}
    held: dict[tuple[str, str], Contract] = {}
    done: dict[str, list[Trial]] = {}

    def trials(version: str) -> list[Trial]:
        if version not in done:
            progress(f"{package} {version}", len(done) / len(releases))
            side = Side(f"{package} {version}", ToolChain(f"{package} {version}", (f"{package}=={version}",)))
            with opened(side, artifacts, timeout) as bench:
                done[version] = [_try(version, bench, tried, held) for tried in work]
                remarks.update(dict.fromkeys(bench.remarks))
        return done[version]

    histories = []
    for place, tried in enumerate(work):
        states = search([lambda v=v, place=place: trials(v)[place].state for v in releases])  # type: ignore[misc]
        known = tuple(done[releases[i]][place] for i in sorted(states))
        bad, fixed, summary = conclude(releases, known)
        histories.append(
            History(tried.entry.name, tried.route, runtime_for(tried.recipe), known, bad, fixed, summary)
        )
    return Bisection(package, releases, tuple(histories), tuple(remarks))


def search(states: Sequence[Callable[[], State]]) -> dict[int, State]:
    """Ask for as few states as show every change: place -> state.

    Both ends first. Where they are alike the range may still hold good, bad, good: then what lies between is asked
    for, the middle first, until one differs. From there on every change is narrowed down to two neighbours; a place
    that was not judged does not count as one.
    """
    known = {place: states[place]() for place in dict.fromkeys((0, len(states) - 1))}
    for place in _middles(0, len(states) - 1):
        if len(set(known.values()) & _JUDGED.keys()) > 1:
            break
        known[place] = states[place]()
    while (gap := _open_gap(known)) is not None:
        known[gap] = states[gap]()
    return known


def _middles(low: int, high: int) -> Iterator[int]:
    """Give every place between two, halving the widest gaps first."""
    gaps = [(low, high)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            yield middle
            gaps += [(low, middle), (middle, high)]


def _open_gap(states: Mapping[int, State]) -> int | None:
    """Find a place between two that differ that was not asked for; None where there is none left."""
    known = sorted(place for place, state in states.items() if state in _JUDGED)
    for low, high in pairwise(known):
        open_places = [place for place in range(low + 1, high) if place not in states]
        if states[low] != states[high] and open_places:
            return open_places[len(open_places) // 2]
    return None


def conclude(releases: Sequence[str], trials: Sequence[Trial]) -> tuple[str | None, str | None, str]:
    """Read the first bad release and the first fixed one out of trials, and say it in a sentence."""
    known = [trial for trial in trials if trial.state in _JUDGED]
    if not known:
        reason = next((trial.reason for trial in trials if trial.reason), "")
        return None, None, f"no release could be judged: {reason}"
    if len(states := {trial.state for trial in known}) == 1:
        (state,) = states
        why = f": {known[0].reason}" if known[0].reason else ""
        return None, None, f"{state} in every release that was tried{why if state != 'good' else ''}"
    bad = fixed = None
    changes: dict[State, str] = {}
    for before, after in pairwise(known):
        if before.state == after.state:
            continue
        if TABLE[_JUDGED[before.state], _JUDGED[after.state]] in REGRESSIONS:
            bad = bad or after.version
        if after.state == "good":
            fixed = fixed or after.version
        change = f"fixed in {after.version}" if after.state == "good" else f"first {after.state} {after.version}"
        between = _passed_over(releases, before, after)
        changes.setdefault(after.state, f"{change}, {before.state} in {before.version}{between}")
    return bad, fixed, "; ".join(changes.values())


def _passed_over(releases: Sequence[str], before: Trial, after: Trial) -> str:
    between = releases[releases.index(before.version) + 1 : releases.index(after.version)]
    return f" (between them, not to be judged: {', '.join(between)})" if between else ""


def _try(version: str, bench: Bench, tried: SuiteRoute, held: dict[tuple[str, str], Contract]) -> Trial:
    """Try one release. held: by model and route, the contract of a file that was right; others are held to it."""
    key = (tried.entry.name, tried.route)
    conversion = bench.convert(tried, held.get(key, ASSUMED))
    outcome = bench.judge(tried, conversion, runtime_for(tried.recipe))
    if conversion.artifact and outcome.state == "right":
        held.setdefault(key, conversion.artifact.contract)
    return Trial(version, _OF_SIDES[outcome.state], outcome.subject.reason)


def installed_version(package: str, option: str = "--bisect") -> str:
    """Return the installed version of a package; none is a ParityError. option: that needs it."""
    try:
        return version_of(package)
    except PackageNotFoundError as error:
        raise ParityError(f"{option} {package}: not installed here; give the last release with --to") from error


def list_releases(package: str, first: str, last: str) -> tuple[str, ...]:
    """Ask the package index for the releases from `first` to `last`, oldest first.

    Without pre-releases, unless an end is one, as a beta has no others; without what was withdrawn, and without
    what does not run on this Python. The two ends are taken as they are.
    """
    from packaging.version import InvalidVersion, Version

    try:
        ends = sorted((Version(first), Version(last)))
    except InvalidVersion as error:
        raise ParityError(f"--bisect {package}: {error}; give versions as {package}==1.2.3") from error
    low, high = str(ends[0]), str(ends[1])
    releases = [high] if low != high else []
    early = any(end.is_prerelease for end in ends)
    while version := _newest(f"{package}>{low},<{releases[-1] if releases else high}", early):
        releases.append(version)
    return (low, *reversed(releases))


def _newest(requirement: str, early: bool) -> str | None:
    """Resolve a requirement to the newest version, early: pre-releases too; None where no release fits."""
    uv = find_uv()
    if uv is None:
        raise ParityError("uv is not installed, which asks the package index for releases; pip install uv")
    command = [uv, "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate", "--quiet"]
    command += ["--prerelease", "allow" if early else "disallow", "--python", sys.executable]
    ran = subprocess.run([str(part) for part in command], input=requirement, capture_output=True, text=True)
    if ran.returncode == 0:
        return ran.stdout.strip().rpartition("==")[2].partition(" ")[0]
    said = " ".join(ran.stderr.split())
    if "unsatisfiable" in said:
        return None
    raise ParityError(f"the package index was asked for {requirement} and gave no answer: {said}")


def bisection_to_json(bisection: Bisection) -> str:
    """Write a bisection as JSON."""
    return _adapter().dump_json(bisection, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a bisection (committed as parity/schemas/bisection.schema.json)."""
    return written_schema(_adapter(), "coreml-parity bisection")


@cache
def _adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Bisection)
