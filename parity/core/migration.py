"""Whether the two builds of one model that ship agree: PyTorch, Core ML and Core AI, two by two, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from parity.core.compare import compare, way
from parity.core.pairs_of_builds import ChangedLabel as ChangedLabel
from parity.core.pairs_of_builds import Migration as Migration
from parity.core.prediction import Prediction
from parity.core.results import Subject
from parity.core.tolerance import Tolerance

REFERENCE = "PyTorch"
# Nothing is judged: how far they are apart is what is asked.
_ANY = Tolerance(0.5)
# Format -> the builds that it belongs to.
BUILDS: Mapping[str, str] = {"mlprogram": "Core ML", "neuralnetwork": "Core ML", "coreai": "Core AI"}


@dataclass(frozen=True)
class Build:
    """Hold what one leg answered; name: route, precision and backend. format: of the file."""

    name: str
    format: str
    prediction: Prediction


def builds_of(subject: Subject, form: str, prediction: Prediction) -> list[Build]:
    """Make a build of a leg that ships with an app; none of any other. form: its file's format."""
    name = f"{way(subject)} ({subject.precision}) on {subject.backend}"
    return [Build(name, form, prediction)] if form in BUILDS else []


def migrations(
    model: str, reference: Prediction, builds: Sequence[Build], images: Sequence[str]
) -> Iterator[Migration]:
    """Compare every build of Core ML with every one of Core AI, and each with PyTorch; nothing without both."""
    old, new = ([one for one in builds if BUILDS.get(one.format) == kind] for kind in ("Core ML", "Core AI"))
    if not (old and new and images):
        return
    of_torch = Build(REFERENCE, "", reference)
    for first, second in (*product([of_torch], [*old, *new]), *product(old, new)):
        yield _compared(model, reference, first, second, images)


def _compared(model: str, reference: Prediction, first: Build, second: Build, images: Sequence[str]) -> Migration:
    # What has no labels of its own answers in the order of the model's.
    before = replace(
        first.prediction, labels=first.prediction.labels or reference.labels, specs=reference.specs, top1=None
    )
    compared = compare(before, second.prediction, _ANY, images)
    changed = tuple(
        ChangedLabel(case.image, case.reference.label, case.candidate.label)
        for case in compared.cases
        if not case.same_answer
    )
    finite = all(case.max_abs_diff is not None for case in compared.cases)
    farthest = compared.max_abs_diff if finite else None
    return Migration(model, first.name, second.name, len(compared.cases), farthest, changed)
