"""Artefacts run in a process of their own, which is ended when one takes too long: no file can hold up a run.

    with time_limit(TimeLimit(60)):
        find_backend("onnxruntime").load(artifact)(pixels)   # at most a minute, then an ArtifactEndedError

The process is parity/backends/worker.py. It starts with the first artefact and serves all that follow; a new one
follows where it had to be ended, or ended by itself.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from parity.errors import ParityError
from parity.results import Prediction

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from conversion import Artifact
    from parity.backends import Backend, Predict

LOG = logging.getLogger(__name__)

# What the worker's own imports may take, of PyTorch, say, from a cold disk; no file has a part in it.
_START_SECONDS = 600.0


@dataclass(frozen=True)
class TimeLimit:
    """Say how long an artefact may take on one backend, to be loaded and to answer the images that it is given.

    seconds: for all of it; infinite runs it in this process. per_image: more of them for each image.
    """

    seconds: float
    per_image: float = 0.0

    def for_images(self, count: int) -> float:
        """Return the seconds for so many images."""
        return self.seconds + self.per_image * count


# Ten minutes load the largest classifiers on a busy machine, and ten seconds are what the slowest backend,
# onnx-reference, takes for an image of theirs.
DEFAULT = TimeLimit(600.0, per_image=10.0)


class ArtifactEndedError(ParityError):
    """The artefact took longer than it may, or the process that ran it died: it has no answer."""


_limit = TimeLimit(math.inf)


@contextmanager
def time_limit(limit: TimeLimit | float | None) -> Iterator[None]:
    """Let every artefact that is run inside have so much time. None: as much as outside, which is any at first."""
    global _limit
    before = _limit
    if limit is not None:
        _limit = limit if isinstance(limit, TimeLimit) else TimeLimit(check_seconds(limit))
    try:
        yield
    finally:
        _limit = before


def check_seconds(seconds: float) -> float:
    """Return a time limit that was given, or refuse it."""
    if not seconds > 0:
        raise ParityError(f"a time limit of {seconds:g} s: give seconds above 0; `inf` is without a limit")
    return seconds


def current_limit() -> TimeLimit:
    """Return the limit that holds now, to take it into another process."""
    return _limit


def within_limit(name: str, backend: Backend) -> Backend:
    """Return a backend that loads and runs artefacts within the time limit that holds now."""
    return backend if math.isinf(_limit.seconds) else _Limited(name, backend, backend.FORMATS)


def load(name: str, artifact: Artifact, batch: int = 1, **options: Any) -> Predict:
    """Load an artefact on a backend within the time limit that holds now. options: of that backend's own load."""
    from parity.backends import find_backend

    if math.isinf(_limit.seconds):
        loaded: Predict = cast(Any, find_backend(name)).load(artifact, batch, **options)
        return loaded
    return _RemotePredict(_WORKER, name, artifact, batch, options, _limit)


def ended(name: str, artifact: Artifact) -> bool:
    """Say whether an artefact took too long on a backend, or ended the process that ran it."""
    return _key(name, artifact) in _ENDED


@dataclass
class _Limited:
    """Stand for a backend whose artefacts run in the worker."""

    name: str
    backend: Backend
    FORMATS: tuple[str, ...]

    def why_not(self) -> str | None:
        """Say what the backend says."""
        return self.backend.why_not()

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        """Load an artefact in the worker."""
        return load(self.name, artifact, batch)


# Backend, file and time of its last change -> what it was given, and what became of it. It would be the same again,
# and as long: in a hop of the route, in the next batch of a stream.
_ENDED: dict[tuple[str, str, int], tuple[TimeLimit, str]] = {}


def _key(name: str, artifact: Artifact) -> tuple[str, str, int]:
    path: Path = artifact.path.absolute()
    changed = 0
    with suppress(OSError):  # there is no such file: the backend says so
        changed = path.stat().st_mtime_ns
    return name, str(path), changed


