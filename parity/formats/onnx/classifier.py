"""What both ONNX backends share: which input is the image, which output the answer, and its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.shapes import onnx_input_shapes
from parity.core.results import Prediction
from parity.formats.bound import bound_predictions
from parity.formats.feeding import answers
from parity.formats.onnx.inputs import Dims, Input, feed, image_name
from parity.formats.outputs import pick_output

if TYPE_CHECKING:
    from conversion import Artifact


def classifier_predictions(
    artifact: Artifact,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Dims],
    run: Callable[[str, Mapping[str, np.ndarray]], Any],
    batch: int,
) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of an ONNX classifier.

    run: takes an output's name and the feeds, gives the output. batch: how many images go in at once.
    """
    accepted = onnx_input_shapes(artifact, inputs[image_name(artifact, inputs)].dims)

    def every(pixels: np.ndarray) -> Mapping[str, Any]:
        return {name: run(name, feed(artifact, inputs, pixels)) for _, name in artifact.bound}

    if artifact.bound:
        return bound_predictions(artifact, accepted, outputs, every, batch)
    output = pick_output({name: _shape(dims) for name, dims in outputs.items()}, artifact, "classLabelProbs")
    labels = artifact.provenance.labels if artifact.provenance else ()

    def once(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(run(output, feed(artifact, inputs, pixels)))

    def predict(pixels: np.ndarray) -> Prediction:
        batches = list(answers(artifact, accepted, pixels, batch, once))
        rows = np.concatenate([_flat(row)[:count] for row, count in batches])
        return Prediction(artifact.contract.finish(rows), labels or None, answer_shape=batches[0][0].shape)

    return predict


def _flat(answer: np.ndarray) -> np.ndarray:
    """Read [N, classes, 1, 1] as [N, classes]: they are the same numbers."""
    behind = answer.shape[2:]
    return answer.reshape(answer.shape[:2]) if behind and set(behind) == {1} else answer


def _shape(dims: Dims) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in dims)
