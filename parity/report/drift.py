"""What became of stored answers, in the terminal: a table, then what somebody has to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.versions.baselines import ACCEPT_BY_COMMAND, KINDS
from parity.versions.drift import Drift, Drifts

if TYPE_CHECKING:
    from rich.console import Console

_LISTED = 5  # images of one leg; what moves them is most often the same for all


def print_check(drifts: Drifts, console: Console) -> None:
    """Print what became of every leg, then the changes that matter, each beside what else changed since."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model", "route", "backend", "since the baseline"):
        table.add_column(heading, overflow="fold")
    table.add_column("max |Δp|", justify="right", no_wrap=True)
    for leg in drifts.legs:
        s = leg.subject
        apart = [change.max_abs_diff for change in leg.changes.values() if change.max_abs_diff is not None]
        state = Text(_state(leg), "red" if leg.matters else "")
        table.add_row(s.model, s.route, s.backend, state, f"{max(apart):.1e}" if apart else "")
    console.print(table)
    for line in (*_details(drifts), *_notes(drifts), _last_line(drifts)):
        console.print(line, soft_wrap=True)


def print_record(drifts: Drifts, console: Console) -> None:
    """Print which files were written, and why others were not."""
    for leg in drifts.legs:
        if leg.written:
            console.print(f"written: {leg.written}", soft_wrap=True)
        elif leg.kept is None and leg.subject.verdict != "skipped":
            console.print(f"not stored: {_where(leg)}: {leg.trouble or leg.subject.reason}", soft_wrap=True)
    for line in _notes(drifts):
        console.print(line, soft_wrap=True)
    written, kept = (sum(getattr(leg, name) is not None for leg in drifts.legs) for name in ("written", "kept"))
    console.print(f"{written} baseline(s) written, {kept} said the same already")


def _state(leg: Drift) -> str:
    if leg.changes:
        return ", ".join(f"{count} {kind}" for kind, count in leg.counts.items())
    if leg.trouble:
        return "lost"
    return "skipped" if leg.subject.verdict == "skipped" else "no baseline"


def _details(drifts: Drifts) -> Iterator[str]:
    for leg in drifts.legs:
        moved = [change.told for change in leg.changes.values() if change.matters]
        if leg.trouble:
            yield f"{_where(leg)}: {leg.trouble}"
        if moved:
            yield f"{_where(leg)}: {len(moved)} of {len(leg.changes)} answer(s) moved"
            yield from (f"  since then: {line}" for line in leg.since or ("nothing else that is stored",))
            yield from (f"  {line}" for line in moved[:_LISTED])
            if len(moved) > _LISTED:
                yield f"  and {len(moved) - _LISTED} more"


def _notes(drifts: Drifts) -> Iterator[str]:
    for leg in drifts.legs:
        yield from (f"{_where(leg)}: {c.told}" for c in leg.changes.values() if c.kind in ("new", "gone"))
    skipped = Counter((leg.subject.backend, leg.subject.reason) for leg in drifts.legs if _state(leg) == "skipped")
    yield from (f"skipped {count} × {backend}: {reason}" for (backend, reason), count in skipped.items())
    yield from (f"{path}: nothing in the suite uses this baseline" for path in drifts.unused)


def _last_line(drifts: Drifts) -> str:
    counts: Counter[str] = Counter()
    for leg in drifts.legs:
        counts.update(leg.counts)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "no answers"
    if drifts.exit_code == 3:
        what = "no image that has an answer of then and one of now" if counts else "no baseline of what runs here"
        return f"nothing to compare with: {what}; {ACCEPT_BY_COMMAND} stores them"
    if drifts.exit_code == 1:
        return f"answers moved: {listed}; to accept them: {ACCEPT_BY_COMMAND}"
    return f"answers are as stored: {listed}"


def _where(leg: Drift) -> str:
    return f"{leg.subject.model} by {leg.subject.route} on {leg.subject.backend}"
