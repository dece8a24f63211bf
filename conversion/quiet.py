"""Keep other libraries' chatter off the user's screen: it goes to a log file, or to `logging`."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import IO, Any

LOG = logging.getLogger("conversion.chatter")

# Each of them writes to the screen through a logger of its own.
_CHATTERING_LOGGERS = ("coremltools", "torch.onnx", "onnxscript", "onnx_ir", "onnxslim", "torch.export")


@contextmanager
def chatter_to(log: Path | None = None) -> Iterator[None]:
    """Send prints, progress bars, warnings and log lines of other libraries to a file.

    log: the file, appended to; None passes the text on to the logger `conversion.chatter` at level DEBUG.
    """
    with ExitStack() as stack:
        sink: IO[str] = stack.enter_context(log.open("a", encoding="utf-8")) if log else io.StringIO()
        stack.enter_context(redirect_stdout(sink))
        stack.enter_context(redirect_stderr(sink))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        # Under pytest a warning is recorded, not printed; here it belongs into the log like the rest.
        warnings.showwarning = partial(_write_warning, sink)
        stack.enter_context(_loggers_to(sink))
        try:
            yield
        finally:
            if isinstance(sink, io.StringIO) and sink.getvalue():
                LOG.debug("%s", sink.getvalue())


def _write_warning(
    sink: IO[str], message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    sink.write(f"{filename}:{lineno}: {category.__name__}: {message}\n")


@contextmanager
def _loggers_to(sink: IO[str]) -> Iterator[None]:
    handler = logging.StreamHandler(sink)
    loggers = [logging.getLogger(name) for name in _CHATTERING_LOGGERS]
    propagated = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, propagated, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate


def import_coremltools() -> Any:
    """Import coremltools without the dozen lines that it prints about other packages' versions."""
    with chatter_to():
        import coremltools

    return coremltools
