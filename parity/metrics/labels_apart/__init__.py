"""Probabilities of labels apart: the distance is the largest |dp|, the answer all labels of one half or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from conversion.task import OutputSpec
from parity.core.metric import Measurement, Metric
from parity.core.results import Answer, Prediction
from parity.core.tolerance import differences
from parity.core.variety import bounds_of
from parity.metrics.classification.labels import align

# From here on a label counts as given.
HALF = 0.5
_SHOWN = 3


def measure(
    spec: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Sequence[str | None] | None
) -> Iterator[Measurement]:
    """Measure each image: the largest |dp|, the labels that both give, and how sure PyTorch is of one that changes.

    The margin is that of the changed label of which PyTorch is surest: its probability against the opposite.
    """
    for reference, candidate in zip(expected, actual, strict=True):
        lost, bad = (int((~np.isfinite(row)).sum()) for row in (reference, candidate))
        if lost or bad:
            whose = "PyTorch itself: " if lost else ""
            yield Measurement(None, reason=f"{whose}{lost or bad} of {len(reference)} probabilities are not finite")
            continue
        apart = np.abs(reference - candidate)
        worst = int(apart.argmax())
        changed = (reference >= HALF) != (candidate >= HALF)
        yield Measurement(
            float(apart[worst]),
            not changed.any(),
            float(2 * np.abs(reference[changed] - HALF).max()) if changed.any() else 0.0,
            detail={"changed labels": float(changed.sum())},
            fields={
                "reference": _answer(spec.labels, reference),
                "candidate": _answer(spec.labels, candidate),
                "worst_label": spec.labels[worst],
                "worst_reference": float(reference[worst]),
                "worst_candidate": float(candidate[worst]),
            },
        )


def _one_row_each(spec: OutputSpec, answers: Prediction) -> tuple[np.ndarray | None, str]:
    """Read an output by its name, its columns by their labels where the file has any, and by their order else.

    A NeuralNetwork's has axes of length 1 around the labels.
    """
    if spec.name not in answers.outputs:
        return None, f"no output `{spec.name}`; the outputs are {', '.join(answers.outputs) or 'none'}"
    rows = np.asarray(answers.outputs[spec.name], np.float64)
    labels = spec.labels if answers.labels is None else answers.labels
    rows = rows.reshape(len(rows), -1) if rows.size == len(rows) * len(labels) else rows
    return (rows, "") if labels == spec.labels else align(spec.labels, replace(answers, probabilities=rows))


def _answer(labels: Sequence[str], probabilities: np.ndarray) -> Answer:
    """Name the labels that are given, the surest first; of none, the nearest to it."""
    order = np.argsort(-probabilities, kind="stable")
    chosen = [int(place) for place in order if probabilities[place] >= HALF]
    if not chosen:
        return Answer(f"none, {labels[order[0]]} next", float(probabilities[order[0]]))
    more = f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
    return Answer(" + ".join(labels[place] for place in chosen[:_SHOWN]) + more, float(probabilities[chosen[0]]))


METRIC = Metric(
    distance="|Δp|",
    explained="the largest difference of a label's probability, |Δp|, over all images and labels",
    measure=measure,
    variety=bounds_of,
    align=_one_row_each,
    apart=differences,
)
