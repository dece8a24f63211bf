"""Stored answers of an earlier run, and how far today's are from them.

A baseline is one JSON file per model, route and backend, in `baselines/` beside the suite file: the five most
probable classes of every image, what they were computed from, and why they were accepted. Nothing in it depends on
the clock, and its order is fixed, so that a diff reads well. Files are written only where somebody asks for it, and
says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from conversion.files.regular_files import why_no_file
from parity.backends import backends_for
from parity.core.destination import Destination
from parity.core.environment import cpu, environment, operating_system
from parity.core.errors import ParityError
from parity.core.file_kinds import tell_kind
from parity.core.noise import MACHINES
from parity.core.schemas import first_problem, written_schema
from parity.diagnosis.repair import as_measured
from parity.formats.facts import ArtifactFacts, facts
from parity.suite.images import pixels_digest
from parity.suite.suite import ALL, Selection

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from conversion import Artifact
    from parity.backends.reference import Reference
    from parity.core.results import Prediction, Subject
    from parity.suite.suite import Suite

SCHEMA: Final = "parity-baseline/1"
DIRECTORY = "baselines"
TOP = 5

ACCEPT_BY_COMMAND = "parity baseline record --reason '...'"
ACCEPT_BY_PYTEST = "pytest --parity-update-baselines --parity-reason '...'"

Kind = Literal["same bits", "within noise", "moved", "tie", "flip", "gone", "new"]
# These fail a test or a check. An image without stored answers, or one that is gone, is listed.
KINDS: tuple[Kind, ...] = ("same bits", "within noise", "moved", "tie", "flip", "gone", "new")
MATTERS: frozenset[Kind] = frozenset({"moved", "flip"})


# What pydantic reads a class by: exactly these keys, each of its type.
_EXACT: Any = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True)
class ImageAnswers:
    """Hold one image's answers.

    pixels: SHA-256 of the uint8 pixels that the model was shown.
    top: the most probable classes with their probabilities, the most probable first.
    """

    pixels: str
    top: tuple[tuple[str, float], ...]
    __pydantic_config__ = _EXACT


@dataclass(frozen=True)
class Baseline:
    """Hold what one model, by one route, on one backend, answered.

    weights: SHA-256 of the PyTorch model's weights. reason: why these answers were accepted.
    cpu, artifact: None in files that were written before baselines had them.
    """

    model: str
    route: str
    backend: str
    precision: str
    reason: str
    weights: str
    environment: Mapping[str, str | Mapping[str, str]]
    images: Mapping[str, ImageAnswers] = field(default_factory=dict)
    cpu: str | None = None
    artifact: ArtifactFacts | None = None
    schema: Literal["parity-baseline/1"] = SCHEMA
    __pydantic_config__ = _EXACT


@dataclass(frozen=True)
class Change:
    """Say what became of one image's answers; `told` is a sentence."""

    kind: Kind
    told: str
    max_abs_diff: float | None = None

    @property
    def matters(self) -> bool:
        """Tell whether somebody has to look at it."""
        return self.kind in MATTERS


def baseline_file(directory: Path, subject: Subject) -> Path:
    """Name the file of a subject's baseline; directory: the suite file's."""
    model = re.sub(r"[^\w.-]|^\.+", "_", subject.model) or "_"
    # The route of a finished file is its path.
    route = re.sub(r"[^\w.-]|^\.+", "_", subject.route)
    return directory / DIRECTORY / model / f"{route}.{subject.backend}.json"


def make_baseline(
    subject: Subject, artifact: Artifact, reference: Reference, prediction: Prediction, reason: str
) -> Baseline:
    """Make a baseline of what a backend answered just now."""
    prediction = as_measured(reference.prediction, prediction)
    labels = prediction.labels or reference.classifier.labels
    images = {
        name: ImageAnswers(pixels_digest(pixels), _top(row, labels))
        for name, pixels, row in zip(
            reference.images.names, reference.images.pixels, prediction.probabilities, strict=True
        )
    }
    here = replace(environment(), platform=operating_system())
    return Baseline(
        subject.model,
        subject.route,
        subject.backend,
        subject.precision,
        reason,
        artifact.provenance.weights if artifact.provenance else "",
        asdict(here),
        images,
        cpu(),
        facts(artifact),
    )


