"""Core ML files through Apple's runtime: macOS only."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends import About
from parity.core.errors import ParityError
from parity.formats.coreml.classifier import classifier_predictions

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict

FORMATS = ("mlprogram", "neuralnetwork")
ABOUT = About("coremltools", "Apple's runtime", compute_unit="CPU_ONLY", imports=("coremltools",))


def why_not() -> str | None:
    """Say why Apple's runtime cannot run here."""
    if platform.system() != "Darwin":
        return f"Apple's Core ML runtime is part of macOS; this is {platform.system()}"
    return None


def load(artifact: Artifact, batch: int = 1, compute_unit: str = "CPU_ONLY") -> Predict:
    """Load a .mlpackage or .mlmodel with coremltools.

    compute_unit: a name of coremltools.ComputeUnit. CPU_ONLY by default: the one unit that computes in the
    precision that the file declares; the others may take fp16 for anything.
    """
    coremltools = import_coremltools()
    with chatter_to():
        model = coremltools.models.MLModel(str(artifact.path), compute_units=coremltools.ComputeUnit[compute_unit])
    if model.__proxy__ is None:
        raise ParityError(f"{artifact.path}: Apple's runtime cannot load it; see the warning in Console or Xcode")
    return classifier_predictions(artifact, model.get_spec().description, model.predict, batch)
