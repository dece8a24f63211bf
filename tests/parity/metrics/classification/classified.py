"""Cases of a classifier, from two arrays of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conversion.task import CLASS_PROBABILITIES, PROBABILITIES, OutputSpec
from parity.core.cases import cases_of
from parity.core.results import Case
from parity.metrics.classification.cases import measure


def make_cases(
    images: Sequence[str],
    labels: Sequence[str],
    answers: tuple[np.ndarray, np.ndarray],
    tolerance: float,
    truths: Sequence[str | None] | None = None,
    named: Sequence[str] | None = None,
) -> list[Case]:
    """Compare answers to images, row by row; a row's case does not depend on the rows beside it.

    answers: of the reference and of the candidate, float64 [images, classes], columns in the order of `labels`.
    truths: what each image shows, where that is known. named: the label that the candidate's model gave each image.
    """
    spec = OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, tuple(labels))
    return list(cases_of(images, [(spec, measure(spec, *answers, named))], tolerance, truths))
