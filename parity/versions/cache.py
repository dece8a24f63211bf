"""What `.parity` holds: converted models and environments of tool chains, what they take, and how to free it.

    directory --kept--> Kept, one for each --to_free--> those that a user names --free--> bytes

Only what this package wrote is listed, by the mark that it left inside; nothing else is ever removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from conversion.files.digests import FILE as DIGESTS
from parity.core.errors import ParityError
from parity.versions.toolchain_environment import STATE

Kind = Literal["environment", "artifact"]
Choice = Literal["all", "environments", "artifacts", "older-than"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
# Of the directory of artefacts; the others are models.
TOOLCHAINS = "toolchains"
DAY = 24 * 60 * 60

# A result's name ends in twelve digits of its key, and a number where others have the same; in the place of the
# number, what was still being made when a process was killed has what mkdtemp gives.
_NAME = re.compile(r"(?P<home>.+-[0-9a-f]{12})(-\d+|(?P<scratch>\.[a-z0-9_]{8}))?")


@dataclass(frozen=True)
class Kept:
    """Name one directory of the cache. size: bytes on the disk. made: when, in seconds since 1970."""

    path: Path
    kind: Kind
    size: int
    made: float


def kept(directory: Path) -> tuple[Kept, ...]:
    """List what lies in a directory of artefacts, the largest first; a directory that is not there holds nothing.

    A link is no part of the cache, wherever it leads.
    """
    if not directory.exists():
        return ()
    if not directory.is_dir():
        raise ParityError(f"{directory}: is a file; give the directory where converted models are kept (.parity)")
    return tuple(sorted(_kept(directory), key=lambda one: (-one.size, str(one.path))))


def to_free(listed: Iterable[Kept], choice: Choice, days: float | None, now: float) -> tuple[Kept, ...]:
    """Choose what is to go. days: of `older-than`, since it was made; now: in seconds since 1970."""
    kinds: dict[str, Kind] = {"environments": "environment", "artifacts": "artifact"}
    if choice == "older-than":
        limit = now - (days or 0) * DAY
        return tuple(one for one in listed if one.made < limit)
    return tuple(one for one in listed if choice == "all" or one.kind == kinds[choice])


def free(chosen: Iterable[Kept]) -> tuple[tuple[Kept, ...], tuple[str, ...]]:
    """Remove directories of the cache; returns those that are gone, and a line for each that could not go."""
    from filelock import FileLock, Timeout

    gone: list[Kept] = []
    left: list[str] = []
    for one in chosen:
        try:
            with FileLock(lock := _lock(one.path), timeout=0):
                shutil.rmtree(one.path)
                lock.unlink(missing_ok=True)  # some systems remove no file that is open
        except Timeout:
            left.append(f"{one.path}: another process is making it; it stays")
        except OSError as error:
            left.append(f"{one.path}: cannot be removed whole, {error.strerror or error}")
        else:
            gone.append(one)
            with suppress(OSError):  # others lie there
                one.path.parent.rmdir()
    return tuple(gone), tuple(left)


def _kept(directory: Path) -> Iterator[Kept]:
    for group in directory.iterdir():
        if not group.is_symlink() and group.is_dir():
            for path in group.iterdir():
                if not path.is_symlink() and path.is_dir() and (kind := _kind(path)):
                    yield Kept(path, kind, _size(path), path.lstat().st_mtime)


def _kind(path: Path) -> Kind | None:
    """Say what this package made a directory for; None: it is not ours."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    if (path / STATE).is_file():
        return "environment"
    if (path / DIGESTS).is_file():
        return "artifact"
    if name["scratch"] and _lock(path).is_file():
        return "environment" if path.parent.name == TOOLCHAINS else "artifact"
    return None


def _lock(path: Path) -> Path:
    """Name the file that is locked while something is made: one for all that has the same key."""
    name = _NAME.fullmatch(path.name)
    return path.with_name(f"{name['home'] if name else path.name}.lock")


def _size(directory: Path) -> int:
    """Add up what the files take on the disk; a file of several names counts once, a link as itself."""
    files: dict[tuple[int, int], os.stat_result] = {}
    with suppress(OSError):  # it went meanwhile
        for path in directory.rglob("*"):
            status = path.lstat()
            files[status.st_dev, status.st_ino] = status
    return sum(getattr(status, "st_blocks", -(-status.st_size // 512)) * 512 for status in files.values())
