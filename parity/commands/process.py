"""What a command needs of its process: standard streams that may close at any time, and an end by Ctrl-C.

Neither changes a verdict: what nobody reads is dropped, and a run that was stopped says so, whatever it was doing.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED = 130
_AGAIN_SECONDS = 0.02
_STREAMS = ("stdin", "stdout", "stderr")
# Nobody reads any more: `| head -1`; or the descriptor was closed meanwhile.
_UNHEARD = (errno.EPIPE, errno.EBADF)

# Characters of a line; a path may have 4,096.
_LONGEST = 1500


class Voice(io.RawIOBase):
    """Write to a descriptor for as long as that goes; from then on it leads to nowhere, for libraries in C as well.

    trouble: why it ended, unless that is because nobody reads it any more.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ended = False
        self.trouble: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of the data, and return how many bytes; all of them are gone where nobody reads."""
        if not self._ended:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self._ended = True
                self.trouble = None if error.errno in _UNHEARD else error
                _lead_nowhere(self._descriptor)
        return memoryview(data).nbytes

    def end(self) -> None:
        """Write nothing from now on: the descriptor may become another file's."""
        self._ended = True

    def writable(self) -> bool:
        """Say that it is to be written to."""
        return True

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for those who write past Python."""
        return self._descriptor


class _Text(io.TextIOWrapper):
    """Stay open: a user's code may close what it did not open, and the verdict is still to come."""

    def close(self) -> None:
        self.flush()


@contextmanager
def standard_streams() -> Iterator[list[Voice]]:
    """Make the standard streams such that writing to them never fails; give the voices behind them.

    One that is closed leads nowhere, lest the next file that is opened becomes what C libraries print to.
    """
    with ExitStack() as stack:
        for descriptor, name in enumerate(_STREAMS):
            try:
                os.fstat(descriptor)
            except OSError:
                _lead_nowhere(descriptor)
            if getattr(sys, name) is None:  # as Python has it where the descriptor was closed when it started
                null = open(os.devnull, "w" if descriptor else "r", encoding="utf-8")  # noqa: SIM115, PTH123
                stack.enter_context(null)
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, null)
        yield [voice for name in _STREAMS[1:] if (voice := stack.enter_context(_voiced(name)))]


@contextmanager
def _voiced(name: str) -> Iterator[Voice | None]:
    """Put a voice in the place of a standard stream, unless that is none of the process's own."""
    stream: TextIO = getattr(sys, name)
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):  # in memory, or closed by somebody
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            stream.reconfigure(errors="backslashreplace")
        yield None
        return
    voice = Voice(descriptor)
    text = _Text(
        io.BufferedWriter(voice),
        encoding=stream.encoding,
        # A label or a file name may hold what the terminal's encoding cannot.
        errors="backslashreplace",
        line_buffering=name == "stderr" or voice.isatty(),
    )
    setattr(sys, name, text)
    try:
        yield voice
    finally:
        text.flush()
        voice.end()
        setattr(sys, name, stream)


def _lead_nowhere(descriptor: int) -> None:
    """Let a descriptor lead to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


class Interrupts:
    """Answer Ctrl-C with a KeyboardInterrupt, and remember it: a library may lose it, or make another error of it.

    heard: whether there was one. A second one ends the process at once.
    """

    def __init__(self) -> None:
        self.heard = False
        self._again: threading.Timer | None = None

    def answer(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.heard and self._again is None:
            end_interrupted()
        self.heard, self._again = True, None
        raise KeyboardInterrupt

    def raised_in_vain(self, unraisable: Any) -> None:
        """Raise once more what came where nothing can be raised, in a __del__ say; sys.unraisablehook."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        elif self._again is None:  # when this function, which cannot raise either, is behind us
            main = (threading.main_thread().ident, signal.SIGINT)
            self._again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, main)
            self._again.daemon = True
            self._again.start()

    def end(self) -> None:
        """Raise nothing from now on."""
        if self._again is not None:
            self._again.cancel()


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle Ctrl-C until the end of the block, unless the process was started not to be interrupted."""
    interrupted = Interrupts()
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield interrupted
        return
    before, hook = signal.signal(signal.SIGINT, interrupted.answer), sys.unraisablehook
    sys.unraisablehook = interrupted.raised_in_vain
    try:
        yield interrupted
    finally:
        interrupted.end()
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def end_process(code: int) -> NoReturn:
    """End the process with an exit code, after all that was to be cleared up.

    Python remembers a KeyboardInterrupt that passed through code which was evaluated from text, as dataclasses are
    made, and at its end kills itself by the signal, although it was caught.
    """
    atexit._run_exitfuncs()
    os._exit(code)


def end_interrupted() -> NoReturn:
    """End the process at once, as one that Ctrl-C ended."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def tell(line: str) -> None:
    """Write a line for the user on standard error; of one that no reader would read to its end, the ends."""
    from parity.report.text import clipped

    click.echo(clipped(line, _LONGEST), err=True)
