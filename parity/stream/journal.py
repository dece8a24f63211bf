"""The journal of a run: its cases file, appended to as batches are done.

A run that was killed reads it again when it is started again, cuts off what is not a whole batch, or behind all
batches not a whole line that explains a failure, and goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from parity.errors import ParityError
from parity.stream.cases_file import (
    Explained,
    Header,
    Line,
    parse_header,
    read_explained,
    to_explained_line,
    to_line,
)

# What has been written survives the end of the process; that of the machine may cost this many seconds.
_SYNC_SECONDS = 2.0


class Journal:
    """Append to a cases file. done: how many of the shard's batches it has; explained: which failures."""

    def __init__(self, file: IO[bytes], done: int, explained: Sequence[Explained] = ()) -> None:
        self.done = done
        self.explained = list(explained)
        self._file = file
        self._synced = time.monotonic()

    def append(self, lines: Sequence[Line]) -> None:
        """Add a whole batch."""
        self._file.write(b"".join(to_line(line) for line in lines))
        self._file.flush()
        self.done += 1
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def explain(self, found: Explained) -> None:
        """Add why an artefact fails, behind the last batch."""
        self._file.write(to_explained_line(found))
        self._file.flush()
        self.explained.append(found)
        self.sync()

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


@contextmanager
def open_journal(path: Path, header: Header, fresh: bool = False) -> Iterator[Journal]:
    """Open the journal of a run and go on behind its last whole batch; only one process may at a time.

    A file of another run is a ParityError, unless `fresh` starts it anew.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ParityError(f"{path}: another run writes it; wait for its end, or give another --json") from error
        first = file.readline()
        done, explained = 0, list[Explained]()
        if fresh or not first.endswith(b"\n"):
            file.seek(0)
            file.truncate()
            file.write(header.to_json())
        else:
            _check_same(path, first, header)
            end, done = _whole_batches(file, header, len(first))
            file.seek(end)
            if done == len(header.batches):
                for found in read_explained(header, iter(file.readline, b"")):
                    explained.append(found)
                    end = file.tell()
            file.seek(end)
            file.truncate()
        file.flush()
        os.fsync(file.fileno())
        journal = Journal(file, done, explained)
        try:
            yield journal
        finally:
            journal.sync()


def first_difference(there: Any, here: Any, place: str = "") -> str:
    """Name the first place where two JSON values differ, and what they have there; empty where they are equal."""
    if type(there) is type(here) and isinstance(there, dict) and there.keys() == here.keys():
        parts = ((f"{place}.{key}", there[key], here[key]) for key in there)
        return next(filter(None, (first_difference(a, b, where.lstrip(".")) for where, a, b in parts)), "")
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return next(filter(None, (first_difference(a, b, f"{place}.{i}") for i, (a, b) in pairs)), "")
    if there == here:
        return ""
    told = [json.dumps(value, ensure_ascii=False) for value in (there, here)]
    short = [text if len(text) <= 60 else f"{text[:60]}..." for text in told]
    return f"{place} is {short[0]} there and {short[1]} here"


def _check_same(path: Path, first: bytes, header: Header) -> None:
    there = parse_header(path, first)
    if there != header:
        differs = first_difference(*(json.loads(one.to_json()) for one in (there, header)))
        raise ParityError(f"{path}: is of another run: {differs}; --fresh starts it anew")


def _whole_batches(file: IO[bytes], header: Header, start: int) -> tuple[int, int]:
    """Find the end of the last whole batch, and how many there are."""
    end, place = start, start
    for done, number in enumerate(header.batches):
        for index in header.places(number):
            text = file.readline()
            place += len(text)
            try:
                whole = text.endswith(b"\n") and json.loads(text)["index"] == index
            except (ValueError, TypeError, LookupError):  # what a machine that lost its power left
                whole = False
            if not whole:
                return end, done
        end = place
    return end, len(header.batches)
