"""Whose code it is: a release that somebody installed, known by its name and version, or the user's own.

The user's own code changes without a word: scripts, editable installs, what was installed from a directory, and
files that lie among installed packages without belonging to one.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_HERE = str(Path(__file__).resolve().parents[1])
_STANDARD = tuple(
    {sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib")} | {str(Path(os.__file__).parent)}
)
_SITES = ("site-packages", "dist-packages")


@cache
def release_of(file: str) -> str | None:
    """Name the release that a source file belongs to, `timm==1.0.20`; None: it is the user's own.

    file: as code objects have it. The standard library is `python`, and this package, whose sources the cache of
    conversions counts anyway, is `conversion`.
    """
    if file.startswith("<frozen"):
        return "python"
    if file.startswith("<"):  # made by exec, or typed into a notebook
        return None
    parts = Path(file).absolute().parts
    site = max((place for place, part in enumerate(parts) if part in _SITES), default=None)
    if site is not None:
        directory = str(Path(*parts[: site + 1]))
        top = parts[site + 1].partition(".")[0] if len(parts) > site + 1 else ""
        return _release(directory, top)
    path = os.path.realpath(file)
    if _below(path, _HERE):
        return "conversion"
    return "python" if any(_below(path, place) or _below(file, place) for place in _STANDARD) else None


def _below(path: str, directory: str) -> bool:
    return path.startswith(directory + os.sep)


@cache
def _release(site: str, top: str) -> str | None:
    named = next(iter(Distribution.discover(name=top, path=[site])), None)
    owner = named if named is not None and top in _contents(named) else _owners(site).get(top)
    # A release from a directory or a repository changes without another version.
    if owner is None or owner.read_text("direct_url.json") is not None:
        return None
    return f"{owner.metadata['Name']}=={owner.version}"


@cache
def _owners(site: str) -> dict[str, Distribution]:
    return {top: owner for owner in distributions(path=[site]) for top in _contents(owner)}


def _contents(distribution: Distribution) -> set[str]:
    """Name the top-level packages and modules of a distribution."""
    listed = distribution.read_text("top_level.txt") or ""
    record = distribution.read_text("RECORD") or ""
    paths = (line.partition(",")[0] for line in record.splitlines())
    return {*listed.split(), *(path.partition("/")[0].partition(".")[0] for path in paths)}


def code_of(value: Any) -> CodeType | None:
    """Return the code of a routine, beneath whatever wraps it."""
    if isinstance(value, staticmethod | classmethod | MethodType):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    code = getattr(value, "__code__", None)
    return code if isinstance(code, CodeType) else None


def is_users(value: Any) -> bool:
    """Say whether a function, a class or a module is the user's own."""
    if isinstance(value, ModuleType):
        file = getattr(value, "__file__", None)
    elif isinstance(value, type):
        file = file_of_class(value)
    else:
        code = code_of(value)
        file = code.co_filename if code else None
        if file and file.startswith("<"):  # made by exec, on behalf of whom its globals are
            file = getattr(value, "__globals__", {}).get("__file__")
    return isinstance(file, str) and release_of(file) is None


def file_of_class(kind: type[Any]) -> str | None:
    """Name the file of a class; None for one that is not written in Python.

    By its functions where it is in no module: one that was executed from a file need not be in sys.modules.
    """
    home = sys.modules.get(kind.__module__)
    file = getattr(home, "__file__", None)
    if isinstance(file, str) and getattr(home, kind.__qualname__.partition(".")[0], None) is not None:
        return file
    codes = filter(None, map(code_of, vars(kind).values()))
    own = next((code.co_filename for code in codes if kind.__qualname__ in _qualname(code)), None)
    if own is not None:
        return own
    if isinstance(file, str):
        return file
    return None if home is not None and kind.__module__ != "__main__" else "<unknown>"


def _qualname(code: CodeType) -> str:
    return getattr(code, "co_qualname", "")


def home_of(value: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Find the namespace and the file in which a module, a class or a function is written."""
    if isinstance(value, ModuleType):
        return vars(value), getattr(value, "__file__", None)
    if isinstance(value, FunctionType):
        return value.__globals__, value.__code__.co_filename
    if isinstance(value, type):
        home = sys.modules.get(value.__module__)
        return (vars(home), getattr(home, "__file__", None)) if home is not None else (None, None)
    return None, None
