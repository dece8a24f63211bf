"""Routes are chains: when the end disagrees with PyTorch, find the hop that is to blame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.artifact import open_artifact
from conversion.errors import ConversionError
from parity.backends import find_backend
from parity.compare import compare
from parity.images import ImageSet
from parity.reference import Reference
from parity.results import Comparison, Prediction
from parity.tolerance import FP32, Tolerance

if TYPE_CHECKING:
    from conversion import Artifact

# Another runtime of the same file: where it agrees with PyTorch, the file is right and the first runtime is wrong.
SECOND_OPINIONS = {
    "onnxruntime": "onnx-reference",
    "onnx-reference": "onnxruntime",
    "coreml-native": "coreml-evaluator",
    "coreml-evaluator": "coreml-native",
}


def guilty_hop(reference: Reference, artifact: Artifact, backend: str, failed: Comparison) -> str:
    """Name the first hop of a failing chain whose result is not PyTorch's: `onnx -> neuralnetwork`, say.

    Looks at the worst image alone, which fails by definition, so that slow runtimes can be asked.
    """
    if not failed.cases:
        return ""
    apart = [float("inf") if case.max_abs_diff is None else case.max_abs_diff for case in failed.cases]
    worst = _only(reference, int(np.argmax(apart)))
    allowed = Tolerance(failed.tolerance)
    last = f"torch -> {artifact.format}"
    if artifact.intermediate and artifact.format != "onnx":
        if not _agrees(worst, _opened(artifact.intermediate), "onnxruntime", Tolerance(FP32["onnx"][0])):
            return "torch -> onnx"
        last = f"onnx -> {artifact.format}"
    if _agrees(worst, artifact, SECOND_OPINIONS[backend], allowed):
        return f"{artifact.format} file -> {backend}"
    return last


def _opened(path: Path) -> Artifact | None:
    try:
        return open_artifact(path)
    except ConversionError:
        return None


def _only(reference: Reference, index: int) -> Reference:
    one = slice(index, index + 1)
    images = ImageSet(reference.images.names[one], reference.images.pixels[one])
    answer = Prediction(reference.prediction.probabilities[one], reference.prediction.labels)
    return Reference(reference.classifier, images, answer)


def _agrees(reference: Reference, artifact: Artifact | None, backend: str, allowed: Tolerance) -> bool:
    """Say whether a runtime agrees with PyTorch; one that cannot run or breaks does not."""
    module = find_backend(backend)
    if artifact is None or module.why_not():
        return False
    try:
        candidate = module.load(artifact)(reference.images.pixels)
    except Exception:  # of whatever class: who was only asked for an opinion must not end the run
        return False
    return compare(reference.prediction, candidate, allowed, reference.images.names).verdict != "fail"
