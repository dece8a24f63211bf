"""Directories to build in, beside where the result is to lie; what killed processes left of theirs is removed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The name of a result, which ends in twelve digits of its key, and what mkdtemp puts behind it.
_SCRATCH = re.compile(r"(?P<home>.+-[0-9a-f]{12})\.[a-z0-9_]{8}")


@contextmanager
def scratch_beside(home: Path) -> Iterator[Path]:
    """Give a directory beside `home`, which is removed afterwards, unless it was moved into place.

    The caller holds the lock `<home>.lock` as long: who gets it knows that no process builds the same any more.
    """
    _sweep(home)
    scratch = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=home.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(home: Path) -> None:
    """Remove the directories of processes that were killed, whatever they built: one that lives holds its lock."""
    from filelock import FileLock, Timeout

    for path in home.parent.iterdir():
        match = _SCRATCH.fullmatch(path.name)
        if not match or not path.is_dir():
            continue
        if match["home"] == home.name:
            shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            with FileLock(home.with_name(f"{match['home']}.lock"), timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        except (Timeout, OSError):
            continue
