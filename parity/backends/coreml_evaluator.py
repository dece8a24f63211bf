"""Core ML files through our own evaluator: any system, the arithmetic that the file declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.backends import About
from parity.backends.coreml_classifier import classifier_predictions

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("mlprogram", "neuralnetwork")
ABOUT = About("coreml-parity", "the evaluator")


def why_not() -> str | None:
    """Say why the evaluator cannot run here: it always can."""
    return None


def load(artifact: Artifact, batch: int = 1) -> Predict:
    """Load a .mlpackage or .mlmodel."""
    from parity.coreml import Evaluator

    evaluator = Evaluator(artifact.path)
    return classifier_predictions(artifact, evaluator.description, evaluator.predict, batch)
