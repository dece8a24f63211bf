"""The suite file: which models, by which routes, on which images, with which tolerances and known issues."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.files.git_lfs import tell_pointer
from conversion.files.regular_files import MISSING, why_no_file
from parity.core.errors import ParityError
from parity.core.file_kinds import tell_kind
from parity.core.gate import Gate
from parity.core.tolerance import Tolerance
from parity.suite.patterns import matching

if TYPE_CHECKING:
    from conversion.recipe import Route
    from conversion.shapes import Dynamic
    from parity.suite.suite_file import SuiteFile
    from parity.suite.toolchain import ToolChain

# Tables and lists in each other; our own keys have five.
_DEEPEST = 50
DEFAULT_ROUTES = ("onnx", "onnx-torchscript", "mlprogram", "mlprogram-fp32")


@dataclass(frozen=True)
class KnownIssueEntry:
    """Expect a failure; `*` stands for every model, route or backend.

    package: a requirement, `onnxruntime>=1.21,<1.25`: with other versions the entry says nothing; None: with any.
    """

    model: str
    route: str
    backend: str
    reason: str
    link: str
    package: str | None = None


@dataclass(frozen=True)
class ModelEntry:
    """Describe one model of the suite.

    factory: `file.py:callable` relative to the suite file, `package.module:callable`, `torchvision:name`,
        `timm:name` or `transformers:directory`.
    arguments: keyword arguments for the factory.
    tolerance: route -> tolerance, where the default is not wanted.
    dynamic, bounds, sizes: which axes of the converted models stay open; see conversion.shapes.open_axes.
    records: files of predictions that were made elsewhere; one that is not there is a backend that cannot run.
    converters: routes of the suite's own, by name; a finished file is one by its path.
    head: fields of Classifier that say what follows the module, in the place of the factory's.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any]
    routes: tuple[str, ...]
    images: tuple[str, ...]
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    dynamic: Dynamic | None = None
    bounds: Sequence[Any] | None = None
    sizes: Sequence[Sequence[int]] | None = None
    records: tuple[Path, ...] = ()
    converters: Mapping[str, Route] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, route: str) -> Route:
        """Return how a route of this model converts, one of ours or of the suite's own."""
        from conversion.routes import find_route

        return find_route(route, self.converters)


@dataclass(frozen=True)
class Suite:
    """Hold a validated suite file; paths in it are relative to `directory`.

    gate: how much accuracy may be lost; None where the file does not ask.
    """

    path: Path
    models: tuple[ModelEntry, ...]
    known_issues: tuple[KnownIssueEntry, ...] = ()
    toolchains: Mapping[str, ToolChain] = field(default_factory=dict)
    gate: Gate | None = None

    @property
    def directory(self) -> Path:
        """Return the directory of the suite file."""
        return self.path.parent


@dataclass(frozen=True)
class Selection:
    """Choose a part of a suite by names; an empty field stands for all.

    backends: of each route's own.
    """

    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Tell whether anything may be left out."""
        return bool(self.models or self.routes or self.backends)

    def entries(self, suite: Suite) -> list[ModelEntry]:
        """List the models that are chosen; one that the suite has not is a ParityError."""
        known = [entry.name for entry in suite.models]
        if unknown := sorted(set(self.models) - set(known)):
            raise ParityError(f"{suite.path}: no model `{unknown[0]}` (models: {', '.join(known)})")
        return [entry for entry in suite.models if not self.models or entry.name in self.models]

    def routes_of(self, entry: ModelEntry) -> list[str]:
        """List those of a model's routes that are chosen."""
        return [route for route in entry.routes if not self.routes or route in self.routes]

    def backends_of(self, able: Iterable[str]) -> list[str]:
        """List those of a format's backends that are chosen."""
        return [backend for backend in able if not self.backends or backend in self.backends]


ALL = Selection()


def find_suite(path_or_directory: Path | None) -> Path:
    """Return the suite file to use: the one given, else ./parity.toml, else fixtures/parity.toml."""
    if path_or_directory is not None:
        return path_or_directory / "parity.toml" if path_or_directory.is_dir() else path_or_directory
    for path in (Path("parity.toml"), Path("fixtures/parity.toml")):
        if path.is_file():
            return path
    raise ParityError("no suite file: neither parity.toml nor fixtures/parity.toml is here; give its path")


def read_suite(path: Path) -> Suite:
    """Read and validate a suite file; everything that is wrong is told at once, in one ParityError."""
    why = why_no_file(path)
    if why:
        raise ParityError(f"{path}: {'no such suite file' if why == MISSING else why}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_bounds(content)
    except (ValueError, RecursionError) as error:
        # A suite file with a mistake in it is a suite file all the same.
        if path.suffix != ".toml" and (kind := tell_kind(path)):
            raise ParityError(f"{path}: {kind}; give a suite file, parity.toml") from error
        if kind := tell_pointer(path):
            raise ParityError(f"{path}: {kind}") from error
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ParityError(f"{path}: not valid TOML: {cause}") from error
    from parity.suite.suite_problems import (
        validate,  # pydantic and the routes load when a suite is read, not before
    )

    parsed = validate(path, content)
    return Suite(
        path,
        tuple(_models(parsed, path.parent)),
        tuple(KnownIssueEntry(**vars(k)) for k in parsed.known_issues),
        dict(_toolchains(parsed, path)),
        Gate(**vars(parsed.gate)) if parsed.gate else None,
    )


def _check_bounds(content: Any) -> None:
    """Raise ValueError for an integer that TOML does not have, and RecursionError for what nobody nests so deeply.

    To compare, copy or print either of them is another error.
    """
    level = [content]
    for _ in range(_DEEPEST):
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in level):
            raise ValueError("an integer of more than 64 bits")
        tables = [value.values() for value in level if isinstance(value, dict)]
        level = [inner for outer in (*tables, *(v for v in level if isinstance(v, list))) for inner in outer]
    if level:
        raise RecursionError


def _toolchains(parsed: SuiteFile, path: Path) -> Iterator[tuple[str, ToolChain]]:
    from conversion.errors import ConversionError
    from parity.suite.toolchain import ToolChain

    for name, table in parsed.toolchains.items():
        if name == "installed":
            raise ParityError(
                f"{path}: [toolchains.installed]: the name stands for what is installed; take another"
            )
        try:
            yield name, ToolChain(name, tuple(table.packages), table.python)
        except ConversionError as error:
            raise ParityError(f"{path}: [toolchains.{name}]: {error}") from error


def _models(parsed: SuiteFile, directory: Path) -> Iterator[ModelEntry]:
    from parity.suite.converters import finished_files, read_converters
    from parity.suite.suite_file import HEAD

    converters = read_converters(parsed, directory)
    for name, model in parsed.models.items():
        finished = finished_files(model.artifacts, directory)
        # Whoever lists finished files, and no routes, wants nothing converted.
        routes = model.routes or parsed.routes or (() if finished else DEFAULT_ROUTES)
        yield ModelEntry(
            name,
            model.factory,
            model.arguments,
            (*routes, *finished),
            tuple(model.images or parsed.images),
            {
                route: Tolerance(entry.probability, f"given in the suite file for {route}")
                for route, entry in model.tolerance.items()
            },
            model.dynamic,
            model.bounds,
            model.sizes,
            tuple(directory / name for name in matching(model.records or parsed.records, directory)),
            {**converters, **finished},
            {name: value for name in HEAD if (value := getattr(model, name)) is not None},
        )
