"""Artefacts run in a process of their own, which is ended when one takes too long: no file can hold up a run.

    with time_limit(TimeLimit(60)):
        find_backend("onnxruntime").load(artifact)(pixels)   # at most a minute, then an ArtifactEndedError

The process is parity/backends/worker.py. It starts with the first artefact and serves all that follow; a new one
follows where it had to be ended, or ended by itself. Each slow backend has a process of its own, which runs beside
the others what was begun ahead.
"""

from __future__ import annotations

import atexit
import math
import os
import time
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from parity.backends.begun import BEGUN, Begun, forget_begun, take_begun
from parity.backends.worker_process import DiedError, TookTooLongError, Worker
from parity.core.errors import ParityError
from parity.core.memory import memory_limit
from parity.core.results import Prediction

if TYPE_CHECKING:
    from pathlib import Path

    from conversion import Artifact
    from parity.backends import About, Backend, Predict


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
        if math.isinf(before.seconds):
            forget_begun()


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
    if math.isinf(_limit.seconds):
        return backend
    memory_limit()  # what is wrong with it is told here, and not by a worker that does not start
    return _Limited(name, backend, backend.FORMATS, backend.ABOUT)


def load(name: str, artifact: Artifact, batch: int = 1, **options: Any) -> Predict:
    """Load an artefact on a backend within the time limit that holds now. options: of that backend's own load."""
    from parity.backends import find_backend

    if math.isinf(_limit.seconds):
        loaded: Predict = cast(Any, find_backend(name)).load(artifact, batch, **options)
        return loaded
    return _RemotePredict(_worker_of(name), name, artifact, batch, options, _limit)


def expect(names: Collection[str]) -> None:
    """Let the processes of the artefacts start with what backends need, while this one does something else."""
    if names and not math.isinf(_limit.seconds):
        memory_limit()  # what is wrong with it is told here, and not by a worker that does not start
        for name in names:
            _worker_of(name).expect([name])


def begin(name: str, artifact: Artifact, batch: int, pixels: np.ndarray) -> None:
    """Let an artefact be loaded and answer on a backend, while this process does something else.

    Whoever then loads it, and asks for these very pixels, gets that answer. Only an answer counts: what failed is
    run again when its turn comes, and nothing beside it, so that neither memory nor time is short for others' sake.
    Without a time limit, and on one processor, nothing is begun.
    """
    from parity.backends import find_backend

    if math.isinf(_limit.seconds) or (os.cpu_count() or 1) < 2 or ended(name, artifact):
        return
    if find_backend(name).why_not() is None:
        worker = _worker_of(name)
        begun = Begun(worker, name, artifact, batch, pixels, _limit, next(worker.numbers))
        BEGUN.append(begun)
        request = ("answer", begun.number, name, artifact, batch, pixels)
        worker.begin(name, begun.number, request, _limit.for_images(len(pixels)))


def ended(name: str, artifact: Artifact) -> bool:
    """Say whether an artefact took too long on a backend, or ended the process that ran it."""
    return _key(name, artifact) in _ENDED


@dataclass
class _Limited:
    """Stand for a backend whose artefacts run in the worker."""

    name: str
    backend: Backend
    FORMATS: tuple[str, ...]
    ABOUT: About

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
        worker: Worker,
        name: str,
        artifact: Artifact,
        batch: int,
        options: dict[str, Any],
        limit: TimeLimit,
    ) -> None:
        self.worker, self.name, self.artifact, self.batch = worker, name, artifact, batch
        self.options, self.limit = options, limit
        self.loaded_in = -1
        self.spent = 0.0
        # What it was asked ahead, and answered.
        self.known: tuple[np.ndarray, Prediction] | None = None
        begun = None if options else take_begun(name, artifact, batch, limit)
        self.number = begun.number if begun else next(worker.numbers)
        weakref.finalize(self, worker.dropped.append, self.number).atexit = False
        if begun and (answered := worker.answer_to(begun.number)):
            self.loaded_in, self.known = answered[0], (begun.pixels, answered[1])
            return
        if begun:
            for one in _workers():
                one.finish()
        self._load(0)

    def __call__(self, pixels: np.ndarray) -> Prediction:
        known, self.known = self.known, None
        if known and known[0] is pixels:
            return known[1]
        if self.loaded_in != self.worker.started:
            self._load(len(pixels))
        try:
            answer: Prediction = self._ask(("predict", self.number, pixels), len(pixels))
        finally:
            self.spent = 0.0  # what loading took counts once
        return answer

    def _load(self, images: int) -> None:
        try:
            self.worker.prepare(self.name)
        except (TookTooLongError, DiedError) as error:  # no file has a part in it
            raise ArtifactEndedError(
                f"the process that runs artefacts on {self.name} does not start: it {error}; `--time-limit inf` "
                "runs them without one"
            ) from error
        self.spent = 0.0
        self._ask(("load", self.number, self.name, self.artifact, self.batch, self.options), images)
        self.loaded_in = self.worker.started

    def _ask(self, request: tuple[Any, ...], images: int) -> Any:
        key = _key(self.name, self.artifact)
        limit, ending = _ENDED.get(key, (None, ""))
        if limit == self.limit:
            raise ArtifactEndedError(ending)
        begun = time.monotonic()
        seconds = self.limit.for_images(images)
        try:
            return self.worker.ask(request, seconds - self.spent)
        except TookTooLongError as error:
            shown = f", and to answer {images} image(s)" if images else ""
            ending = (
                f"{self.artifact.path}: on {self.name} it took longer than {seconds:g} s to be loaded{shown}, and "
                "was ended; if it is sound and slow, give it more by --time-limit SECONDS (pytest: "
                "--parity-time-limit, Python: time_limit=)"
            )
            _ENDED[key] = self.limit, ending
            raise ArtifactEndedError(ending) from error
        except DiedError as error:
            ending = (
                f"{self.artifact.path}: the process that ran it on {self.name} {error}; the file is not run again"
            )
            _ENDED[key] = self.limit, ending
            raise ArtifactEndedError(ending) from error
        finally:
            self.spent += time.monotonic() - begun


_WORKER = Worker()
_SLOW: dict[str, Worker] = {}


def _worker_of(name: str) -> Worker:
    """Return the process that a backend's artefacts run in."""
    from parity.backends import find_backend

    return _SLOW.setdefault(name, Worker()) if find_backend(name).ABOUT.slow else _WORKER


def _workers() -> list[Worker]:
    return [_WORKER, *_SLOW.values()]


@atexit.register
def _end_workers() -> None:
    for worker in _workers():
        worker.end()
