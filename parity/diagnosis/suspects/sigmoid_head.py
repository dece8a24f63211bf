"""What stands between logits and the probabilities of labels apart: sigmoid absent, twice, softmax, or scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from conversion.task import PROBABILITIES
from parity.core.noise import HALF_SUM
from parity.diagnosis.graft import one_by_one
from parity.diagnosis.heads import HEADS, Head, logit, sigmoid
from parity.diagnosis.repair import Repair, with_numbers
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.outputs import has_unread_head
from parity.diagnosis.suspects.temperature import temperatures
from parity.formats import format_of
from parity.formats.trace import open_trace

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.core.results import Prediction
    from parity.diagnosis.examination import Examination

_SIGMOID_FIX = "model = torch.nn.Sequential(model, torch.nn.Sigmoid())"
# What sigmoid makes of numbers between 0 and 1.
_TWICE = (0.5, float(np.e / (1 + np.e)))
# Outputs beyond 0..1 by no more than this are rounded.
_SLACK = 1e-3


@dataclass(frozen=True)
class _Mistake:
    """Describe a head that is not sigmoid alone.

    low, high: between these lies whatever it answers. undo: makes the probabilities of its answers.
    message: with {low} and {high} of the answers.
    """

    fault: str
    low: float
    high: float
    undo: Callable[[np.ndarray], np.ndarray]
    message: str
    fix: str


# Of answers that are no probabilities. Which of them it is, what they come to when it is undone tells.
_NO_PROBABILITIES = (
    _Mistake(
        "head-sigmoid-missing",
        -np.inf,
        np.inf,
        sigmoid,
        "The output is logits ({low:.3g} to {high:.3g}): sigmoid is missing.",
        _SIGMOID_FIX,
    ),
    _Mistake(
        "head-log-sigmoid",
        -np.inf,
        _SLACK,
        np.exp,
        "The output is logarithms of the probabilities ({low:.3g} to {high:.3g}): log_sigmoid stands where sigmoid "
        "is meant.",
        "end the model with sigmoid, not with log_sigmoid",
    ),
    _Mistake(
        "head-percent",
        0.0,
        100 * (1 + _SLACK),
        lambda outputs: outputs / 100,
        "The probabilities go up to {high:.3g}, not to 1: the output is multiplied by 100.",
        "divide the output by 100",
    ),
)
_AGAIN = _Mistake(
    "head-sigmoid-twice",
    *_TWICE,
    logit,
    f"Sigmoid is applied twice: no probability is below {_TWICE[0]:g} or above e/(1+e) = {_TWICE[1]:.3g}.",
    "remove one of the two sigmoid",
)


def of_labels_apart(examination: Examination, outputs: np.ndarray, head: Head) -> Iterator[Suspect]:
    """Read the outputs' range, undo each head that answers in it, and look whether they are shares of 1."""
    expected = examination.torch.probabilities
    if not np.isfinite(outputs).all():
        return
    low, high = float(outputs.min()), float(outputs.max())
    if low < -_SLACK or high > 1 + _SLACK:
        possible = [one for one in _NO_PROBABILITIES if low >= one.low and high <= one.high]
        if has_unread_head(examination, head):
            possible = [one for one in possible if one.fault != "head-sigmoid-missing"]
        nearest = sorted(possible, key=lambda one: _off(one.undo(outputs), expected))
        for place, one in enumerate(nearest):
            yield _suspect(one, outputs, seen=not place)
    elif _within(outputs, _TWICE) and not _within(expected, _TWICE):
        yield _suspect(_AGAIN, outputs, seen=True)
    elif _are_shares(outputs) and not _are_shares(expected):
        yield _softmax(examination)
    else:
        yield from temperatures(examination, outputs, head)


def _suspect(one: _Mistake, outputs: np.ndarray, seen: bool) -> Suspect:
    message = one.message.format(low=outputs.min(), high=outputs.max())
    return Suspect(one.fault, message, Repair(answers=with_numbers(one.undo), fix=one.fix), seen=seen)


def _off(probabilities: np.ndarray, expected: np.ndarray) -> float:
    """Measure how far answers are from PyTorch's on the whole; of another number of labels nothing is near."""
    return float(np.abs(probabilities - expected).mean()) if probabilities.shape == expected.shape else np.inf


def _within(values: np.ndarray, bounds: tuple[float, float]) -> bool:
    return float(values.min()) >= bounds[0] - _SLACK and float(values.max()) <= bounds[1] + _SLACK


def _are_shares(values: np.ndarray) -> bool:
    return values.shape[1] > 1 and bool((np.abs(values.sum(axis=1) - 1) < HALF_SUM).all())


def _softmax(examination: Examination) -> Suspect:
    """Say that softmax stands in sigmoid's place: what it divides an image by is known in the file alone."""
    graph = examination.file.graph
    end = HEADS[PROBABILITIES].end_of(graph) if graph and not examination.candidate.is_elsewhere else None
    repair = None
    if end is not None and len(end.inputs) == 1:
        repair = Repair(
            run=partial(_by_sigmoid, read=end.inputs[0], gives=end.outputs[0]),
            evidence="the same file with sigmoid in its place agrees",
            fix="end the model with torch.nn.Sigmoid(), not with softmax",
        )
    message = "The output is softmax of the logits where sigmoid is meant: the probabilities of an image sum to 1."
    return Suspect("head-softmax", message, repair, seen=True)


def _by_sigmoid(artifact: Artifact, read: str, gives: str) -> Predict:
    """Make a Predict that puts sigmoid of a value in the place of another."""
    trace = open_trace(artifact)
    answer = format_of(artifact).open_with_values(artifact, [gives])

    def answer_one(image: np.ndarray) -> Prediction:
        value = trace(image)[read]
        return answer(image[None], {gives: np.asarray(sigmoid(value.astype(np.float64)), value.dtype)})

    return one_by_one(answer_one)
