"""Outputs of a task that is not a classifier's: which of a file's they are, by name, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.task import PROBABILITIES
from parity.backends import OutputNotFoundError
from parity.backends.feeding import answers
from parity.backends.outputs import read_outputs, settle_output
from parity.core.errors import ParityError
from parity.core.results import Prediction

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.shapes import InputShapes
    from conversion.task import Task
    from parity.backends import Predict


def bind(artifact: Artifact, task: Task) -> Artifact:
    """Say which of a file's outputs are the task's: those of their names, or the only one there is.

    A classifier's is settled as ever. Where an output is not there, the backends say so.
    """
    if [spec.kind for spec in task.outputs] == [PROBABILITIES]:
        return settle_output(artifact, len(task.labels))
    names = [spec.name for spec in task.outputs]
    try:
        there = list(read_outputs(artifact)[1])
    except ParityError:  # a damaged file, of which the backends say more
        there = names
    alone = len(names) == len(there) == 1
    return replace(artifact, bound=tuple(zip(names, there if alone else names, strict=True)))


def bound_predictions(
    artifact: Artifact,
    accepted: InputShapes,
    outputs: Collection[str],
    run: Callable[[np.ndarray], Mapping[str, Any]],
    batch: int,
) -> Predict:
    """Make a Predict of the outputs that an artefact is bound by.

    outputs: the names that the file has. run: takes uint8 pixels, exactly `batch` of them, gives outputs by name.
    """
    absent = [output for _, output in artifact.bound if output not in outputs]
    if absent:
        raise OutputNotFoundError(
            f"{artifact.path}: no output is called {absent[0]}; the outputs are {', '.join(outputs) or 'none'}"
        )

    def predict(pixels: np.ndarray) -> Prediction:
        found = list(answers(artifact, accepted, pixels, batch, run))
        return Prediction(
            outputs={
                name: np.concatenate([np.asarray(answer[output])[:count] for answer, count in found])
                for name, output in artifact.bound
            }
        )

    return predict
