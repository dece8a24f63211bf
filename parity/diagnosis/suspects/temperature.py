"""Logits that are multiplied before softmax: seen in the file's own logits, or in the logarithms of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.diagnosis.graft import one_by_one
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


def temperatures(examination: Examination, outputs: np.ndarray) -> Iterator[Suspect]:
    """Fit PyTorch's logits to the candidate's: one factor for all.

    Of answers that are nearly 0 or 1 the logarithm says nothing: there the file's own logits are read.
    """
    expected = examination.torch.probabilities
    if outputs.shape != expected.shape:
        return
    if logits := _logits(examination):
        name, rows = logits
        slope = _slope(rows, np.log(np.maximum(expected[examination.screen], _SMALLEST)))
        repair = Repair(run=partial(_divided, name=name, factor=slope or 1.0))
    else:
        clear = np.maximum(outputs, _SMALLEST)
        slope = _slope(np.log(clear), np.log(np.maximum(expected, _SMALLEST)))
        repair = Repair(answers=partial(_cooled, factor=slope or 1.0))
    if slope:
        yield Suspect("head-temperature", f"The logits are multiplied by {slope:.4g} before softmax.", repair)


def _logits(examination: Examination) -> tuple[str, np.ndarray] | None:
    """Read what the softmax that gives the answer reads: its name, and [images, classes] of the worst images."""
    graph, count = examination.file.graph, examination.torch.probabilities.shape[1]
    if graph is None or examination.candidate.is_elsewhere:
        return None
    producers = graph.producers()
    producer = producers.get(graph.output)
    # An fp16 program widens its answers in the end.
    while producer is not None and producer.type.lower() in ("cast", "identity") and len(producer.inputs) == 1:
        producer = producers.get(producer.inputs[0])
    if producer is None or producer.type.lower() not in ("softmax", "softmaxnd"):
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


def _slope(logits: np.ndarray, expected: np.ndarray) -> float | None:
    """Fit a factor, each image's logits against its own best class."""
    best = expected.argmax(axis=1)[:, None]
    y, x = (values - np.take_along_axis(values, best, axis=1) for values in (logits, expected))
    # A probability that is as good as 0 says how small its logit is at most.
    clear = (x > np.log(1e-6)) & (y > np.log(_SMALLEST)) & (np.arange(x.shape[1]) != best)
    x, y = x[clear], y[clear]
    if not x.size:
        return None
    slope = float((x * y).sum() / max(float((x * x).sum()), _SMALLEST))
    rest = float(((y - slope * x) ** 2).sum() / max(float((y * y).sum()), _SMALLEST))
    return slope if rest < _LEFT and slope > 0 and abs(slope - 1) > _NONE else None


def _cooled(prediction: Prediction, factor: float) -> Prediction:
    logits = np.log(np.maximum(np.asarray(prediction.probabilities, np.float64), _SMALLEST)) / factor
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return replace(prediction, probabilities=powers / powers.sum(axis=1, keepdims=True))


def _divided(artifact: Artifact, name: str, factor: float) -> Predict:
    """Make a Predict that divides the file's logits by a factor before its softmax."""
    trace = open_trace(artifact)
    answer = format_of(artifact).open_with_values(artifact, [name])

    def answer_one(image: np.ndarray) -> Prediction:
        value = trace(image)[name]
        return answer(image[None], {name: np.asarray(value / factor, value.dtype)})

    return one_by_one(answer_one)
