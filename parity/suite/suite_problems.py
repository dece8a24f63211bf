"""Everything that is wrong with a suite file, each with its table and key, told at once."""

from __future__ import annotations

import difflib
import glob
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from conversion.errors import ImageError
from conversion.files.regular_files import why_no_file
from conversion.images import find_images
from conversion.variants import OPTIONS, problems
from parity.core.errors import ParityError
from parity.suite.patterns import matching
from parity.suite.suite_file import SuiteFile, Table


def validate(path: Path, content: Mapping[str, Any]) -> SuiteFile:
    """Validate a parsed TOML file; everything that is wrong is told in one ParityError, a line each."""
    try:
        parsed = SuiteFile.model_validate(content, context=list(_own_routes(content, path.parent)))
    except ValidationError as error:
        told = [_told(problem) for problem in error.errors()]
        raise _refused(path, [*dict.fromkeys(told), *_wrong_elsewhere(content, path.parent)]) from error
    without = [name for name, model in parsed.models.items() if not (model.images or parsed.images)]
    if without:
        names = ", ".join(without)
        imageless = [f"[models] {names}: no images; give `images` there or at the top of the file"]
    else:
        imageless = []
    if wrong := [*imageless, *_wrong_elsewhere(content, path.parent)]:
        raise _refused(path, wrong)
    return parsed


def _own_routes(content: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Name the routes of the file's own: converters, and finished files."""
    yield from (name for name, _ in _tables(content.get("converters")))
    for _, model in _tables(content.get("models")):
        artifacts = model.get("artifacts")
        entries = artifacts if isinstance(artifacts, list) else []
        patterns = [one.get("path") if isinstance(one, dict) else one for one in entries]
        yield from matching([one for one in patterns if isinstance(one, str)], directory)


def _refused(path: Path, problems: Sequence[str]) -> ParityError:
    return ParityError("\n".join(f"{path}: {line}" for line in problems))


def _wrong_elsewhere(content: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Name what the types of the tables cannot say."""
    yield from _missing_files(content, directory)
    yield from _wrong_variants(content, directory)


def _wrong_variants(content: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Say what is wrong with variants of our routes; values of a wrong type are told elsewhere."""
    for name, converter in _tables(content.get("converters")):
        base, options = converter.get("base"), {key: converter[key] for key in OPTIONS if key in converter}
        kinds = {key: list if key == "keep_fp32" else str for key in options}
        if isinstance(base, str) and all(isinstance(value, kinds[key]) for key, value in options.items()):
            for key, problem in problems(base, options, directory):
                yield f"[converters.{name}] {key}: {problem}"


def _missing_files(content: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Name the images and the factories' files that are not there; tables of a wrong type are told elsewhere."""
    yield from _missing_images("images", content.get("images"), directory)
    for name, model in _tables(content.get("models")):
        yield from _missing_images(f"[models.{name}] images", model.get("images"), directory)
        yield from _missing_code(f"[models.{name}] factory", model.get("factory"), directory)
    for name, converter in _tables(content.get("converters")):
        yield from _missing_code(f"[converters.{name}] convert", converter.get("convert"), directory)
        depends = converter.get("depends")
        for pattern in depends if isinstance(depends, list) else ():
            if isinstance(pattern, str) and not glob.glob(pattern, root_dir=directory, recursive=True):  # noqa: PTH207 - takes absolute ones too
                yield f"[converters.{name}] depends: no file {directory / pattern}"


def _tables(tables: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, table in tables.items() if isinstance(tables, Mapping) else ():
        if isinstance(table, Mapping):
            yield name, table


def _missing_code(where: str, reference: Any, directory: Path) -> Iterator[str]:
    """Name the file of `file.py:callable` where it is not there."""
    file = str(reference or "").rpartition(":")[0]
    if file.endswith(".py") and why_no_file(directory / file):
        beside = [*directory.glob("*.py"), *directory.glob("*/*.py")]
        near = difflib.get_close_matches(file, [str(p.relative_to(directory)) for p in beside], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"{where}: no file {directory / file}{hint}"


def _missing_images(where: str, patterns: Any, directory: Path) -> Iterator[str]:
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str):
            try:
                find_images([pattern], directory)
            except ImageError as error:
                yield f"{where}: {error}"


def _told(problem: Any) -> str:
    *table, key = _places(problem["loc"])
    where = f"[{'.'.join(table)}] {key}" if table else key
    kind, value = problem["type"], textwrap.shorten(repr(problem["input"]), 60, placeholder="...")
    if kind in ("missing", "too_short") and key == "models":
        return f"{where}: no model is given; add a table [models.NAME] with a factory"
    if kind == "missing":
        return f"{where}: is missing; the table needs it"
    if kind in ("model_type", "dict_type"):
        return f"{where}: should be a table, not {value}"
    if kind == "extra_forbidden":
        allowed = _keys(table)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: unknown key{hint} (keys: {', '.join(allowed)})"
    if kind == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']}, not {value}"


def _places(location: Sequence[str | int]) -> list[str]:
    """Turn pydantic's place of a problem into keys as the file has them: routes[1] for the second of a list."""
    places: list[str] = []
    for part in location:
        if isinstance(part, int):
            places[-1] += f"[{part}]"
        elif part != "[key]":
            places.append(part)
    return places


def _keys(table: Sequence[str]) -> list[str]:
    """List the keys that a table may have."""
    current: type[BaseModel] = SuiteFile
    parts = iter(table)
    for part in parts:
        key, _, index = part.partition("[")
        inner = [a for a in _arguments(current.model_fields[key].annotation) if isinstance(a, type)]
        current = next(a for a in inner if issubclass(a, Table))
        if not index:
            next(parts)  # the name that the user gave the table: [models.NAME]
    return list(current.model_fields)


def _arguments(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _arguments(argument)
