"""The journal of a run: its cases file, appended to as batches are done.

A run that was killed reads it again when it is started again, cuts off what is not a whole batch, or behind all
batches not a whole line that explains a failure, and goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from conversion.files.regular_files import MISSING, why_no_file
from parity.core.destination import is_torn_header
from parity.core.errors import ParityError
from parity.stream.cases_file import parse_header, read_explained
from parity.stream.identity import tell_difference
from parity.stream.job import Shard
from parity.stream.lines import Explained, Header, Line, to_explained_line, to_line
from parity.stream.stamps import DIGEST

# What has been written survives the end of the process; that of the machine may cost this many seconds.
_SYNC_SECONDS = 2.0


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

    def explain(self, found: Explained) -> None:
        """Add why an artefact fails, behind the last batch."""
        self._write(to_explained_line(found))
        self.explained.append(found)
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
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _locked(path)
        stack.callback(_close, file)
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
                    file = _with_header(path, file, header)
                stack.callback(_close, file)
            file.seek(end)
            if done == len(header.batches):
                for found in read_explained(header, iter(file.readline, b"")):
                    explained.append(found)
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


def _close(file: IO[bytes]) -> None:
    # Whatever matters is on the disk by now. Where that failed, the rest of it cannot be written here either.
    with suppress(OSError):
        file.close()


def _locked(path: Path) -> IO[bytes]:
    if (why := why_no_file(path)) not in ("", MISSING):
        raise ParityError(f"{path}: {why}")
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ParityError(f"{path}: another run writes it; wait for its end, or give another --json") from error
    return file


def _with_header(path: Path, file: IO[bytes], header: Header) -> IO[bytes]:
    """Put another header of the same run before what is done; the file is whole at every moment."""
    partial = path.with_name(f"{path.name}.part")
    renewed = _locked(partial)
    try:
        renewed.truncate()
        renewed.write(header.to_json())
        shutil.copyfileobj(file, renewed)
        renewed.flush()
        os.fsync(renewed.fileno())
        partial.replace(path)
    except BaseException:
        _close(renewed)
        partial.unlink(missing_ok=True)
        raise
    return renewed


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
