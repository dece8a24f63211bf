"""What an ML Program says of its inputs and outputs, beside what it shares with a NeuralNetwork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parity.formats.coreml.description import vision_gaps

if TYPE_CHECKING:
    from conversion import Artifact


def vision_told(artifact: Artifact) -> str:
    """Say what Vision misses in a file; empty where it is a classifier."""
    return vision_gaps(artifact, _call)


def _call(arrays: Sequence[str], labelled: bool) -> str:
    """Write the call that makes an image of each input that is an array, and names the classes."""
    images = ", ".join(f'ct.ImageType(name="{name}", shape=...)' for name in arrays)
    inputs = [f"inputs=[{images}]"] if arrays else []
    labels = [] if labelled else ["classifier_config=ct.ClassifierConfig(labels)"]
    return f"ct.convert(..., {', '.join([*inputs, *labels])})"
