"""onnx.reference: ONNX's own evaluator in NumPy; slow, and a third opinion when two runtimes disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends.onnx_classifier import classifier_predictions
from parity.errors import ParityError

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("onnx",)


def why_not() -> str | None:
    """Say why onnx.reference cannot run here."""
    try:
        import onnx.reference  # noqa: F401
    except ImportError as error:
        return f"onnx is not installed ({error}); pip install onnx"
    return None


def load(artifact: Artifact, batch: int = 1) -> Predict:
    """Load a .onnx file."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        model = onnx.load(str(artifact.path))
        evaluator = ReferenceEvaluator(model)
    except Exception as error:  # protobuf's, onnx's and NumPy's own
        raise ParityError(f"{artifact.path}: onnx.reference cannot load it: {error}") from error
    weights = {tensor.name for tensor in model.graph.initializer}

    def run(output: str, feeds: Mapping[str, np.ndarray]) -> Any:
        return evaluator.run([output], dict(feeds))[0]

    inputs = {value.name: _dims(value) for value in model.graph.input if value.name not in weights}
    outputs = {value.name: _dims(value) for value in model.graph.output}
    return classifier_predictions(artifact, inputs, outputs, run, batch)


def _dims(value: Any) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
