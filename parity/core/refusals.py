"""Failures of code that is not ours, a user's module or a runtime, as one class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from conversion.errors import ConversionError
from parity.core.errors import ParityError

# What is raised where a file, a module or a runtime does not do what is asked of it.
EXPECTED = (ParityError, ConversionError)


class RefusedError(ParityError):
    """Somebody else's code does not do what it was asked: the user's module, or a runtime."""


@contextmanager
def refusals(who: str) -> Iterator[None]:
    """Turn whatever a call of code that is not ours raises into a RefusedError. who: whose code it is."""
    try:
        yield
    except EXPECTED:
        raise
    except Exception as error:  # each runtime and each module has classes of its own
        raise RefusedError(f"{who}: {' '.join(str(error).split()) or type(error).__name__}") from error
