"""The suite file as users write it, validated by pydantic; suite.py turns it into the Suite that the rest reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
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
    *table, key = [str(part) for part in problem["loc"] if part != "[key]"]
    where = f"[{'.'.join(table)}] {key}" if table else key
    if problem["type"] == "extra_forbidden":
        allowed = _keys(table)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where}: unknown key{hint} (keys: {', '.join(allowed)})"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _keys(table: list[str]) -> list[str]:
    """List the keys that a table may have, walking the models by the problem's place."""
    found: type[BaseModel] = SuiteFile
    for part in table:
        if part in found.model_fields:
            inner = [a for a in _arguments(found.model_fields[part].annotation) if isinstance(a, type)]
            found = next((a for a in inner if issubclass(a, Table)), found)
    return list(found.model_fields)


def _arguments(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _arguments(argument)
