"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import pick_output
from parity.backends.onnx_classifier import as_image, feed_shape, prediction
from parity.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.results import Prediction

FORMATS = ("onnx",)


def why_not() -> str | None:
    """Say why ONNX Runtime cannot run here."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return f"onnxruntime is not installed ({error}); pip install onnxruntime"
    return None


def load(artifact: Artifact) -> Predict:
    """Load a .onnx file; images go in one at a time, as on the phone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions; the log would say them again
    try:
        session = onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception class for each of its status codes
        raise ParityError(f"{artifact.path}: ONNX Runtime cannot load it: {error}") from error
    image = as_image(artifact, [(i.name, feed_shape(i.shape)) for i in session.get_inputs()])
    output = pick_output({o.name: feed_shape(o.shape) for o in session.get_outputs()}, artifact, "classLabelProbs")

    def predict(pixels: np.ndarray) -> Prediction:
        def one(tensor: np.ndarray) -> Any:
            return session.run([output], {image: tensor})[0]

        return prediction(artifact, pixels, one)

    return predict
