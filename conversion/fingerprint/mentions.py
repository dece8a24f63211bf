"""What code mentions outside of itself: names, texts, imports, and the files that texts name."""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

# A data file that code names is read up to this size; of a larger one, size and time of change count.
_LARGE = 2**24


@dataclass(frozen=True)
class Names:
    """Hold what a function's code mentions: global names, attributes, texts, and the modules that it imports."""

    names: frozenset[str]
    attributes: frozenset[str]
    texts: frozenset[str]
    imports: frozenset[str]


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes as text."""
    return hashlib.sha256(content).hexdigest()


@functools.cache
def names_in(code: CodeType) -> Names:
    """List what a function's code mentions, with the functions inside of it."""
    names, attributes, texts, imports = set[str](), set[str](), set[str](), set[str]()
    before: list[dis.Instruction] = []
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
            attributes.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            level = before[-2].argval if len(before) > 1 and isinstance(before[-2].argval, int) else 0
            imports.add("." * level + step.argval)
            if isinstance(before[-1].argval, tuple):
                attributes.update(before[-1].argval)
                # A name that is imported may be a module.
                separator = "" if not step.argval else "."
                imports.update(f"{'.' * level}{step.argval}{separator}{one}" for one in before[-1].argval)
        before = [*before[-1:], step]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = names_in(constant)
            names, attributes = names | inner.names, attributes | inner.attributes
            texts, imports = texts | inner.texts, imports | inner.imports
        elif isinstance(constant, str):
            texts.add(constant)
        elif isinstance(constant, tuple):
            texts.update(one for one in constant if isinstance(one, str))
    return Names(frozenset(names), frozenset(attributes), frozenset(texts), frozenset(imports))


def describe_file(text: str, directory: Path = Path()) -> str:
    """Describe the file that a text names, from here or from a directory; empty where it names none."""
    if not 0 < len(text) < 256 or "\0" in text or "\n" in text or not ("." in text or "/" in text):
        return ""
    for path in (directory / text, Path(text)):
        try:
            if path.is_file():
                status = path.stat()
                if status.st_size > _LARGE:
                    return f"{status.st_size} {status.st_mtime_ns}"
                return sha256(path.read_bytes())
        except OSError:
            continue
    return ""


def find_source(name: str, package: str) -> tuple[str, str] | None:
    """Find a module that is not loaded, without loading what it lies in: its full name and its file.

    name: as it is imported, with a dot for each level. package: where it is imported. None where there is no file.
    """
    try:
        full = importlib.util.resolve_name(name, package)
        top, *inner = full.split(".")
        spec = importlib.util.find_spec(top)
        # A package without an __init__.py has no origin, but directories.
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        origin = spec.origin if spec is not None else None
    except Exception:  # of whatever class: finders and lazily loaded modules may be anybody's
        return None
    files = [Path(origin)] if origin and not inner else []
    for base in (Path(place).joinpath(*inner) for place in places if inner):
        files += [base.with_name(f"{base.name}.py"), base / "__init__.py"]
    return next(((full, str(file)) for file in files if file.suffix == ".py" and file.is_file()), None)
