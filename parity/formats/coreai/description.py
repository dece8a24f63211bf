"""What a Core AI asset says of its inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conversion.coreai import described
from conversion.shapes import layout_of
from parity.formats.description import DeclaredInput
from parity.formats.outputs import Shape

if TYPE_CHECKING:
    from conversion import Artifact


def declared_input(artifact: Artifact) -> DeclaredInput:
    """Read name and type of the image, which is an array here."""
    image = described(artifact.path).inputs[0]
    return DeclaredInput(image.name, image.dtype, layout=layout_of(image.shape))


def read_outputs(artifact: Artifact) -> tuple[str, dict[str, Shape]]:
    """Read the outputs of floats; the format declares none to be a classifier's."""
    outputs = described(artifact.path).outputs
    return "", {one.name: one.shape for one in outputs if "float" in one.dtype}


def numbered_classes(artifact: Artifact) -> list[int] | None:
    """Read none: the format has no labels."""
    return None


def vision_told(artifact: Artifact) -> str:
    """Say nothing: Vision takes Core ML files alone."""
    return ""
