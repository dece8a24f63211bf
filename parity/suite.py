"""The suite file: which models, by which routes, on which images, with which tolerances and known issues."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.errors import ParityError
from parity.tolerance import Tolerance

if TYPE_CHECKING:
    from conversion.shapes import Dynamic
    from parity.suite_file import SuiteFile

DEFAULT_ROUTES = ("onnx", "onnx-torchscript", "mlprogram", "mlprogram-fp32")


@dataclass(frozen=True)
class KnownIssueEntry:
    """Expect a failure; `*` stands for every model, route or backend."""

    model: str
    route: str
    backend: str
    reason: str
    link: str


@dataclass(frozen=True)
class ModelEntry:
    """Describe one model of the suite.

    factory: `file.py:callable` relative to the suite file, `package.module:callable`, or `torchvision:name`.
    arguments: keyword arguments for the factory.
    tolerance: route -> tolerance, where the default is not wanted.
    dynamic, bounds, sizes: which axes of the converted models stay open; see conversion.shapes.open_axes.
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


@dataclass(frozen=True)
class Suite:
    """Hold a validated suite file; paths in it are relative to `directory`."""

    path: Path
    models: tuple[ModelEntry, ...]
    known_issues: tuple[KnownIssueEntry, ...] = ()

    @property
    def directory(self) -> Path:
        """Return the directory of the suite file."""
        return self.path.parent


def find_suite(given: Path | None) -> Path:
    """Return the suite file to use: the one given, else ./parity.toml, else fixtures/parity.toml."""
    if given is not None:
        return given / "parity.toml" if given.is_dir() else given
    for path in (Path("parity.toml"), Path("fixtures/parity.toml")):
        if path.is_file():
            return path
    raise ParityError("no suite file: neither parity.toml nor fixtures/parity.toml is here; give its path")


def read_suite(path: Path) -> Suite:
    """Read and validate a suite file; everything that is wrong is told at once, in one ParityError."""
    if not path.is_file():
        raise ParityError(f"{path}: no such suite file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParityError(f"{path}: not valid TOML: {error}") from error
    from parity.suite_file import validate  # pydantic and the routes load when a suite is read, not before

    parsed = validate(path, content)
    return Suite(path, tuple(_models(parsed)), tuple(KnownIssueEntry(**vars(k)) for k in parsed.known_issues))


def _models(parsed: SuiteFile) -> Iterator[ModelEntry]:
    for name, model in parsed.models.items():
        yield ModelEntry(
            name,
            model.factory,
            model.arguments,
            tuple(model.routes or parsed.routes or DEFAULT_ROUTES),
            tuple(model.images or parsed.images),
            {
                route: Tolerance(entry.probability, f"given in the suite file for {route}")
                for route, entry in model.tolerance.items()
            },
            model.dynamic,
            model.bounds,
            model.sizes,
        )
