"""An audit in the terminal: per leg a table of faults, then what to add to the suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.audit.findings import Audit, AuditLeg, MutantFinding
from parity.audit.probes import KINDS
from parity.report.faults import where_to_read

if TYPE_CHECKING:
    from rich.console import Console

# Kinds of advice that are no kind of image.
_SETTINGS = {
    "tolerance": "a tighter tolerance",
    "classes": "images of more classes",
    "batch": "a run with a second batch size",
    "size": "a run with another size of the images",
    "route": "a route that computes in fp32",
}
_COLOURS = {"caught": "green", "missed": "red", "equivalent": "dim", "not applicable": "dim"}


def print_audit(audit: Audit, console: Console) -> None:
    """Print for every leg which faults its images and tolerance catch, and what would catch the rest."""
    from rich.text import Text

    for leg in audit.legs:
        console.print(Text(_heading(leg), "bold" if leg.audited else "yellow"), soft_wrap=True)
        if leg.audited:
            _print_table(leg, console)
            for line in (*_missed(leg), *_silent(leg)):
                console.print(line, soft_wrap=True)
            console.print()
    missed = (mutant.fault for leg in audit.legs for mutant in leg.mutants if mutant.verdict == "missed")
    for line in (*_to_add(audit), *where_to_read(missed), _last_line(audit)):
        console.print(line, soft_wrap=True)


def _heading(leg: AuditLeg) -> str:
    where = f"{leg.model} by {leg.route} on {leg.backend}"
    if not leg.audited:
        known = f" (known issue: {shown(leg.known_issue.reason)})" if leg.known_issue else ""
        return f"{where}: not audited: {leg.verdict}{known}{f': {shown(leg.reason)}' if leg.reason else ''}"
    said = f"{where}: {leg.images} image(s), {leg.tolerance:.1e} allowed"
    return f"{said}; before any fault: {leg.verdict}{f': {shown(leg.reason)}' if leg.reason else ''}"


def _print_table(leg: AuditLeg, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("fault", no_wrap=True)
    table.add_column("what was done", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("max |Δp|", justify="right", no_wrap=True)
    table.add_column("most on", overflow="fold")
    for mutant in leg.mutants:
        if mutant.verdict in ("caught", "missed"):
            table.add_row(
                mutant.fault,
                shown(mutant.told),
                Text(_verdict(mutant, leg.images), _COLOURS[mutant.verdict]),
                "" if mutant.max_abs_diff is None else f"{mutant.max_abs_diff:.1e}",
                shown(mutant.worst),
            )
    console.print(table)


def _verdict(mutant: MutantFinding, images: int) -> str:
    if mutant.verdict == "missed":
        return "missed"
    return f"caught by {len(mutant.caught_by)} of {images}" if mutant.caught_by else "caught in fp32"


def _missed(leg: AuditLeg) -> Iterator[str]:
    """Tell every missed fault with its advice; faults that the same thing catches share it."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for mutant in leg.mutants:
        if mutant.verdict == "missed":
            advices = tuple(_advice(one.told, one.verified) for one in mutant.advice)
            name = f"{mutant.fault} ({shown(mutant.told)})"
            shared.setdefault(advices, []).append(name)
    for advices, names in shared.items():
        for name in names:
            yield f"missed: {name}"
        for index, line in enumerate(advices or ("nothing that was tried catches it",)):
            yield f"  {'or ' if index else ''}{line}"


def _advice(advice: str, verified: bool) -> str:
    return shown(advice) if verified else f"{shown(advice)} (not tried)"


def _silent(leg: AuditLeg) -> Iterator[str]:
    """Name the mutants that say nothing of the suite; reasons that several share, once."""
    for verdict in ("equivalent", "not applicable"):
        reasons: dict[str, list[str]] = {}
        for mutant in leg.mutants:
            if mutant.verdict == verdict:
                reasons.setdefault(mutant.reason, []).append(mutant.fault)
        for reason, faults in reasons.items():
            yield f"{verdict}: {', '.join(dict.fromkeys(faults))}: {shown(reason)}"


def _to_add(audit: Audit) -> Iterator[str]:
    """Say what catches most of what is missed, over all legs: of each fault the first advice."""
    wanted: dict[str, dict[str, None]] = {}
    for leg in audit.legs:
        for mutant in leg.mutants:
            if mutant.verdict == "missed" and mutant.advice:
                first = mutant.advice[0]
                what = KINDS.get(first.kind, _SETTINGS.get(first.kind, first.kind))
                where = f" for {leg.model} by {leg.route}" if first.kind == "tolerance" else ""
                wanted.setdefault(f"{what}{where}", {})[mutant.fault] = None
    if wanted:
        yield "to catch what is missed, add:"
    for what, faults in wanted.items():
        yield f"  {what}: {', '.join(faults)}"


def _last_line(audit: Audit) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in audit.summary.items() if count)
    answer = {
        0: "every fault that does anything is caught",
        1: "not every fault is caught" if audit.summary["missed"] else "not every leg agrees in the first place",
        3: "nothing could be mutated",
    }[audit.exit_code]
    return f"{answer}: {counts or 'no mutants'}"


def shown(text: str) -> str:
    """Escape what a terminal would obey: labels and names of files come from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
