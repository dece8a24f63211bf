"""What the tests of one process share: a model is loaded, converted and run once for all of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conversion.errors import ConversionError
from conversion.routes import ROUTES
from parity.baselines import (
    Change,
    baseline_file,
    compare_with_baseline,
    make_baseline,
    read_baseline,
    write_baseline,
)
from parity.errors import ParityError
from parity.results import Subject
from parity.suite import ModelEntry, Suite

_KEY = pytest.StashKey["Workbench"]()
# Two: a worker goes from model to model, and what it left needs its memory no longer.
_MODELS_KEPT = 2


class Found(NamedTuple):
    """Hold what a test compared, as plain data that travels with its report.

    home: the suite file; empty for a test in Python. run: a Run as JSON. remarks: lines for the end of the session.
    """

    home: str
    run: str
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Leg:
    """Hold what one model, route and backend gave.

    changes: image -> what changed since the baseline; empty where there is none.
    damaged: what is wrong with the baseline's file.
    written: the baseline file that was written, because the user asked for it.
    """

    subject: Subject
    changes: Mapping[str, Change] = field(default_factory=dict)
    damaged: str = ""
    written: Path | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """List what fails nothing and has to be said all the same."""
        where = f"{self.subject.model} by {self.subject.route} on {self.subject.backend}"
        listed = tuple(f"{where}: {c.told}" for c in self.changes.values() if c.kind in ("new", "gone"))
        return (*listed, f"baseline written: {self.written}") if self.written else listed


class Workbench:
    """Keep references, artefacts and legs for as long as the session lasts."""

    def __init__(self, config: pytest.Config) -> None:
        given: Path | None = config.getoption("parity_artifacts")
        self.artifacts = given or config.rootpath / ".parity"
        self.scale: float = config.getoption("parity_tolerance_scale")
        update: bool = config.getoption("parity_update_baselines")
        self.reason: str | None = config.getoption("parity_reason") if update else None
        self._references: dict[tuple[Path, str], Any] = {}
        self._made: dict[tuple[Path, str, str], Any] = {}
        self._legs: dict[tuple[Path, str, str, str], Leg | Exception] = {}
        self._reported: set[int] = set()

    def leg(self, suite: Suite, entry: ModelEntry, route: str, backend: str) -> Leg:
        """Load, convert and compare, each once; what failed fails again with the same words."""
        key = (suite.path, entry.name, route, backend)
        if key not in self._legs:
            try:
                self._legs[key] = self._run(suite, entry, route, backend)
            except Exception as error:
                self._legs[key] = error
        found = self._legs[key]
        if isinstance(found, Exception):
            raise found
        return found

    def is_first(self, leg: Leg) -> bool:
        """Tell whether nobody asked this of the leg before: all images of a leg share one finding."""
        first = id(leg) not in self._reported  # legs live as long as the workbench, so no other gets this number
        self._reported.add(id(leg))
        return first

    def _run(self, suite: Suite, entry: ModelEntry, route: str, backend: str) -> Leg:
        from parity.pipeline import convert_entry, judge_with_prediction

        try:
            reference = self._reference(suite, entry)
        except (ParityError, ConversionError) as error:  # the factory, or an image
            told = " ".join(str(error).split())
            return Leg(Subject(entry.name, route, "", "-", ROUTES[route].precision, "error", told))
        at = (suite.path, entry.name, route)
        if at not in self._made:
            self._made[at] = convert_entry(reference.classifier, entry, route, self.artifacts)
        artifact = self._made[at]
        if isinstance(artifact, Subject):  # the conversion failed
            return Leg(artifact)
        subject, prediction = judge_with_prediction(
            reference, artifact, backend, entry.tolerance.get(route), self.scale
        )
        # Answers that are not numbers, or not one for each label, are nothing to come back to.
        if prediction is None or not subject.cases or any(case.verdict == "error" for case in subject.cases):
            return Leg(subject)
        file = baseline_file(suite.directory, subject)
        current = make_baseline(subject, artifact, reference, prediction, self.reason or "")
        if self.reason:
            return Leg(subject, written=file if write_baseline(file, current) else None)
        if not file.is_file():
            return Leg(subject)
        try:
            return Leg(subject, compare_with_baseline(read_baseline(file), current))
        except ParityError as error:
            return Leg(subject, damaged=str(error))

    def _reference(self, suite: Suite, entry: ModelEntry) -> Any:
        from parity.pipeline import load_entry

        key = (suite.path, entry.name)
        if key not in self._references:
            while len(self._references) >= _MODELS_KEPT:
                self._references.pop(next(iter(self._references)))
            self._references[key] = load_entry(suite, entry)
        return self._references[key]


def workbench(config: pytest.Config) -> Workbench:
    """Return the session's workbench, made when first asked for."""
    if _KEY not in config.stash:
        config.stash[_KEY] = Workbench(config)
    return config.stash[_KEY]
