"""Outputs beside each other, each measured by its metric: what `compare` and a streamed run have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conversion.task import PROBABILITIES, OutputSpec
from parity.core.cases import cases_of
from parity.core.errors import ParityError
from parity.core.metric import Variety, metric_of
from parity.core.results import Case, MeasuredOutput, Prediction


def outputs_of(specs: Sequence[OutputSpec]) -> tuple[MeasuredOutput, ...]:
    """Name what is measured; nothing for a classifier, whose one output is the case itself."""
    if [spec.kind for spec in specs] == [PROBABILITIES]:
        return ()
    return tuple(MeasuredOutput(spec.name, spec.kind, metric_of(spec.kind).distance) for spec in specs)


def reference_rows(spec: OutputSpec, reference: Prediction, images: int) -> np.ndarray:
    """Return a reference's numbers of an output; one that has not a row for each image is a ParityError."""
    rows = np.asarray(reference.outputs[spec.name], dtype=np.float64)
    if spec.labels or spec.kind == PROBABILITIES:
        if rows.shape != (images, len(spec.labels)):
            raise ParityError(
                f"the reference has outputs of shape {list(rows.shape)} for {images} images and "
                f"{len(spec.labels)} labels; give one row per image and one column per label"
            )
    elif rows.shape[:1] != (images,):
        raise ParityError(
            f"the reference's output `{spec.name}` has the shape {list(rows.shape)} for {images} images; give one "
            "row per image"
        )
    return rows


# What an output is, the reference's numbers and the candidate's, float64 of one shape.
Pair = tuple[OutputSpec, np.ndarray, np.ndarray]


def aligned(
    specs: Sequence[OutputSpec], expected: Sequence[np.ndarray], candidate: Prediction, of_other_shape: str = ""
) -> list[Pair] | str:
    """Put a candidate's outputs beside the reference's, or say why they cannot be compared.

    of_other_shape: what to say where a shape differs; empty: both shapes.
    """
    pairs: list[Pair] = []
    for spec, rows in zip(specs, expected, strict=True):
        actual, trouble = metric_of(spec.kind).align(spec, candidate)
        if actual is None:
            return trouble
        if actual.shape != rows.shape:
            return of_other_shape or f"outputs of shape {list(actual.shape)}, not {list(rows.shape)}"
        pairs.append((spec, rows, actual))
    return pairs


def measured_cases(
    pairs: Sequence[Pair],
    images: Sequence[str],
    named: Sequence[str] | None,
    allowed: float,
    truths: Sequence[str | None] | None = None,
) -> list[Case]:
    """Measure and judge every image. named: the answer's name by the candidate itself; truths: by who knows."""
    measured = [(spec, metric_of(spec.kind).measure(spec, rows, actual, named)) for spec, rows, actual in pairs]
    return list(cases_of(images, measured, allowed, truths))


def exact_numbers(spec: OutputSpec, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference's numbers without what its own arithmetic loses, and how much that is of each image."""
    rows = np.asarray(rows, dtype=np.float64)
    exact = metric_of(spec.kind).exact(rows)
    lost = np.nan_to_num(np.abs(exact - rows)).reshape(len(rows), -1).max(axis=1, initial=0.0)
    return exact, lost


@dataclass(frozen=True)
class Varieties:
    """Put outputs together: agreement proves something where it does in one of them."""

    outputs: tuple[Variety, ...]

    def merge(self, other: Varieties) -> Varieties:
        """Return what tells it of both."""
        return Varieties(tuple(one.merge(two) for one, two in zip(self.outputs, other.outputs, strict=True)))

    def lacking(self, allowed: float) -> str:
        """Say why agreement within `allowed` would prove nothing; empty where it would."""
        reasons = [one.lacking(allowed) for one in self.outputs]
        return reasons[0] if all(reasons) else ""


def varieties_of(reference: Prediction, images: int) -> Varieties:
    """Look at what a reference answers to so many images, at least one, output by output."""
    specs = reference.measured
    rows = [reference_rows(spec, reference, images) for spec in specs]
    return Varieties(tuple(metric_of(spec.kind).variety(each) for spec, each in zip(specs, rows, strict=True)))
