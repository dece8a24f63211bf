"""The journal of a run: its cases file, appended to as batches are done.

A run that was killed reads it again when it is started again, cuts off what is not a whole batch, or behind all
batches not a whole line that explains a failure, and goes on.

While it is written, `<journal>.lock` lies beside it and is locked. The system unlocks that file when its process
ends, however it ends: one that a killed run leaves there stops nobody, and goes with the next run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

from conversion.files.regular_files import MISSING, why_no_file
from conversion.files.whole_file import write_whole_file
from parity.core.destination import is_torn_header
from parity.core.errors import ParityError
from parity.stream.cases_file import parse_header, read_explained
from parity.stream.identity import tell_difference
from parity.stream.job import Shard
from parity.stream.lines import Explained, Header, Line, to_explained_line, to_line
from parity.stream.stamps import DIGEST

# What has been written survives the end of the process; that of the machine may cost this many seconds.
_SYNC_SECONDS = 2.0
_CHUNK = 2**20


class Journal:
    """Append to a cases file.

    done: how many of the shard's batches it had when it was opened, and has since; explained: which failures.
    contents: the digests of the images that it had, one after the other.
    """

    def __init__(
        self, path: Path, file: IO[bytes], done: int, explained: Sequence[Explained] = (), contents: bytes = b""
    ) -> None:
        self.done = done
        self.contents = contents
        self.explained = list(explained)
        self._path, self._file = path, file
        self._synced = time.monotonic()

    def append(self, lines: Sequence[Line]) -> None:
        """Add a whole batch."""
        self._write(b"".join(to_line(line) for line in lines))
        self.done += 1
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def explain(self, explained: Explained) -> None:
        """Add why an artefact fails, behind the last batch."""
        self._write(to_explained_line(explained))
        self.explained.append(explained)
        self.sync()

    def sync(self) -> None:
        """Wait until the disk has it."""
        with _named(self._path):
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _write(self, content: bytes) -> None:
        with _named(self._path):
            self._file.write(content)
            self._file.flush()


@contextmanager
def open_journal(
    path: Path,
    header: Header,
    fresh: bool = False,
    check: Callable[[int, bytes], None] = lambda done, contents: None,
) -> Iterator[Journal]:
    """Open the journal of a run and go on behind its last whole batch; only one process may at a time.

    check: called with how many batches are done and the digests of their images, before anything is written.
    A file of another run is a ParityError, unless `fresh` starts it anew; see parity.stream.identity.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_writer(path))
        file = stack.enter_context(_opened(path))
        first = file.readline()
        done, explained, contents = 0, list[Explained](), b""
        if not (fresh or first.endswith(b"\n") or is_torn_header(first)):
            raise ParityError(f"{path}: not a cases file, and not the beginning of one; give another --json")
        if fresh or not first.endswith(b"\n"):
            file.seek(0)
            file.truncate()
            with _named(path):
                file.write(header.to_json())
                file.flush()
        else:
            _check_same(path, first, header)
            end, done, contents = _whole_batches(file, header, len(first))
            check(done, contents)
            if first != header.to_json():
                file.seek(len(first))
                end += len(header.to_json()) - len(first)
                with _named(path):
                    write_whole_file(path, chain([header.to_json()], iter(partial(file.read, _CHUNK), b"")))
                file = stack.enter_context(_opened(path))
            file.seek(end)
            if done == len(header.batches):
                for explanation in read_explained(header, iter(file.readline, b"")):
                    explained.append(explanation)
                    end = file.tell()
            file.seek(end)
            file.truncate()
        journal = Journal(path, file, done, explained, contents)
        journal.sync()
        try:
            yield journal
        finally:
            journal.sync()


def is_finished(path: Path) -> bool:
    """Say whether a file is the journal of a whole run that has all its batches."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        first = file.readline()
        header = parse_header(path, first)
        return header.shard == Shard() and _whole_batches(file, header, len(first))[1] == len(header.batches)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file cannot be written, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        raise ParityError(
            f"{path}: cannot be written ({error.strerror or error}); what is done is kept: start the same again "
            "once it can be"
        ) from error


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Keep other processes from a journal; while another has it, that is a ParityError."""
    from filelock import FileLock, Timeout

    # Not the journal itself: some versions of filelock empty what they lock. Two links to a journal have one lock.
    lock = FileLock(f"{os.path.realpath(path)}.lock")
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            message = f"{path}: another run writes it; wait for its end, or give another --json"
            raise ParityError(message) from error
    try:
        yield
    finally:
        # While it is locked: a run that opened it before finds that it is gone, and does not take it for a lock.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a journal to read and write, and create it where it is missing."""
    if (why := why_no_file(path)) not in ("", MISSING):
        raise ParityError(f"{path}: {why}")
    with _named(path):
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        yield file
    finally:
        # Whatever matters is on the disk by now. Where that failed, the rest of it cannot be written here either.
        with suppress(OSError):
            file.close()


def _check_same(path: Path, first: bytes, header: Header) -> None:
    if differs := tell_difference(parse_header(path, first), header):
        raise ParityError(f"{path}: is of another run: {differs}; --fresh starts it anew")


def _whole_batches(file: IO[bytes], header: Header, start: int) -> tuple[int, int, bytes]:
    """Find the end of the last whole batch, how many there are, and the digests of their images."""
    end, place = start, start
    contents = bytearray()
    for done, number in enumerate(header.batches):
        batch = bytearray()
        for index in header.places(number):
            text = file.readline()
            place += len(text)
            try:
                line = json.loads(text)
                whole = text.endswith(b"\n") and line["index"] == index
                batch += bytes.fromhex(line.get("content", "")).ljust(DIGEST, b"\0")[:DIGEST]
            except (ValueError, TypeError, LookupError):  # what a machine that lost its power left
                whole = False
            if not whole:
                return end, done, bytes(contents)
        end = place
        contents += batch
    return end, len(header.batches), bytes(contents)
