"""The record of a matrix: a line of JSON for each cell that was tried, so that a stopped one can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.contract import Contract
from conversion.files.json_text import parse_json
from conversion.guards.user_code import user_code
from conversion.provenance import weights_hash
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.versions.toolchain_packages import installed
from parity.versions.upgrade_verdicts import SideState

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from conversion.recipe import Route
    from parity.versions.suite_route import SuiteRoute


@dataclass(frozen=True)
class Cell:
    """Name what is tried once: a model by a route with a version of each package, in the order of the axes."""

    model: str
    route: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """Hold how a cell did: against PyTorch, and the contract of its file, where there is one."""

    subject: Subject
    state: SideState
    contract: Contract | None = None


@dataclass(frozen=True)
class _Line:
    identity: str
    cell: Cell
    tried: Tried


class Record:
    """Read the cells of a file that are of the same models, and add to it.

    identities: model -> what it is, its images and what it is tried with; lines of another are left alone. A line
    that was not written to its end counts as not there.
    """

    def __init__(self, path: Path, identities: Mapping[str, str]) -> None:
        self.path, self.identities = path, identities
        self._tried = dict(self._read())

    def __contains__(self, cell: object) -> bool:
        return cell in self._tried

    def __getitem__(self, cell: Cell) -> Tried:
        return self._tried[cell]

    def add(self, cell: Cell, tried: Tried) -> None:
        """Keep a cell, in the file too unless its tool chain could not be had: that may be another time."""
        self._tried[cell] = tried
        if tried.state == "untried":
            return
        line = _Line(self.identities[cell.model], cell, tried)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(_lines().dump_json(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ParityError(
                f"{self.path}: cannot be written ({error.strerror or error}); give another --artifacts"
            ) from error

    def _read(self) -> list[tuple[Cell, Tried]]:
        if not self.path.is_file():
            return []
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):  # a process was killed while it wrote
            content = content[: content.rfind(b"\n") + 1]
            self.path.write_bytes(content)
        found = []
        for line in content.splitlines():
            try:
                read = parse_json(line)
                if self.identities.get(read["cell"]["model"]) != read["identity"]:
                    continue
                parsed = _lines().validate_json(line)
            except (ValueError, KeyError, TypeError):  # pydantic's error is a ValueError
                continue
            found.append((parsed.cell, parsed.tried))
        return found


def identity(tried: SuiteRoute, packages: Sequence[str]) -> str:
    """Digest what decides about a cell beside its versions: model, images, tolerances, what is installed."""
    from parity.core.environment import environment

    entry, reference = tried.entry, tried.reference
    kept = {name: version for name, version in installed().items() if name not in packages}
    written = [
        *(list(packages), kept, environment().python, environment().platform),
        *(weights_hash(reference.classifier), list(reference.classifier.labels), list(reference.images.names)),
        *(_digest(reference.images.pixels), _digest(np.asarray(reference.prediction.probabilities))),
        {route: tolerance.distance for route, tolerance in entry.tolerance.items()},
        {route: _recipe(entry.recipe(route)) for route in entry.routes},
        [entry.dynamic, entry.bounds, entry.sizes],
    ]
    return hashlib.sha256(json.dumps(written, default=str).encode(errors="surrogatepass")).hexdigest()


def _recipe(route: Route) -> list[Any]:
    """Say what decides about a route beside the model: options, the user's own code, the finished file."""
    with user_code(route.name):
        return [dict(route.options), route.key() if route.key else "", _finished(route.finished)]


def _finished(path: Path | None) -> str:
    """Say which state a finished file is in; a package is a directory of files."""
    if path is None or not path.exists():
        return ""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return str([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files])


def _digest(numbers: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(numbers).tobytes()).hexdigest()


@cache
def _lines() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(_Line)