class _RemotePredict:
    """A Predict that runs in the worker; loaded at once, and again where another artefact has ended the worker."""

    def __init__(
        self,
        worker: _Worker,
        name: str,
        artifact: Artifact,
        batch: int,
        options: dict[str, Any],
        limit: TimeLimit,
    ) -> None:
        self.worker, self.name, self.artifact, self.batch = worker, name, artifact, batch
        self.options, self.limit = options, limit
        self.number = next(worker.numbers)
        weakref.finalize(self, worker.dropped.append, self.number).atexit = False
        self.loaded_in = -1
        self.spent = 0.0
        self._load(0)

    def __call__(self, pixels: np.ndarray) -> Prediction:
        if self.loaded_in != self.worker.started:
            self._load(len(pixels))
        answer: Prediction = self._ask(("predict", self.number, pixels), len(pixels))
        self.spent = 0.0  # what loading took counts once
        return answer

    def _load(self, images: int) -> None:
        self.worker.prepare(self.name)
        self.spent = 0.0
        self._ask(("load", self.number, self.name, self.artifact, self.batch, self.options), images)
        self.loaded_in = self.worker.started

    def _ask(self, request: tuple[Any, ...], images: int) -> Any:
        key = _key(self.name, self.artifact)
        limit, told = _ENDED.get(key, (None, ""))
        if limit == self.limit:
            raise ArtifactEndedError(told)
        begun = time.monotonic()
        seconds = self.limit.for_images(images)
        try:
            return self.worker.ask(request, seconds - self.spent)
        except _TookTooLongError as error:
            shown = f", and to answer {images} image(s)" if images else ""
            told = (
                f"{self.artifact.path}: on {self.name} it took longer than {seconds:g} s to be loaded{shown}, and "
                "was ended; if it is sound and slow, give it more by --time-limit SECONDS (pytest: "
                "--parity-time-limit, Python: time_limit=)"
            )
            _ENDED[key] = self.limit, told
            raise ArtifactEndedError(told) from error
        except _DiedError as error:
            told = (
                f"{self.artifact.path}: the process that ran it on {self.name} {error}; the file is not run again"
            )
            _ENDED[key] = self.limit, told
            raise ArtifactEndedError(told) from error
        finally:
            self.spent += time.monotonic() - begun


class _TookTooLongError(Exception):
    """The worker did not answer in time, and was ended."""


class _DiedError(Exception):
    """The worker ended by itself; the message says how."""


@dataclass(frozen=True)
class _Process:
    """Hold a worker that runs: the connection to it, and the file of what it and the libraries in it print."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    log: IO[bytes]
    owner: int

    def end(self) -> None:
        """End it, and what it started."""
        self.connection.close()
        if self.owner == os.getpid():  # where this process was forked, it is another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        self.log.close()

    def how_it_died(self) -> str:
        """Say how it ended by itself, with the last that it said."""
        code = self.popen.wait()
        if code == -signal.SIGKILL:
            return "was ended by the system (SIGKILL), most likely because memory ran out"
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = " ".join(self.noise(0).strip().rpartition("\n")[2].split())
        return f"{how}: {last}" if last else how

    def noise(self, start: int) -> str:
        """Return what was printed from a place in the file on."""
        # Its own place in the file is where the process writes next.
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), max(size - start, 0), start).decode(errors="replace")


@dataclass
class _Worker:
    """Hold the process that runs artefacts, from when it is first asked; started: how many there have been."""

    started: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    # Numbers of artefacts that nobody needs any longer; sent with the next request.
    dropped: list[int] = field(default_factory=list)
    _process: _Process | None = None
    _prepared: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def prepare(self, name: str) -> None:
        """Let the worker import what a backend needs, so that this does not count as an artefact's time."""
        with self._lock:
            if self._process is None or name not in self._prepared:
                self.ask(("prepare", name), _START_SECONDS)
                self._prepared.add(name)

    def ask(self, request: tuple[Any, ...], seconds: float) -> Any:
        """Return the worker's answer, or raise what it raised."""
        with self._lock:
            process = self._process or self._start()
            heard = os.fstat(process.log.fileno()).st_size
            try:
                drop = [self.dropped.pop() for _ in range(len(self.dropped))]
                process.connection.send((drop, _surroundings(), request))
                if not process.connection.poll(max(seconds, 0.0)):
                    raise _TookTooLongError
                kind, answer = process.connection.recv()
            except (EOFError, OSError) as error:
                how = process.how_it_died()
                self.end()
                raise _DiedError(how) from error
            except BaseException:  # the time is over, or Ctrl-C: it must not go on alone
                self.end()
                raise
            if said := process.noise(heard).strip():
                LOG.debug("while it did %s, the worker said: %s", request[0], said)
        if kind == "answer":
            return answer
        if kind == "own":
            raise answer
        name, message, traceback = answer
        # A runtime's own class need not exist here: its name is what is told.
        error = type(name, (Exception,), {})(message)
        error.add_note(traceback)
        raise error

    def end(self) -> None:
        """End the process, if there is one; the next request starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _start(self) -> _Process:
        from multiprocessing import Pipe

        ours, theirs = Pipe()
        # A file, not a pipe: nobody has to empty it.
        log = tempfile.TemporaryFile()  # noqa: SIM115  closed by its end()
        with theirs:
            # As this process finds modules; -P: not what happens to lie where the user is.
            paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  "" is here
            popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "parity.backends.worker", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own children end with it
            )
        self._process = _Process(popen, ours, log, os.getpid())
        self._prepared.clear()
        self.started += 1
        return self._process


def _surroundings() -> tuple[int | None, str | None]:
    """Return what an answer depends on besides the request: PyTorch's number of threads, the current directory.

    The last bits of a sum depend on the threads; None where PyTorch is not loaded, or the directory is gone.
    """
    torch = sys.modules.get("torch")
    directory = None
    with suppress(OSError):
        directory = os.getcwd()  # noqa: PTH109  as text
    return (torch.get_num_threads() if torch else None), directory


_WORKER = _Worker()
atexit.register(_WORKER.end)
