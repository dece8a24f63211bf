"""onnx.reference: ONNX's own evaluator in NumPy; slow, and a third opinion when two runtimes disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends.onnx_classifier import classifier_predictions
from parity.errors import ParityError

if TYPE_CHECKING:
    from onnx.reference.op_run import OpRun

    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("onnx",)
# Opsets whose batch norms say by the number of their outputs whether they are in training.
_OLD_BATCH_NORMS = range(7, 14)


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

    try:
        model = onnx.load(str(artifact.path))
        evaluator = evaluator_of(model)
    except Exception as error:  # protobuf's, onnx's and NumPy's own
        raise ParityError(f"{artifact.path}: onnx.reference cannot load it: {error}") from error
    weights = {tensor.name for tensor in model.graph.initializer}

    def run(output: str, feeds: Mapping[str, np.ndarray]) -> Any:
        return evaluator.run([output], dict(feeds))[0]

    inputs = {value.name: _dims(value) for value in model.graph.input if value.name not in weights}
    outputs = {value.name: _dims(value) for value in model.graph.output}
    return classifier_predictions(artifact, inputs, outputs, run, batch)


def evaluator_of(model: Any) -> Any:
    """Make onnx's evaluator of a ModelProto, with what it gets wrong put right."""
    from onnx.reference import ReferenceEvaluator

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    return ReferenceEvaluator(model, new_ops=[_batch_norm()] if opset in _OLD_BATCH_NORMS else None)


def _batch_norm() -> type[OpRun]:
    """Make the batch norm of old opsets: one output alone, no training.

    onnx 1.23 takes the statistics of the batch there all the same, and a sound file looks broken.
    """
    from onnx.reference.ops.op_batch_normalization import BatchNormalization_9

    class BatchNormalization(BatchNormalization_9):  # type: ignore[misc]
        op_domain = ""

        def _run(self, *inputs: Any, epsilon: float, momentum: float, **later: Any) -> Any:
            """Run; later: attributes of later opsets, which onnx fills in."""
            in_training = len(self.onnx_node.output) > 1
            return super()._run(*inputs, epsilon=epsilon, momentum=momentum if in_training else None)

    return BatchNormalization


def _dims(value: Any) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
