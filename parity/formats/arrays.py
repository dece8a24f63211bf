"""What all formats of arrays share: which input is the image, which output the answer, and its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.shapes import in_nchw, onnx_input_shapes
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.formats.bound import bound_predictions
from parity.formats.feeding import answers, as_array
from parity.formats.outputs import pick_output

if TYPE_CHECKING:
    from conversion import Artifact

# A number where the size is fixed, anything else where it is open.
Dims = Sequence[Any]


@dataclass(frozen=True)
class Input:
    """Hold the shape of an input and the type of its numbers."""

    dims: Dims
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None where they are open."""
        return tuple(size if isinstance(size, int) and size > 0 else None for size in self.dims)


def image_name(artifact: Artifact, inputs: Mapping[str, Input]) -> str:
    """Check that a model has one input, an image [N, C, H, W] or [N, H, W, C], and return its name."""
    shapes = {name: one.shape for name, one in inputs.items()}
    ordered = [in_nchw(shape, artifact.contract.layout) for shape in shapes.values()]
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
    if len(ordered) != 1 or len(ordered[0]) != 4 or ordered[0][1] not in (3, 1, None):
        raise ParityError(
            f"{artifact.path}: a classifier takes one image [N, 3, height, width], or [N, 1, height, width] "
            f"of grey; this model takes {listed}"
        )
    wanted = artifact.contract.input
    if wanted and wanted not in shapes:
        raise ParityError(f"{artifact.path}: no input is called `{wanted}`; this model takes {listed}")
    return next(iter(shapes))


def feed(artifact: Artifact, inputs: Mapping[str, Input], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Make what the image takes of pixels, uint8 [N, H, W, 3], by the file's contract.

    inputs: with the image alone in them, as `image_name` checks once.
    """
    ((name, image),) = inputs.items()
    return {name: as_array(artifact, pixels, image.dims, image.dtype)}


def classifier_predictions(
    artifact: Artifact,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Dims],
    run: Callable[[str, Mapping[str, np.ndarray]], Any],
    batch: int,
) -> Callable[[np.ndarray], Prediction]:
    """Make a Predict of a classifier that takes an array and gives one.

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
