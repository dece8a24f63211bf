"""Progress bars for long work on a terminal; elsewhere nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float | None], None]]:
    """Show what is being done, and how much of the work is behind it.

    Call the result with a description and the share that is done, 0..1, or None where that is not known.
    """
    if not sys.stderr.isatty():
        yield lambda message, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with (
        _screen() as screen,
        Progress(*columns, console=Console(file=screen, force_terminal=True), transient=True) as bar,
    ):
        task = bar.add_task("starting", total=None)

        def show(message: str, share: float | None) -> None:
            bar.update(task, description=message, completed=share or 0, total=None if share is None else 1)

        yield show


@contextmanager
def counting_bar(what: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show what is being done, how many of how many are done, how many a second, and how long the rest will take.

    Call the result with a description, the number that is done, and the number of all, or None where there is none.
    """
    if not sys.stderr.isatty():
        yield lambda message, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Counted(TextColumn):
        """Tell nothing of work that is not counted."""

        def __init__(self) -> None:
            super().__init__("", markup=False)

        def render(self, task: Task) -> Text:
            rate = f", {task.speed:.1f}/s" if task.speed else ""
            done = int(task.completed)
            return Text("" if task.total is None else f"{done} of {int(task.total)} {what}{rate}")

    columns = (
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        Counted(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with (
        _screen() as screen,
        Progress(*columns, console=Console(file=screen, force_terminal=True), transient=True) as bar,
    ):
        task = bar.add_task("starting", total=None)

        def show(message: str, done: int, total: int | None) -> None:
            bar.update(task, description=message, completed=done, total=total)

        yield show


def _screen() -> AbstractContextManager[IO[str]]:
    """Open the terminal by a descriptor of its own: while a converter runs, stderr leads to a log file."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except OSError:  # a stream in memory
        return nullcontext(sys.stderr)
    return os.fdopen(descriptor, "w", encoding=sys.stderr.encoding)
