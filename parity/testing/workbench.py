"""What the tests of one process share: a model is loaded, converted and run once for all of its images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conversion.errors import ConversionError
from conversion.guards.user_code import user_code
from parity.backends import limited
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.suite.suite import ModelEntry, Suite
from parity.suite.thumbnails import worst_thumbnails
from parity.versions.drift import Drift, follow

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


class Workbench:
    """Keep references, artefacts and legs for as long as the session lasts."""

    def __init__(self, config: pytest.Config) -> None:
        self.artifacts: Path = config.getoption("parity_artifacts") or config.rootpath / ".parity"
        self.scale: float = config.getoption("parity_tolerance_scale")
        self.strict: bool = config.getoption("parity_strict")
        self.time_limit: float | None = config.getoption("parity_time_limit")
        update: bool = config.getoption("parity_update_baselines")
        self.force: bool = config.getoption("parity_force")
        self.reason: str | None = config.getoption("parity_reason") if update else None
        self._references: dict[tuple[Path, str], Any] = {}
        self._made: dict[tuple[Path, str, str], Any] = {}
        self._legs: dict[tuple[Path, str, str, str], Drift | Exception] = {}
        self._explainers: dict[tuple[Path, str, str], Any] = {}
        self._reported: set[int] = set()

    def leg(self, suite: Suite, entry: ModelEntry, route: str, backend: str) -> Drift:
        """Load, convert and compare, each once; what failed fails again with the same words."""
        key = (suite.path, entry.name, route, backend)
        if key not in self._legs:
            try:
                with self.limited(), user_code(entry.factory):
                    self._legs[key] = self._run(suite, entry, route, backend)
            except Exception as error:
                self._legs[key] = error
        outcome = self._legs[key]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def limited(self) -> AbstractContextManager[None]:
        """Let artefacts take as long as the session's time limit allows, inside."""
        return limited.time_limit(limited.DEFAULT if self.time_limit is None else self.time_limit)

    def thumbnails(self, suite: Suite, entry: ModelEntry, subject: Subject) -> dict[str, str]:
        """Make pictures of the worst images of a leg that was just run."""
        reference = self._references.get((suite.path, entry.name))
        return worst_thumbnails(subject, reference.images.by_name) if reference else {}

    def is_first(self, leg: Drift) -> bool:
        """Tell whether nobody asked this of the leg before: all images of a leg share one finding."""
        first = id(leg) not in self._reported  # legs live as long as the workbench, so no other gets this number
        self._reported.add(id(leg))
        return first

    def _run(self, suite: Suite, entry: ModelEntry, route: str, backend: str) -> Drift:
        from parity.diagnosis.causes import Explainer
        from parity.entries import convert_entry, judging_of
        from parity.judging import judge_with_prediction
        from parity.pipeline import Leg

        try:
            reference = self._reference(suite, entry)
        except (ParityError, ConversionError) as error:  # the factory, or an image
            reason = " ".join(str(error).split())
            return Drift(Subject(entry.name, route, "", "-", entry.recipe(route).precision or "", "error", reason))
        at = (suite.path, entry.name, route)
        if at not in self._made:
            self._made[at] = convert_entry(reference.classifier, entry, route, self.artifacts, lambda: reference)
        artifact = self._made[at]
        if isinstance(artifact, Subject):  # the conversion failed
            return Drift(artifact)
        judging = replace(judging_of(entry, route, self.scale), strict=self.strict)
        subject, prediction = judge_with_prediction(reference, artifact, backend, judging)
        explainer = self._explainers.setdefault(at, Explainer())
        subject = explainer(subject, reference, artifact, prediction)
        return follow(suite.directory, Leg(subject, reference, artifact, prediction), self.reason, self.force)

    def _reference(self, suite: Suite, entry: ModelEntry) -> Any:
        from parity.entries import load_entry

        key = (suite.path, entry.name)
        if key not in self._references:
            while len(self._references) >= _MODELS_KEPT:
                self._references.pop(next(iter(self._references)))
            self._references[key] = load_entry(suite, entry)
        return self._references[key]


def remarks(leg: Drift) -> tuple[str, ...]:
    """List what fails nothing and has to be said all the same."""
    where = f"{leg.subject.model} by {leg.subject.route} on {leg.subject.backend}"
    listed = tuple(f"{where}: {c.told}" for c in leg.changes.values() if c.kind in ("new", "gone"))
    return (*listed, f"baseline written: {leg.written}") if leg.written else listed


def workbench(config: pytest.Config) -> Workbench:
    """Return the session's workbench, made when first asked for."""
    if _KEY not in config.stash:
        config.stash[_KEY] = Workbench(config)
    return config.stash[_KEY]
