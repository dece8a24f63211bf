"""How near a file's answers come to PyTorch's, whatever its head is: what comes nearest tells the contract.

Logits where probabilities are meant are far from these under the right contract too, and the nearer to them the
smaller they are: the farther the numbers that go in are from what the network knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from conversion.task import OutputSpec
from parity.core.noise import HALF_SUM
from parity.core.results import Prediction
from parity.diagnosis.heads import Head, head_of, logit, softmax, unsoftmax

# What a file with a faulty head answers -> the probabilities that it means.
Reading = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Nearness:
    """Say how near answers come.

    far: the largest mean |dp| over images and labels of any output; infinite where they cannot be compared.
    agreeing: how many outputs agree. One is enough to tell the input: all outputs read the same image.
    """

    far: float
    agreeing: int


def nearness(
    expected: Prediction, answers: Prediction, allowed: float, specs: Sequence[OutputSpec] = ()
) -> Nearness:
    """Measure answers against PyTorch's.

    allowed: the largest |dp| of an output that agrees. specs: of outputs that may have a faulty head: each is taken
    as the one of its readings that comes nearest.
    """
    heads = {spec.name: head_of(spec) for spec in specs}
    apart = [_apart(rows, answers.outputs.get(name), heads.get(name)) for name, rows in expected.outputs.items()]
    return Nearness(
        max((mean for mean, _ in apart), default=float("inf")), sum(largest <= allowed for _, largest in apart)
    )


def _apart(expected: np.ndarray, rows: np.ndarray | None, head: Head | None) -> tuple[float, float]:
    """Return the mean and the largest |dp| of one output, as it is read best."""
    if rows is None or np.shape(rows) != np.shape(expected):
        return float("inf"), float("inf")
    numbers = np.asarray(rows, np.float64)
    with np.errstate(all="ignore"):
        differences = [np.abs(read(numbers) - expected) for read in (_as_it_is, *_readings(numbers, head))]
    pairs = [(float(one.mean()), float(one.max(initial=0.0))) for one in differences if np.isfinite(one).all()]
    return min(pairs, default=(float("inf"), float("inf")))


def _readings(rows: np.ndarray, head: Head | None) -> tuple[Reading, ...]:
    """List what may be meant by an output of labels, by the range of its numbers."""
    if head is None or rows.ndim != 2 or not np.isfinite(rows).all():
        return ()
    between = bool((rows >= 0).all()) and bool((rows <= 1).all())
    if not head.sums_to_one:
        return (logit,) if between else (head.probabilities, np.exp, _of_percent)
    if between and bool((np.abs(rows.sum(axis=1) - 1) < HALF_SUM).all()):
        return (unsoftmax,)
    of_sigmoid = (lambda one: softmax(logit(one)),) if between else ()
    return (softmax, np.exp, _of_percent, *of_sigmoid)


def _as_it_is(rows: np.ndarray) -> np.ndarray:
    return rows


def _of_percent(rows: np.ndarray) -> np.ndarray:
    return rows / 100
