"""Whether a Core ML file is a classifier to Vision, which is what an app asks it through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact


def vision_told(artifact: Artifact) -> str:
    """Say what Vision misses in a file, and what to convert it with; empty where it is a classifier, and for ONNX.

    VNCoreMLRequest gives a model images, and answers VNClassificationObservation only where it has class labels.
    """
    return format_of(artifact).vision_told(artifact)
