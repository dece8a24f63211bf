"""Whose code it is: a release that somebody installed, known by its name and version, or the user's own.

The user's own code changes without a word: scripts, editable installs, what was installed from a directory, and
files that lie among installed packages without belonging to one. What was installed from a repository or a file is
known by its commit or digest.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from conversion.fingerprint.stored import home_name, is_a, loaded, namespace

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
    pinned = _pinned(owner.read_text("direct_url.json")) if owner is not None else None
    return None if owner is None or pinned is None else f"{owner.metadata['Name']}=={owner.version}{pinned}"


def _pinned(direct_url: str | None) -> str | None:
    """Name what an installation is of besides its version: a commit, or a file's digest; None: nothing says it.

    direct_url: what the installer wrote of an installation that is from no index. From a directory it changes
    without another version; from a repository or a file, only with another commit or digest.
    """
    if direct_url is None:
        return ""
    try:
        said = json.loads(direct_url)
        commit = said.get("vcs_info", {}).get("commit_id")
        file = said.get("archive_info", {})
        pinned = commit or file.get("hashes", {}).get("sha256") or file.get("hash")
    except (ValueError, AttributeError):
        return None
    return f"@{pinned}" if type(pinned) is str and pinned else None


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
    if is_a(value, (staticmethod, classmethod, MethodType)):
        value = value.__func__
    if is_a(value, property):
        value = value.fget
    return value.__code__ if is_a(value, FunctionType) else None


def is_users(value: Any) -> bool:
    """Say whether a function, a class or a module is the user's own."""
    if is_a(value, ModuleType):
        return release_of_module(value) is None
    if is_a(value, type):
        file = file_of_class(value)
    else:
        code = code_of(value)
        file = code.co_filename if code else None
        if file and file.startswith("<"):  # made by exec, on behalf of whom its globals are
            space = value.__globals__ if is_a(value, FunctionType) else {}
            file = space.get("__file__", file if space.get("__name__") == "__main__" else None)
    return type(file) is str and release_of(file) is None


def file_of_module(module: ModuleType) -> str | None:
    """Name the file of a module; None for one without, whatever it says of itself: torch.ops says `_ops.py`."""
    file = (namespace(module) or {}).get("__file__")
    return file if type(file) is str and (os.path.isabs(file) or os.path.exists(file)) else None  # noqa: PTH110, PTH117


def release_of_module(module: ModuleType) -> str | None:
    """Name the release that a module belongs to, as `release_of` does.

    One without a file belongs where its directories are (a namespace package), or else to the code that made it:
    that of its class, or of the package that it is called a part of.
    """
    space = namespace(module) or {}
    file, name = file_of_module(module), space.get("__name__")
    if file is not None:
        return release_of(file)
    top = name.partition(".")[0] if type(name) is str else ""
    if top != "__main__" and top in (*sys.builtin_module_names, *sys.stdlib_module_names):
        return "python"
    places = [os.path.join(place, "__init__.py") for place in _search_path(space)]  # noqa: PTH118
    if type(module) is not ModuleType:
        places.append(file_of_class(type(module)) or "")
    above = loaded(top)
    if above is not None and above is not module:
        places.append(file_of_module(above) or "")
    return next((release_of(place) for place in places if place), None)


def _search_path(space: dict[str, Any]) -> list[str]:
    """List the directories of a package; its list is one of the import system, or of whoever made the module."""
    try:
        return [place for place in space.get("__path__") or () if type(place) is str][:1]
    except Exception:  # a namespace package looks its directories up anew, in those of the package above
        return []


def file_of_class(kind: type[Any]) -> str | None:
    """Name the file of a class; None for one that is not written in Python.

    By its functions where it is in no module: one that was executed from a file need not be in sys.modules.
    """
    name = home_name(kind)
    home = loaded(name)
    file = file_of_module(home) if home is not None else None
    if file is not None and kind.__qualname__.partition(".")[0] in (namespace(home) or {}):
        return file
    codes = filter(None, map(code_of, vars(kind).values()))
    own = next((code.co_filename for code in codes if kind.__qualname__ in _qualname(code)), None)
    if own is not None:
        return own
    if file is not None:
        return file
    return None if home is not None and name != "__main__" else "<unknown>"


def _qualname(code: CodeType) -> str:
    return getattr(code, "co_qualname", "")


def home_of(value: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Find the namespace and the file in which a module, a class or a function is written."""
    if is_a(value, FunctionType):
        return value.__globals__, value.__code__.co_filename
    home: Any = loaded(home_name(value)) if is_a(value, type) else value
    return (namespace(home), file_of_module(home)) if is_a(home, ModuleType) else (None, None)
