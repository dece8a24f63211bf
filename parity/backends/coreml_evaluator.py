"""Core ML files through our own evaluator: any system, the arithmetic that the file declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.backends import About
from parity.formats.coreml.classifier import classifier_predictions

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("mlprogram", "neuralnetwork")
# A stream is compiled from its first image on, and a few images never: what is answered depends on no count.
ABOUT = About("coreml-parity", "the evaluator", for_many={"compile_after": 0}, imports=("parity.coreml.evaluator",))


def why_not() -> str | None:
    """Say why the evaluator cannot run here: it always can."""
    return None


def load(artifact: Artifact, batch: int = 1, compile_after: int | None = None) -> Predict:
    """Load a .mlpackage or .mlmodel; compile_after: see Evaluator."""
    from parity.coreml import Evaluator

    evaluator = Evaluator(artifact.path, compile_after=compile_after)
    return classifier_predictions(artifact, evaluator.description, evaluator.predict, batch)
