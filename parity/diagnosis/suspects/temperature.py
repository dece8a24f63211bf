"""Logits that are multiplied before the head: seen in the file's own logits, or in those of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.diagnosis.graft import one_by_one
from parity.diagnosis.heads import Head
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.formats import format_of
from parity.formats.trace import open_trace

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination

_SMALLEST = 1e-30
# What a line leaves of the logits' variance, where it explains them; and a factor that is none.
_LEFT, _NONE = 1e-3, 1e-3


def temperatures(examination: Examination, outputs: np.ndarray, head: Head) -> Iterator[Suspect]:
    """Fit PyTorch's logits to the candidate's: one factor for all.

    Of answers that are nearly 0 or 1 the logits say nothing: there the file's own are read.
    """
    expected = examination.torch.probabilities
    if outputs.shape != expected.shape:
        return
    if read := _logits(examination, head):
        name, rows = read
        slope = _slope(*head.clear(rows, head.logits(expected[examination.screen])))
        repair = Repair(run=partial(_divided, name=name, factor=slope or 1.0))
    else:
        slope = _slope(*head.clear(head.logits(outputs), head.logits(expected)))
        repair = Repair(answers=partial(_cooled, factor=slope or 1.0, head=head))
    if slope:
        message = f"The logits are multiplied by {slope:.4g} before {head.activation}."
        yield Suspect("head-temperature", message, repair)


def _logits(examination: Examination, head: Head) -> tuple[str, np.ndarray] | None:
    """Read what the operation that gives the answer reads: its name, and [images, labels] of the worst images."""
    graph, count = examination.file.graph, examination.torch.probabilities.shape[1]
    if graph is None or examination.candidate.is_elsewhere:
        return None
    producer = head.end_of(graph)
    if producer is None:
        return None
    name = next((name for name in producer.inputs if name not in producer.weights), "")
    rows = []
    for row in examination.screen:
        value = (examination.candidate.values(examination.pixels[row]) or {}).get(name)
        # Of a file with a fixed batch, the first.
        if value is None or value.size % count or not np.isfinite(value).all():
            return None
        rows.append(np.asarray(value, np.float64).reshape(-1, count)[0])
    return name, np.array(rows)


def _slope(y: np.ndarray, x: np.ndarray) -> float | None:
    """Fit a factor to logits; None where one that is none does, or where there are none to fit."""
    if not x.size:
        return None
    slope = float((x * y).sum() / max(float((x * x).sum()), _SMALLEST))
    rest = float(((y - slope * x) ** 2).sum() / max(float((y * y).sum()), _SMALLEST))
    return slope if rest < _LEFT and slope > 0 and abs(slope - 1) > _NONE else None


def _cooled(prediction: Prediction, factor: float, head: Head) -> Prediction:
    logits = head.logits(np.asarray(prediction.probabilities, np.float64)) / factor
    return replace(prediction, probabilities=head.probabilities(logits))


def _divided(artifact: Artifact, name: str, factor: float) -> Predict:
    """Make a Predict that divides the file's logits by a factor before its head."""
    trace = open_trace(artifact)
    answer = format_of(artifact).open_with_values(artifact, [name])

    def answer_one(image: np.ndarray) -> Prediction:
        value = trace(image)[name]
        return answer(image[None], {name: np.asarray(value / factor, value.dtype)})

    return one_by_one(answer_one)
