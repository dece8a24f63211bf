"""What an attack is: a command on hostile input, and what must hold when it ends.

Each works in a copy of one small place (place.py): a suite with a tiny model, pictures, converted files, results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HOLDS, FAILS, REFUSED, INCONCLUSIVE = 0, 1, 2, 3
NOT_GREEN = frozenset({FAILS, REFUSED, INCONCLUSIVE})
ANY = frozenset({HOLDS, *NOT_GREEN})

Streams = Literal["read", "closed", "full", "head"]


@dataclass(frozen=True)
class Outcome:
    """Hold how a command ended.

    code: its exit code, negative for a signal; None where it did not end in time. peak: bytes of memory at most, of
    one process. changed: files of the place that were written, removed or replaced, by their names.
    """

    code: int | None
    seconds: float
    peak: int
    output: str
    errors: str
    changed: tuple[str, ...] = ()


def nothing(place: Path) -> None:
    """Leave the place as it is."""


def all_well(place: Path, outcome: Outcome) -> str:
    """Find nothing more to complain of."""
    return ""


@dataclass(frozen=True)
class Attack:
    """Describe an attack.

    name: family/what/where, of its own. command: `parity` or `pytest` with arguments, run in the place.
    prepare: lays the trap. codes: exit codes that hold. writes: names or globs of files that the command may write.
    check: says what else is wrong, empty where nothing is. streams: what standard output is; `closed`, `full` and
    `head` (its reader leaves after one line) need a process of their own, and so does what `alone` says.
    """

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None] = nothing
    codes: frozenset[int] = frozenset({REFUSED})
    writes: tuple[str, ...] = ()
    check: Callable[[Path, Outcome], str] = all_well
    streams: Streams = "read"
    alone: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Return the first part of the name."""
        return self.name.partition("/")[0]