def compare_with_baseline(stored: Baseline, current: Baseline) -> dict[str, Change]:
    """Sort what became of every image that either of the two has."""
    names = list(dict.fromkeys([*stored.images, *current.images]))
    return {name: _change(stored, current, name) for name in names}


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file; anything else is a ParityError that names it."""
    from pydantic import ValidationError

    try:
        if why := why_no_file(path):
            raise ValueError(f"it {why}")
        stored = _adapter().validate_json(path.read_bytes())
        for name, answers in stored.images.items():
            if disorder := _disorder(answers):
                raise ValueError(f"{name}: {disorder}")
        return stored
    except (OSError, ValueError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        reason = tell_kind(path, "parity-baseline") or problem
        raise ParityError(f"{path}: not a baseline ({reason}); record it again, or delete it") from error


@cache
def _adapter() -> TypeAdapter[Baseline]:
    from pydantic import TypeAdapter

    return TypeAdapter(Baseline)


def _disorder(answers: ImageAnswers) -> str:
    """Say why stored classes are not the most probable ones, each once, by size; empty where they are."""
    if not answers.top:
        return "it has no probabilities"
    labels, numbers = zip(*answers.top, strict=True)
    if len(set(labels)) < len(labels) or list(numbers) != sorted(numbers, reverse=True):
        return f"{labels[0]!r} comes first, and the classes are not each once, by size"
    return ""


def write_baseline(path: Path, baseline: Baseline, force: bool = False) -> bool:
    """Write a baseline file whole or not at all; one that says the same keeps its reason. Tell whether it was.

    force: also over a file that is none. Without it, and where it cannot be written, ParityError.
    """
    with suppress(ParityError):
        stored = read_baseline(path)
        said = replace(stored, reason=baseline.reason, environment=baseline.environment, cpu=baseline.cpu)
        if said == baseline:
            return False
    baseline_destination(path, force).write(to_json(baseline))
    return True


def baseline_destination(path: Path, force: bool = False) -> Destination:
    """Describe where a baseline is written."""
    option = "--force (of pytest: --parity-force)"
    return Destination(path, path.absolute(), "parity-baseline", (), force, option, makes_directory=True)


def to_json(baseline: Baseline) -> str:
    """Write a baseline as its file has it: an image per line, so that a diff shows which ones changed."""
    content = asdict(baseline)
    images = content.pop("images")
    lines = json.dumps(content, indent=2, ensure_ascii=False).splitlines()[:-1]
    listed = ",\n".join(
        f"    {json.dumps(name, ensure_ascii=False)}: {json.dumps(images[name], ensure_ascii=False)}"
        for name in sorted(images)
    )
    return "\n".join([*lines[:-1], f"{lines[-1]},", '  "images": {', listed, "  }", "}"]) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a baseline (committed as parity/schemas/baseline.schema.json)."""
    schema = written_schema(_adapter(), "coreml-parity baseline")
    # A file that was written before baselines had them is one too.
    schema["required"] = [key for key in schema["required"] if key not in ("cpu", "artifact")]
    return schema


def unused_baselines(suite: Suite) -> Iterator[Path]:
    """List the baseline files that no model, route and backend of the suite reads."""
    yield from sorted(set((suite.directory / DIRECTORY).glob("*/*.json")) - set(baseline_files(suite)))


def baseline_files(suite: Suite, selection: Selection = ALL) -> Iterator[Path]:
    """Name the baseline files of a suite, or of a part of it, whether they are there or not."""
    from parity.core.results import Subject

    for entry in selection.entries(suite):
        for route in selection.routes_of(entry):
            for backend in selection.backends_of(backends_for(entry.recipe(route).format)):
                yield baseline_file(suite.directory, Subject(entry.name, route, "", backend, "", "skipped"))


def _top(row: np.ndarray, labels: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-row, kind="stable")[:TOP]
    return tuple((labels[i], float(row[i])) for i in order)


def _change(stored: Baseline, current: Baseline, name: str) -> Change:
    before, now = stored.images.get(name), current.images.get(name)
    if before is None:
        return Change("new", f"{name} has no baseline")
    if now is None:
        return Change("gone", f"{name} is in the baseline alone")
    if before.pixels != now.pixels:
        return Change("moved", f"{name}: the baseline was made from other pixels")
    if before.top == now.top:
        return Change("same bits", f"{name}: the same bits", 0.0)
    noise = MACHINES[current.precision]
    stored_top, current_top = dict(before.top), dict(now.top)
    shared = stored_top.keys() & current_top.keys()
    # A class that only one of the two lists is at most as probable as the least that the other lists.
    apart = max(
        [abs(stored_top[label] - current_top[label]) for label in shared]
        + [max(0.0, stored_top[label] - now.top[-1][1]) for label in stored_top.keys() - shared]
        + [max(0.0, current_top[label] - before.top[-1][1]) for label in current_top.keys() - shared]
    )
    message = f"{name}: {_answer(before)} in the baseline, {_answer(now)} now, largest difference {apart:.3g}"
    if before.top[0][0] != now.top[0][0]:
        margin = before.top[0][1] - stored_top.get(now.top[0][0], before.top[-1][1])
        if apart <= noise and margin <= 2 * noise:
            return Change("tie", message, apart)
        return Change("flip", message, apart)
    if apart <= noise:
        return Change("within noise", message, apart)
    return Change("moved", f"{message}, noise is {noise:.0e}", apart)


def _answer(answers: ImageAnswers) -> str:
    label, probability = answers.top[0]
    return f"{label!r} at {probability:.4g}"
