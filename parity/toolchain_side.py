"""What parity lets a tool chain's process do: make a classifier, and predict with the runtime that is in there.

Called by name from the other side (`parity.toolchain_side:predict`); what goes in and out is what JSON can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.artifact import open_artifact
from parity.backends import find_backend
from parity.models import load_classifier

if TYPE_CHECKING:
    from conversion import Classifier


def make_classifier(factory: str, arguments: Mapping[str, Any], name: str, directory: str) -> Classifier:
    """Load a classifier as `load_classifier` does."""
    return load_classifier(factory, arguments, name, Path(directory))


def predict(artifact: str, backend: str, pixels: str) -> dict[str, Any]:
    """Run an artefact on the pixels [N, H, W, 3] of a .npy file."""
    found = find_backend(backend).load(open_artifact(artifact))(np.load(pixels))
    return {
        # As hexadecimal text, because JSON has neither NaN nor infinity.
        "probabilities": [[float(p).hex() for p in row] for row in found.probabilities],
        "labels": found.labels,
        "top1": found.top1,
    }
