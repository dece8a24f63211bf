"""onnx.reference: ONNX's own evaluator in NumPy; slow, and a third opinion when two runtimes disagree."""

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
    """Say why onnx.reference cannot run here."""
    try:
        import onnx.reference  # noqa: F401
    except ImportError as error:
        return f"onnx is not installed ({error}); pip install onnx"
    return None


def load(artifact: Artifact) -> Predict:
    """Load a .onnx file."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        model = onnx.load(str(artifact.path))
        evaluator = ReferenceEvaluator(model)
    except Exception as error:  # protobuf's, onnx's and NumPy's own
        raise ParityError(f"{artifact.path}: onnx.reference cannot load it: {error}") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [(v.name, _shape(v)) for v in model.graph.input if v.name not in weights]
    image = as_image(artifact, inputs)
    output = pick_output({v.name: _shape(v) for v in model.graph.output}, artifact, "classLabelProbs")

    def predict(pixels: np.ndarray) -> Prediction:
        def one(tensor: np.ndarray) -> Any:
            return evaluator.run([output], {image: tensor})[0]

        return prediction(artifact, pixels, one)

    return predict


def _shape(value: Any) -> tuple[int | None, ...]:
    return feed_shape([dim.dim_value or None for dim in value.type.tensor_type.shape.dim])
