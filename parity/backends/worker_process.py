"""The other side of parity/backends/worker.py: the process, what it is asked, and how it ends."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LOG = logging.getLogger(__name__)

# Where several processes compute at once, threads that wait must not keep the processors from the others: OpenMP's,
# of PyTorch, and NumPy's own, which spin else. None of it changes a sum.
SHARING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
# What the worker's own imports may take, of PyTorch, say, from a cold disk; no file has a part in it.
_START_SECONDS = 600.0
# Ten days; the system counts milliseconds in 32 bits.
_MOST_SECONDS = 864_000.0


class TookTooLongError(Exception):
    """The worker did not answer in time, and was ended."""


class DiedError(Exception):
    """The worker ended by itself; the message says how."""


@dataclass(frozen=True)
class Process:
    """Hold a worker that runs: the connection to it, and the file of what it and the libraries in it print."""

    popen: subprocess.Popen[bytes]
    connection: Connection
    log: IO[bytes]
    owner: int

    def end(self) -> None:
        """End it, and what it started."""
        if self.owner == os.getpid():  # where this process was forked, it is another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        self.connection.close()
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
class Worker:
    """Hold the process that runs artefacts, from when it is first asked; started: how many there have been."""

    started: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    # Numbers of artefacts that nobody needs any longer; sent with the next request.
    dropped: list[int] = field(default_factory=list)
    _process: Process | None = None
    _prepared: set[str] = field(default_factory=set)
    # What was asked for ahead, and is not answered yet, each with the seconds that it may take: names of backends
    # that are prepared, and numbers of artefacts that answer.
    _ahead: deque[tuple[str | int, float]] = field(default_factory=deque)
    # What artefacts that were asked ahead answered, with `started` as it was then.
    _answers: dict[int, tuple[int, Any]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def prepare(self, name: str) -> None:
        """Let the worker import what a backend needs, so that this does not count as an artefact's time."""
        with self._lock:
            self._await_ahead()
            if self._process is None or name not in self._prepared:
                self.ask(("prepare", name), _START_SECONDS)
                self._prepared.add(name)

    def expect(self, names: Iterable[str]) -> None:
        """Let the worker start, and import what backends need, while this process does something else."""
        with self._lock, suppress(OSError):  # what fails fails again when it is asked for, and is told then
            for name in names:
                if name not in self._prepared and all(key != name for key, _ in self._ahead):
                    self._ask_ahead(name, ("prepare", name), _START_SECONDS)

    def begin(self, name: str, number: int, request: tuple[Any, ...], seconds: float) -> None:
        """Ask an artefact for an answer that `answer_to` its number gives later; name: its backend's."""
        self.expect([name])
        with self._lock, suppress(OSError):
            self._ask_ahead(number, request, seconds)

    def answer_to(self, number: int) -> tuple[int, Any] | None:
        """Return what `begin` asked for, with `started` as it was then; None: it failed, and nobody knows how.

        What fails beside others, for want of memory say, need not fail alone.
        """
        with self._lock:
            while any(key == number for key, _ in self._ahead) and self._process:
                self._hear_next(self._process)
            return self._answers.pop(number, None)

    def finish(self) -> None:
        """Wait until nothing runs that was asked ahead."""
        with self._lock, suppress(TookTooLongError, DiedError):
            self._await_ahead()

    def forget(self, number: int) -> None:
        """Let an artefact that was asked ahead go."""
        self._answers.pop(number, None)
        self.dropped.append(number)

    def _ask_ahead(self, key: str | int, request: tuple[Any, ...], seconds: float) -> None:
        process = self._process or self._start()
        process.connection.send(([], _surroundings(), request))
        self._ahead.append((key, seconds))

    def _await_ahead(self) -> None:
        while self._ahead and self._process:
            self._hear_next(self._process)

    def _hear_next(self, process: Process) -> None:
        """Hear the next answer to what was asked ahead; what failed is asked for again by whoever needs it."""
        key, seconds = self._ahead[0]
        try:
            kind, answer = self._hear(process, seconds)
        except (TookTooLongError, DiedError):
            if isinstance(key, str):
                raise
            return
        self._ahead.popleft()
        if kind != "answer":
            return
        if isinstance(key, str):
            self._prepared.add(key)
        else:
            self._answers[key] = self.started, answer

    def _hear(self, process: Process, seconds: float) -> tuple[str, Any]:
        try:
            if not process.connection.poll(min(max(seconds, 0.0), _MOST_SECONDS)):
                raise TookTooLongError("took too long")
            answer: tuple[str, Any] = process.connection.recv()
        except (EOFError, OSError) as error:
            how = process.how_it_died()
            self.end()
            raise DiedError(how) from error
        except BaseException:  # the time is over, or Ctrl-C: it must not go on alone
            self.end()
            raise
        return answer

    def ask(self, request: tuple[Any, ...], seconds: float) -> Any:
        """Return the worker's answer, or raise what it raised."""
        with self._lock:
            self._await_ahead()
            process = self._process or self._start()
            heard = os.fstat(process.log.fileno()).st_size
            drop = [self.dropped.pop() for _ in range(len(self.dropped))]
            with suppress(OSError):  # it has died: what is heard says so
                process.connection.send((drop, _surroundings(), request))
            kind, answer = self._hear(process, seconds)
            if said := process.noise(heard).strip():
                LOG.debug("while it did %s, the worker said: %s", request[0], said)
        if kind == "answer":
            return answer
        if kind == "own":
            raise answer
        name, message, traceback = answer
        # A runtime's own class need not exist here: its name is what is told.
        foreign = type(name, (Exception,), {})(message)
        foreign.add_note(traceback)
        raise foreign

    def end(self) -> None:
        """End the process, if there is one; the next request starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _start(self) -> Process:
        from multiprocessing import Pipe

        ours, theirs = Pipe()
        # A file, not a pipe: nobody has to empty it.
        log = tempfile.TemporaryFile()  # noqa: SIM115  closed by its end()
        with theirs:
            # As this process finds modules; -P: not what happens to lie where the user is.
            paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  "" is here
            popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "parity.backends.worker", str(theirs.fileno())],
                env={**SHARING, **os.environ, "PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own children end with it
            )
        self._process = Process(popen, ours, log, os.getpid())
        self._prepared.clear()
        self._ahead.clear()
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
