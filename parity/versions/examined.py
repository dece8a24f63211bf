"""`parity doctor MODEL`: which known-bad pairs a model would hit with what is installed, before it is converted.

MODEL --record--> Program + routes + installed versions --hits--> Examined
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conversion.guards.torch_defaults import with_torch_defaults
from parity.core.schemas import written_schema
from parity.diagnosis.recording import record
from parity.suite.models import find_classifier, find_entry
from parity.versions.known_bad import hits, known_bad
from parity.versions.toolchain_packages import installed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

    from conversion import Classifier
    from conversion.recipe import Route
    from parity.diagnosis.source import Program


@dataclass(frozen=True)
class FoundPair:
    """Say where a model would hit a pair, with all that there is to know of it.

    pair: its id. modules: paths in the model, empty for what forward does itself. links: to public threads.
    """

    pair: str
    package: str
    version: str
    title: str
    advice: str
    links: tuple[str, ...]
    routes: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Examined:
    """Hold what a model would hit. routes: those that were looked at; of: how many pairs are known."""

    model: str
    routes: tuple[str, ...]
    hits: tuple[FoundPair, ...]
    of: int
    schema: Literal["parity-doctor/1"] = "parity-doctor/1"

    @property
    def exit_code(self) -> int:
        """0 it hits no pair, 1 it does."""
        return 1 if self.hits else 0


@with_torch_defaults
def examine_model(model: str, suite: Path | None) -> Examined:
    """Examine MODEL as a command takes it: by the routes of the suite that it is a name of, or by all of ours.

    Raises ParityError for what is no model, and for one whose operations cannot be recorded.
    """
    classifier = find_classifier(model, suite)
    routes = _routes(model, suite)
    found = tuple(
        FoundPair(
            *(hit.pair.id, hit.pair.package, hit.version, hit.pair.title, hit.pair.advice, hit.pair.links),
            *(hit.routes, hit.modules),
        )
        for hit in hits(operations_of(classifier), routes, installed())
    )
    return Examined(classifier.name, tuple(routes), found, len(known_bad()))


def operations_of(classifier: Classifier) -> Program:
    """Record what a classifier computes of a picture of noise, from the pixels to the probabilities."""
    import torch

    from conversion.deployed import deployed_module

    generator = torch.Generator().manual_seed(11)
    height, width = classifier.preprocessing.size
    image = 255 * torch.rand(1, classifier.preprocessing.channels, height, width, generator=generator)
    return record(deployed_module(classifier), image)


def _routes(model: str, suite: Path | None) -> Mapping[str, Route]:
    from conversion.routes import ROUTES

    if ":" in model:
        return ROUTES
    _, entry = find_entry(model, suite)
    return {route: entry.recipe(route) for route in entry.routes}


def examined_to_json(examined: Examined) -> str:
    """Write what was found as JSON."""
    return _adapter().dump_json(examined, indent=2).decode() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of what a model would hit (committed as parity/schemas/doctor.schema.json)."""
    return written_schema(_adapter(), "coreml-parity doctor")


@cache
def _adapter() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Examined)
