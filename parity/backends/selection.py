"""What a command line selects: refused where a part of it would select nothing, and counted."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.routes import find_route
from parity.backends import backends_for, find_backend, record_names
from parity.core.errors import ParityError
from parity.suite.records import read_records

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.suite.suite import ModelEntry, Selection, Suite

_KINDS = ("model", "route", "backend")


def check_selection(suite: Suite, selection: Selection) -> None:
    """Raise ParityError for every name that selects nothing of a suite beside the others.

    Whoever asks for a backend must not take a run without it for an answer.
    """
    own = {name: route for entry in suite.models for name, route in entry.converters.items()}
    for name in selection.routes:
        find_route(name, own)
    legs = [
        (entry.name, route, backend)
        for entry in suite.models
        for route in entry.routes
        for backend in backends_for(entry.recipe(route).format, entry.records)
    ]
    for backend in selection.backends:
        if backend not in {leg[2] for leg in legs}:
            find_backend(backend)
    chosen = (selection.models, selection.routes, selection.backends)
    for place, kind in enumerate(_KINDS):
        others = [() if i == place else names for i, names in enumerate(chosen)]
        # Where the others exclude each other, one of them is to blame: then all that the suite has is named.
        offered = list(dict.fromkeys(leg[place] for leg in _selected(legs, others) or legs))
        left = {leg[place] for leg in _selected(legs, chosen)}
        for name in chosen[place]:
            if name not in left:
                near = difflib.get_close_matches(name, [n for n in offered if n != name], n=1)
                hint = f"; did you mean {near[0]}?" if near and not _beside(others) else ""
                raise ParityError(
                    f"{suite.path}: no {kind} `{name}`{_beside(others)}{hint} ({kind}s: {', '.join(offered)})"
                )


def backends_of(suite: Suite, selection: Selection) -> list[str]:
    """List the backends that a run will ask, each once."""
    entries = selection.entries(suite)
    formats = {entry.recipe(route).format for entry in entries for route in selection.routes_of(entry)}
    return sorted({name for one in formats for name in selection.backends_of(backends_for(one))})


def steps_of(
    progress: Callable[[str, float | None], None],
    entry: ModelEntry,
    selection: Selection,
    start: float,
    share: float,
) -> Callable[[str], None]:
    """Count one model's steps: PyTorch, and for each route its conversion and its backends."""
    able = (backends_for(entry.recipe(route).format, entry.records) for route in selection.routes_of(entry))
    total = 1 + sum(1 + len(backends) for backends in able)
    done = 0

    def step(message: str) -> None:
        nonlocal done
        progress(message, start + share * min(done / total, 1.0))
        done += 1

    return step


def check_backends(artifacts: Sequence[Artifact], backends: Sequence[str], records: Sequence[Path] = ()) -> None:
    """Raise ParityError for an artefact that no backend runs, and a backend that runs none; empty means all."""
    for path in records:
        read_records(path)  # a file of another kind is bad input, not an artefact that fails
    recorded = {name: tuple(a.format for a in artifacts) for name in record_names(records)}
    runs = {backend: recorded.get(backend) or find_backend(backend).FORMATS for backend in backends}
    for artifact in artifacts if runs else ():
        able = backends_for(artifact.format, records)
        if not set(able) & set(runs):
            raise ParityError(
                f"{artifact.path}: {' and '.join(backends)} cannot run {artifact.format}; "
                f"backends that can: {', '.join(able)}"
            )
    for backend, formats in runs.items():
        if not any(backend in backends_for(artifact.format, records) for artifact in artifacts):
            raise ParityError(f"backend `{backend}` runs {' and '.join(formats)}, and no such artefact is given")


def _selected(legs: Sequence[tuple[str, ...]], chosen: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [leg for leg in legs if all(not names or part in names for part, names in zip(leg, chosen, strict=True))]


def _beside(others: Sequence[Sequence[str]]) -> str:
    listed = [f"{kind} {' or '.join(names)}" for kind, names in zip(_KINDS, others, strict=True) if names]
    return f" with {' and '.join(listed)}" if listed else ""
