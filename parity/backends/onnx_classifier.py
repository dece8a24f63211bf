"""What both ONNX backends share: which input is the image, and one answer per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import ParityError
from parity.results import Prediction

if TYPE_CHECKING:
    from conversion import Artifact


def as_image(artifact: Artifact, inputs: Sequence[tuple[str, tuple[int | None, ...]]]) -> str:
    """Check that a model has one input, an image [N, 3, H, W], and return its name."""
    if len(inputs) != 1 or len(inputs[0][1]) != 4 or inputs[0][1][1] not in (3, None):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in inputs) or "none"
        raise ParityError(
            f"{artifact.path}: a classifier takes one image [N, 3, height, width]; this model takes {listed}"
        )
    return inputs[0][0]


def feed_shape(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """Turn a shape with names for open sizes into one with None for them."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)


def prediction(artifact: Artifact, pixels: np.ndarray, one: Callable[[np.ndarray], Any]) -> Prediction:
    """Predict image by image: `one` takes float32 [1, 3, H, W] with values 0..255 and gives [1, classes]."""
    rows = []
    for picture in pixels:
        tensor = np.ascontiguousarray(picture.transpose(2, 0, 1)[None]).astype(np.float32)
        try:
            rows.append(np.asarray(one(tensor))[0])
        except Exception as error:  # the runtime's own classes
            raise ParityError(f"{artifact.path}: fails on an image of {picture.shape[:2]}: {error}") from error
    labels = artifact.provenance.labels if artifact.provenance else ()
    return Prediction(np.stack(rows), labels or None)
