"""What undoes a suspected fault, in memory, and what it proves if the two agree then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.reference import Reference
from parity.core.compare import compare, with_exact_sums
from parity.core.metric import metric_of
from parity.core.results import FAILING_CASES, Comparison, Prediction
from parity.core.tolerance import Tolerance
from parity.formats.editing import Edit
from parity.suite.images import ImageSet

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

# What is proven where the fault was taken out of the candidate, or out of the reference.
UNDONE = "undoing it restores parity"


@dataclass(frozen=True)
class Repair:
    """Undo one suspected fault; what is None stays as it is.

    Nothing here loosens the tolerance: a repair confirms a cause by agreement within the leg's own, or not at all.

    pixels: changes uint8 [N, H, W, 3] before the artefact gets them. answers: changes what it gives.
    edit: changes a copy of the file. batch: so many images go in at once.
    run: makes what runs the file, in the place of the backend.
    reference: makes PyTorch's side otherwise, where what is suspected cannot be taken out of the candidate: the two
    then agree with the same done to PyTorch.
    evidence: what it proves if the two agree then, in words that are true of what was done.
    fix: the same as a line of code for the user, where there is one.
    """

    pixels: Callable[[np.ndarray], np.ndarray] | None = None
    answers: Callable[[Prediction], Prediction] | None = None
    edit: Edit | None = None
    batch: int | None = None
    run: Callable[[Artifact], Predict] | None = None
    reference: Callable[[Reference], Reference] | None = None
    evidence: str = UNDONE
    fix: str = ""


def judged(reference: Reference, candidate: Prediction, tolerance: float) -> Comparison:
    """Compare by a tolerance that was settled before."""
    both = (reference.prediction, candidate, Tolerance(tolerance), reference.images.names)
    return with_exact_sums(*both, compare(*both))[0]


def evidence_of(repairs: Sequence[Repair]) -> str:
    """Say what it proves that the two agree after these repairs together: of several, none did it alone."""
    if len(repairs) == 1:
        return repairs[0].evidence
    if all(repair.evidence == UNDONE for repair in repairs):
        return f"undoing all {len(repairs)} together restores parity"
    each = "; ".join(dict.fromkeys(repair.evidence for repair in repairs))
    return f"with all {len(repairs)} out of the way parity holds ({each})"


def holds(comparison: Comparison) -> bool:
    """Say whether all images agree; whether that proves anything was asked before."""
    return bool(comparison.cases) and comparison.verdict in ("pass", "inconclusive")


def badness(comparison: Comparison) -> tuple[float, float]:
    """Rank failing comparisons: the share of images that fail, and the median of their largest |dp|."""
    if not comparison.cases:
        return 1.0, float("inf")
    apart = [float("inf") if case.max_abs_diff is None else case.max_abs_diff for case in comparison.cases]
    failing = sum(case.verdict in FAILING_CASES for case in comparison.cases)
    return failing / len(apart), float(np.median(apart))


def relabelled(prediction: Prediction, labels: Sequence[str]) -> Prediction:
    """Give a prediction's columns other names; what the model itself named is renamed alike."""
    renamed = dict(zip(prediction.labels or (), labels, strict=False))
    top1 = prediction.top1 and tuple(renamed.get(name, name) for name in prediction.top1)
    return replace(prediction, labels=tuple(labels), top1=top1)


def as_measured(reference: Prediction, answers: Prediction) -> Prediction:
    """Bring the answers of another task than a classifier's into the shape that they are measured in.

    A NeuralNetwork's arrays have axes of the format's own. reference: says what is measured.
    """
    if not reference.specs:
        return answers
    pairs = [(spec.name, metric_of(spec.kind).align(spec, answers)[0]) for spec in reference.specs]
    aligned = {name: rows for name, rows in pairs if rows is not None}
    # In the order of the task's labels from here on, where they were put into it.
    labels = reference.labels if answers.labels and len(aligned) == len(pairs) else answers.labels
    return replace(answers.answering({**answers.outputs, **aligned}), labels=labels)


def with_numbers(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Prediction], Prediction]:
    """Make a repair's change of answers out of one of their numbers: [images, labels], float64."""

    def answers(prediction: Prediction) -> Prediction:
        with np.errstate(all="ignore"):
            changed = function(np.asarray(prediction.probabilities, np.float64))
        return replace(prediction, probabilities=changed)

    return answers


def only(reference: Reference, rows: Sequence[int]) -> Reference:
    """Keep some of a reference's images."""
    places = list(rows)
    images = ImageSet(tuple(reference.images.names[i] for i in places), reference.images.pixels[places])
    return Reference(reference.model, images, reference.prediction.of(places))
