"""Run code of the user's, which may end in anything, so that it ends neither the process nor a test without a word.

`sys.exit(0)` in a factory would otherwise be the exit code of the whole command, and `pytest.skip` in a forward the
outcome of a test: both say that all is well where nothing was compared.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from conversion.errors import ConversionError


class UserCodeError(ConversionError):
    """Code of the user's raised what only the process itself or its tests may raise: SystemExit, say."""


@contextmanager
def user_code(name: str) -> Iterator[None]:
    """Let code of the user's raise an Exception or be interrupted; whatever else it raises is a UserCodeError.

    name: what the message calls the code: the factory as it was written, the model.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # pytest.exit, unlike pytest.skip, raises an Exception; nobody who catches those means it.
        if isinstance(error, Exception) and type(error).__module__ != "_pytest.outcomes":
            raise
        raise UserCodeError(f"{name}: {told_end(error)}") from error


def told_end(error: BaseException) -> str:
    """Say in one line what was raised where, of what must not be raised."""
    raised = f"{place_of(error)} raises {told_error(error)}"
    return f"{raised}, which would end everything without a result; raise an Exception that says why"


def told_error(error: BaseException) -> str:
    """Write an error's class and its text as one line; a text that cannot be made is left out."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # the user's own __str__
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place_of(error: BaseException) -> str:
    """Name the function that raised an error, as `file.py:function`; the standard library's callers are meant."""
    library = Path(sysconfig.get_path("stdlib"))
    codes = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    # argparse calls sys.exit for the user, and pytest.skip raises for its caller.
    own = [code for code in codes if not _is_library(Path(code.co_filename), library)]
    code = (own or codes or [place_of.__code__])[-1]
    return f"{Path(code.co_filename).name}:{code.co_qualname}"


def _is_library(path: Path, library: Path) -> bool:
    # Other packages are installed below the standard library, and are the user's as far as we know.
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    return "_pytest" in path.parts or (library in path.parents and not installed)
