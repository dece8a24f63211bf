"""The suite file as users write it, validated by pydantic; suite.py turns it into the Suite that the rest reads."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from conversion.errors import ConversionError
from conversion.routes import find_route
from parity.errors import ParityError


def _known_route(name: str) -> str:
    try:
        return find_route(name).name
    except ConversionError as error:
        raise ValueError(str(error)) from error


def _has_colon(text: str) -> str:
    if ":" not in text:
        raise ValueError("a factory is `file.py:callable`, `package.module:callable` or `torchvision:name`")
    return text


RouteName = Annotated[str, AfterValidator(_known_route)]


class Table(BaseModel):
    """A table of the file: nothing but the keys below, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ToleranceTable(Table):
    """[models.NAME.tolerance.ROUTE]"""

    probability: Annotated[float, Field(gt=0, lt=1)]


class ModelTable(Table):
    """[models.NAME]"""

    factory: Annotated[str, AfterValidator(_has_colon)]
    arguments: dict[str, Any] = {}
    routes: list[RouteName] = []
    images: list[str] = []
    tolerance: dict[RouteName, ToleranceTable] = {}


class KnownIssueTable(Table):
    """[[known_issues]]; `*` stands for all."""

    model: str
    route: str = "*"
    backend: str = "*"
    reason: str
    link: str = ""


class SuiteFile(Table):
    """The whole file."""

    images: list[str] = []
    routes: list[RouteName] = []
    models: Annotated[dict[str, ModelTable], Field(min_length=1)]
    known_issues: list[KnownIssueTable] = []


def validate(path: Path, content: Mapping[str, Any]) -> SuiteFile:
    """Validate a parsed TOML file; everything that is wrong is told in one ParityError, a line each."""
    try:
        parsed = SuiteFile.model_validate(content)
    except ValidationError as error:
        raise ParityError("\n".join(f"{path}: {_told(problem)}" for problem in error.errors())) from error
    without = [name for name, model in parsed.models.items() if not (model.images or parsed.images)]
    if without:
        names = ", ".join(without)
        raise ParityError(f"{path}: [models] {names}: no images; give `images` there or at the top of the file")
    return parsed


def _told(problem: Any) -> str:
    *table, key = _places(problem["loc"])
    where = f"[{'.'.join(table)}] {key}" if table else key
    kind, found = problem["type"], textwrap.shorten(repr(problem["input"]), 60, placeholder="...")
    if kind in ("missing", "too_short") and key == "models":
        return f"{where}: no model is given; add a table [models.NAME] with a factory"
    if kind == "missing":
        return f"{where}: is missing; the table needs it"
    if kind in ("model_type", "dict_type"):
        return f"{where}: should be a table, not {found}"
    if kind == "extra_forbidden":
        allowed = _keys(table)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: unknown key{hint} (keys: {', '.join(allowed)})"
    if kind == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']}, not {found}"


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
    found: type[BaseModel] = SuiteFile
    parts = iter(table)
    for part in parts:
        key, _, index = part.partition("[")
        inner = [a for a in _arguments(found.model_fields[key].annotation) if isinstance(a, type)]
        found = next(a for a in inner if issubclass(a, Table))
        if not index:
            next(parts)  # the name that the user gave the table: [models.NAME]
    return list(found.model_fields)


def _arguments(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _arguments(argument)
