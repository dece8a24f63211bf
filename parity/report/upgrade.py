"""What an upgrade changes, in the terminal: a table, then the reasons, then what differs between the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.core.compare import tell_causes
from parity.versions.upgrade import Upgrade, UpgradeLeg
from parity.versions.upgrade_verdicts import REGRESSIONS

if TYPE_CHECKING:
    from rich.console import Console

    from parity.core.results import Subject
    from parity.versions.bisect import Bisection
    from parity.versions.upgrade_verdicts import SideState

_COLOURS = {
    "better": "green",
    "same": "",
    "worse": "red",
    "broken": "red",
    "inconclusive": "yellow",
    "untried": "yellow",
    "skipped": "dim",
}
_LISTED = 8  # lines of one file's changes; the JSON file has them all


def print_upgrade(upgrade: Upgrade, console: Console) -> None:
    """Print who got better or worse, why, and what changed in the files."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for side in (upgrade.old, upgrade.new):
        if side != "installed":
            listed = ", ".join(f"{name} {version}" for name, version in upgrade.packages[side].items())
            console.print(f"{side}: {listed or 'as installed'}", soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model", "route", "runtime"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("to PyTorch before", "after", "allowed", "old to new", "flips"):
        table.add_column(heading, justify="right", no_wrap=True)
    for leg in upgrade.legs:
        table.add_row(
            leg.model,
            leg.route,
            leg.backend,
            Text(f"{leg.verdict} (known)" if leg.known_issue else leg.verdict, _COLOURS[leg.verdict]),
            _distance(leg.old, leg.before),
            _distance(leg.new, leg.after),
            _number(leg.new.tolerance or leg.old.tolerance),
            _number(leg.max_abs_diff),
            "" if leg.flips is None else str(leg.flips),
        )
    console.print(table)
    for line in (*_reasons(upgrade), *_changes(upgrade), *upgrade.remarks, _last_line(upgrade)):
        console.print(line, soft_wrap=True)


def _distance(subject: Subject, state: SideState) -> str:
    if subject.max_abs_diff is None:
        return "" if state == "skipped" else state
    flips = sum(case.verdict == "flip" for case in subject.cases)
    return f"{_number(subject.max_abs_diff)}{f', {flips} flips' if flips else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _reasons(upgrade: Upgrade) -> Iterator[str]:
    skipped: dict[str, int] = {}
    for leg in upgrade.legs:
        if leg.verdict == "skipped":
            skipped[leg.reason] = skipped.get(leg.reason, 0) + 1
        elif leg.verdict != "same" or leg.reason:
            yield f"{leg.model} by {leg.route}: {leg.verdict}: {leg.reason}"
            if leg.known_issue:
                yield f"  known issue: {leg.known_issue.reason} {leg.known_issue.link}".rstrip()
            yield from (f"  {line}" for line in leg.said)
            for side, subject in (("before", leg.old), ("after", leg.new)):
                yield from (f"  {side}: {line.strip()}" for line in tell_causes(subject))
    yield from (f"skipped {count} ×: {reason}" for reason, count in skipped.items())


def _changes(upgrade: Upgrade) -> Iterator[str]:
    """List what differs between the files; models for which the same lines hold share them."""
    shared: dict[tuple[str, ...], list[UpgradeLeg]] = {}
    for leg in upgrade.legs:
        shared.setdefault(leg.changes, []).append(leg)
    for changes, legs in shared.items():
        names = ", ".join(f"{leg.model} by {leg.route}" for leg in legs)
        if changes:
            yield f"{names}: in the file"
            yield from (f"  {line}" for line in changes[:_LISTED])
            if len(changes) > _LISTED:
                yield f"  and {len(changes) - _LISTED} more; --json writes them all"
        elif compared := [leg for leg in legs if leg.verdict in ("same", *REGRESSIONS, "better") and not leg.said]:
            yield f"the same file but for notes: {', '.join(f'{leg.model} by {leg.route}' for leg in compared)}"


def _last_line(upgrade: Upgrade) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in upgrade.summary.items() if count)
    answer = {0: "nothing got worse", 1: "something got worse", 3: "nothing can be concluded"}[upgrade.exit_code]
    return f"{upgrade.old} -> {upgrade.new}: {answer}: {counts or 'nothing was compared'}"


def print_bisection(bisection: Bisection, console: Console) -> None:
    """Print how each release did that was tried, and which was the first bad and the first fixed one."""
    releases = bisection.releases
    trials = [trial for history in bisection.histories for trial in history.trials]
    tried = {trial.version for trial in trials if trial.state != "untried"}
    untried = {trial.version for trial in trials} - tried
    console.print(
        f"{bisection.package}: {len(releases)} releases from {releases[0]} to {releases[-1]}, "
        f"{len(tried)} tried{f', {len(untried)} cannot be tried here' if untried else ''}",
        soft_wrap=True,
    )
    for history in bisection.histories:
        console.print(f"{history.model} by {history.route} on {history.backend}: {history.told}", soft_wrap=True)
        reasons = ""
        for trial in history.trials:
            said = f": {trial.reason}" if trial.reason and trial.reason != reasons else ""
            reasons = trial.reason
            console.print(f"  {trial.version} {trial.state}{said}", soft_wrap=True)
    for remark in bisection.remarks:
        console.print(remark, soft_wrap=True)
