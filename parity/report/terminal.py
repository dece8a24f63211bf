"""A run as a table in the terminal; plain text where the output is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from parity.core.results import Run
from parity.report.faults import where_to_read
from parity.report.text import visible_lines
from parity.report.view import AccuracyView, RunView, make_view

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"pass": "green", "fail": "red", "error": "red", "inconclusive": "yellow", "skipped": "dim"}
# Without a terminal there is no width to fit: a log or a README wants lines that are neither wrapped nor cut.
_WIDTH_OF_FILES = 10_000
# How many of the classes that lose most are named; the page has more.
_CLASSES = 3


def make_console(file: IO[str] | None = None) -> Console:
    """Make the console that reports are printed to; what a terminal would obey in a text is spelt out."""
    from rich.console import Console
    from rich.text import Text

    class SafeConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str("\n".join(visible_lines(text)), **options)

    stream = file or sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_FILES
    # Names are the user's: [red] and :cat: in them mean themselves.
    return SafeConsole(file=stream, width=width, markup=False, emoji=False, highlight=False)


def print_run(run: Run, console: Console, explain: bool = True) -> None:
    """Print who agrees with PyTorch, then why the others do not, unless that is said elsewhere."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    view = make_view(run)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # In a narrow terminal the names break, over two lines; a number or a verdict that is cut says nothing.
    for heading in ("model", "route", "backend"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("images", *view.headings, "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in view.subjects:
        table.add_row(
            s.model,
            f"{s.way} ({s.precision})",
            s.backend,
            Text(s.told, _COLOURS[s.verdict]),
            str(s.images) if s.images else "",
            s.top1,
            s.max_abs_diff_told,
            s.tolerance_told,
        )
    console.print(table)
    for line in (*_remarks(view, explain), *view.stale, view.told):
        console.print(line, soft_wrap=True)


def _remarks(view: RunView, explain: bool) -> Iterator[str]:
    """Explain what did not pass; subjects skipped for one reason share a line."""
    yield from ("\n".join(s.explanation) for s in view.subjects if explain and s.explanation)
    yield from where_to_read(cause.fault for s in view.subjects for cause in s.causes)
    yield from dict.fromkeys(
        f"{s.model} by {s.way}: {remark}" for s in view.subjects if not s.explanation for remark in s.remarks
    )
    yield from (f"known issue: {s.known_reason} {s.known_link}".rstrip() for s in view.subjects if s.known)
    yield from (f"skipped {len(group.legs)} × {group.backend}: {group.reason}" for group in view.skipped)
    yield from view.recorded
    yield from (f"{s.title}: {s.envelope}" for s in view.subjects if s.envelope)
    yield from (f"{s.title}: {line}" for s in view.subjects if s.accuracy for line in _accuracy(s.accuracy))
    yield from (f"{s.title}: gate on accuracy: {s.gate.verdict}: {s.gate.told}" for s in view.subjects if s.gate)
    if view.unreadable:
        yield view.unreadable
    if view.ties:
        yield f"{view.ties} tie(s): another top-1, but the two labels are nearer than the tolerance"


def _accuracy(accuracy: AccuracyView) -> Iterator[str]:
    yield from (f"{side} is right on {top1}, within five on {top5}" for side, top1, top5, _ in accuracy.sides)
    yield f"candidate against PyTorch: {accuracy.change}"
    yield from accuracy.selective
    if accuracy.losing:
        yield f"{accuracy.losing_told}: {'; '.join(_losing(row) for row in accuracy.losing[:_CLASSES])}"


def _losing(row: tuple[str, ...]) -> str:
    label, images, first, second, loss = row
    return f"{label} {loss} ({first} of {images} images by PyTorch alone, {second} by the candidate alone)"
