"""The mark beside results that are being written: there from before the work until they are written.

A process that is killed, or whose user's code calls `os._exit(0)`, says nothing at its end. Results of an earlier
run, in the place where it was to write its own, would be taken for those.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from parity.core.errors import ParityError

SUFFIX = ".unfinished"


def mark_of(results: Path) -> Path:
    """Name the mark of a file of results."""
    target = Path(os.path.realpath(results))  # Path.resolve raises on a loop of links
    return target.with_name(target.name + SUFFIX)


def mark_unfinished(files: Iterable[Path | None]) -> None:
    """Mark files as being written; what is no file, a pipe or a device, can hold nothing of an earlier run."""
    for file in files:
        if file is not None and (file.is_file() or not file.exists()):
            mark_of(file).write_text(
                f"The run that was to write {file.name} did not come to its end, so what is there, if anything is, "
                "is of an earlier one.\nRun it again; or remove this file, and the results count as they are.\n",
                encoding="utf-8",
            )


def mark_finished(files: Iterable[Path | None]) -> None:
    """Remove the marks of files that were written."""
    for file in files:
        if file is not None:
            mark_of(file).unlink(missing_ok=True)


def refuse_unfinished(results: Path) -> None:
    """Raise ParityError where the run that was to write these results did not come to its end."""
    mark = mark_of(results)
    if mark.is_file():
        raise ParityError(
            f"{results}: the run that was to write it was stopped, or its process ended, before it did; run it "
            f"again, or remove {mark.name} beside it to take what is there as it is"
        )
