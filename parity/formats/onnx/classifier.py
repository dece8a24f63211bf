"""What both ONNX backends share: which input is the image, which output the answer, and its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.shapes import onnx_input_shapes
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.formats.bound import bound_predictions
from parity.formats.feeding import answers, as_tensor
from parity.formats.outputs import pick_output

if TYPE_CHECKING:
    from conversion import Artifact

# A number where the size is fixed, anything else where it is open.
Dims = Sequence[Any]


def classifier_predictions(
    artifact: Artifact,
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    run: Callable[[str, Mapping[str, np.ndarray]], Any],
    batch: int,
) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of an ONNX classifier.

    run: takes an output's name and the feeds, gives the output. batch: how many images go in at once.
    """
    image = _image(artifact, inputs)
    accepted = onnx_input_shapes(artifact, inputs[image])

    def every(pixels: np.ndarray) -> Mapping[str, Any]:
        return {name: run(name, {image: as_tensor(pixels)}) for _, name in artifact.bound}

    if artifact.bound:
        return bound_predictions(artifact, accepted, outputs, every, batch)
    output = pick_output({name: _shape(dims) for name, dims in outputs.items()}, artifact, "classLabelProbs")
    labels = artifact.provenance.labels if artifact.provenance else ()

    def once(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(run(output, {image: as_tensor(pixels)}))

    def predict(pixels: np.ndarray) -> Prediction:
        batches = list(answers(artifact, accepted, pixels, batch, once))
        rows = [_flat(row)[:count] for row, count in batches]
        return Prediction(np.concatenate(rows), labels or None, answer_shape=batches[0][0].shape)

    return predict


def _flat(answer: np.ndarray) -> np.ndarray:
    """Read [N, classes, 1, 1] as [N, classes]: they are the same numbers."""
    behind = answer.shape[2:]
    return answer.reshape(answer.shape[:2]) if behind and set(behind) == {1} else answer


def _image(artifact: Artifact, inputs: Mapping[str, Dims]) -> str:
    """Check that a model has one input, an image [N, 3, H, W], and return its name."""
    shapes = {name: _shape(dims) for name, dims in inputs.items()}
    if len(shapes) != 1 or [(len(s), s[1:2]) for s in shapes.values()] not in ([(4, (3,))], [(4, (None,))]):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
        raise ParityError(
            f"{artifact.path}: a classifier takes one image [N, 3, height, width]; this model takes {listed}"
        )
    return next(iter(shapes))


def _shape(dims: Dims) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in dims)
