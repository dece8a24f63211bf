"""A run as a table in the terminal; plain text where the output is none."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from parity.compare import explain_failure, way
from parity.results import Run, Subject

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"pass": "green", "fail": "red", "error": "red", "inconclusive": "yellow", "skipped": "dim"}
# Without a terminal there is no width to fit: a log or a README wants lines that are neither wrapped nor cut.
_WIDTH_OF_FILES = 10_000


def make_console(file: IO[str] | None = None) -> Console:
    """Make the console that reports are printed to."""
    from rich.console import Console

    stream = file or sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_FILES
    # Names are the user's: [red] and :cat: in them mean themselves.
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def print_run(run: Run, console: Console, explain: bool = True) -> None:
    """Print who agrees with PyTorch, then why the others do not, unless that was told elsewhere."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # In a narrow terminal the names give way, over two lines; a number or a verdict that is cut says nothing.
    for heading in ("model", "route", "backend"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("images", "top-1", "max |Δp|", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in run.subjects:
        table.add_row(
            s.model,
            f"{way(s)} ({s.precision})",
            s.backend,
            Text(f"{s.verdict} (known)" if s.known_issue else s.verdict, _COLOURS[s.verdict]),
            str(s.images) if s.images else "",
            "" if s.top1_agreement is None else _percent(s.top1_agreement),
            "" if s.max_abs_diff is None else f"{s.max_abs_diff:.1e}",
            "" if s.tolerance is None else f"{s.tolerance:.1e}",
        )
    console.print(table)
    for line in (*_remarks(run.subjects, explain), *run.stale_known_issues, _last_line(run)):
        console.print(line, soft_wrap=True)


def _percent(share: float) -> str:
    """Round down: 100% is said of all images alone. The millionth keeps 29 of 100 from becoming 28%."""
    return f"{math.floor(100 * share + 1e-6)}%"


def _remarks(subjects: Sequence[Subject], explain: bool) -> list[str]:
    """Explain what did not pass; subjects skipped for one reason share a line."""
    lines = [explain_failure(s) for s in subjects if explain and s.verdict not in ("pass", "skipped")]
    lines += [
        f"known issue: {s.known_issue.reason} {s.known_issue.link}".rstrip() for s in subjects if s.known_issue
    ]
    skipped: dict[tuple[str, str], int] = {}
    for s in subjects:
        if s.verdict == "skipped":
            skipped[s.backend, s.reason] = skipped.get((s.backend, s.reason), 0) + 1
    lines += [f"skipped {count} × {backend}: {reason}" for (backend, reason), count in skipped.items()]
    ties = sum(case.verdict == "tie" for s in subjects for case in s.cases)
    if ties:
        lines.append(f"{ties} tie(s): another top-1, but the two labels are nearer than the tolerance")
    return lines


def _last_line(run: Run) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in run.summary.items() if count)
    if known := sum(s.known_issue is not None for s in run.subjects):
        counts += f" ({known} known)"
    told = {0: "parity holds", 1: "parity does not hold", 3: "nothing can be concluded"}[run.exit_code]
    return f"{told}: {counts or 'nothing was run'}"
