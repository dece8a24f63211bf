"""Tasks that the package does not have: dense outputs, measured by the mean of their differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from conversion import Model, OutputSpec, Preprocessing, Task
from parity.core.metric import Measurement, Metric
from parity.core.results import Prediction
from parity.core.variety import bounds_of

MASK, DEPTH = OutputSpec("mask", "dense"), OutputSpec("depth", "dense")


def _measure(
    _: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Sequence[str | None] | None
) -> Iterator[Measurement]:
    for apart in np.abs(expected - actual):
        yield Measurement(float(apart.mean()), detail={"largest": float(apart.max())})


DENSE = Metric("mean |Δ|", _measure, lambda rows: bounds_of(rows, np.mean))


def dense(*specs: OutputSpec, **outputs: object) -> Prediction:
    """Make a prediction of dense outputs; specs: of a reference."""
    return Prediction(outputs={name: np.array(rows) for name, rows in outputs.items()}, specs=specs)


def segmenter() -> Model:
    """Make a model of one dense output [N, 2, 8, 8], the same in every process."""
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3))
        module.bias.zero_()
    return Model("toy", module.eval(), Preprocessing(size=(8, 8), resize=(8, 8)), Task((MASK,), torch.sigmoid))
