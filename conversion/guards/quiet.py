"""Keep other libraries' chatter off the user's screen: it goes to a log file, or to `logging`."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import IO, Any

LOG = logging.getLogger("conversion.chatter")

# Each of them writes to the screen through a logger of its own.
_CHATTERING_LOGGERS = ("coremltools", "torch.onnx", "onnxscript", "onnx_ir", "onnxslim", "torch.export")

# What is redirected belongs to the whole process: two threads would hand each other's log back as the screen.
_one_at_a_time = threading.RLock()


@contextmanager
def chatter_to(log: Path | None = None) -> Iterator[None]:
    """Send prints, progress bars, warnings and log lines of other libraries to a file.

    log: the file, appended to; None passes the text on to the logger `conversion.chatter` at level DEBUG.
    """
    with _one_at_a_time, _opened(log) as sink:
        try:
            with _redirected(sink):
                yield
        finally:
            if log is None:
                sink.seek(0)
                if said := sink.read():
                    LOG.debug("%s", said)


def _opened(log: Path | None) -> IO[str]:
    # By lines, so that what Python and what C++ write stands in the order in which it was written.
    if log:
        return log.open("a", encoding="utf-8", errors="replace", buffering=1)
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1)


@contextmanager
def _redirected(sink: IO[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for descriptor in (1, 2):
            stack.enter_context(_descriptor_to(sink, descriptor))
        stack.enter_context(redirect_stdout(sink))
        stack.enter_context(redirect_stderr(sink))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        # Under pytest a warning is recorded, not printed; here it belongs into the log like the rest.
        warnings.showwarning = partial(_write_warning, sink)
        stack.enter_context(_loggers_to(sink))
        yield


def _write_warning(
    sink: IO[str], message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    sink.write(f"{filename}:{lineno}: {category.__name__}: {message}\n")


@contextmanager
def _loggers_to(sink: IO[str]) -> Iterator[None]:
    handler = logging.StreamHandler(sink)
    loggers = [logging.getLogger(name) for name in _CHATTERING_LOGGERS]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def _descriptor_to(sink: IO[str], descriptor: int) -> Iterator[None]:
    """Redirect what C++ writes past sys.stdout: torch's TorchScript exporter so prints a graph when it fails."""
    try:
        screen = os.dup(descriptor)
    except OSError:  # closed, as in a service: nobody is listening
        yield
        return
    import ctypes

    flush = ctypes.CDLL(None).fflush
    try:
        flush(None)
        os.dup2(sink.fileno(), descriptor)
        yield
    finally:
        flush(None)
        os.dup2(screen, descriptor)
        os.close(screen)


def import_coremltools() -> Any:
    """Import coremltools without the dozen lines that it logs about other packages' versions.

    They go to the logger `conversion.chatter`. Nothing that belongs to the whole process is redirected for it, as
    `chatter_to` does: what another thread prints meanwhile is its own.
    """
    if "coremltools" in sys.modules:
        # Where another thread is about to import it, this waits for it.
        import coremltools

        return coremltools
    logger, importing = logging.getLogger("coremltools"), threading.get_ident()

    def divert(record: logging.LogRecord) -> bool:
        if record.thread != importing:
            return True
        LOG.debug("%s", record.getMessage())
        return False

    logger.addFilter(divert)
    try:
        import coremltools
    finally:
        logger.removeFilter(divert)
    return coremltools
