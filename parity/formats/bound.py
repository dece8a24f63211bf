"""Answers of a task that is not a classifier's: its outputs, by the names that the file has for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.core.results import Prediction
from parity.formats.feeding import answers
from parity.formats.outputs import OutputNotFoundError

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.shapes import InputShapes


def bound_predictions(
    artifact: Artifact,
    accepted: InputShapes,
    outputs: Collection[str],
    run: Callable[[np.ndarray], Mapping[str, Any]],
    batch: int,
) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of the outputs that an artefact is bound by; labels in the file are those of an only one.

    outputs: the names that the file has. run: takes uint8 pixels, exactly `batch` of them, gives outputs by name.
    """
    absent = [output for _, output in artifact.bound if output not in outputs]
    if absent:
        raise OutputNotFoundError(
            f"{artifact.path}: no output is called {absent[0]}; the outputs are {', '.join(outputs) or 'none'}"
        )

    labels = artifact.provenance.labels if artifact.provenance and len(artifact.bound) == 1 else ()

    def predict(pixels: np.ndarray) -> Prediction:
        batches = list(answers(artifact, accepted, pixels, batch, run))
        return Prediction(
            outputs={
                name: np.concatenate([np.asarray(answer[output])[:count] for answer, count in batches])
                for name, output in artifact.bound
            },
            labels=labels or None,
        )

    return predict
