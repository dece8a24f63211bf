"""Edits that are the same for both formats of Core ML, and those that neither has a use for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.files.packages import read_package
from parity.coreml.reading.files import open_model
from parity.formats.editing import Halves

if TYPE_CHECKING:
    from conversion import Artifact

RGB, BGR = 20, 30  # FeatureTypes.proto: ImageFeatureType.ColorSpace


def read(artifact: Artifact) -> Any:
    """Read the specification."""
    return open_model(artifact.path).specification


def save(artifact: Artifact, model: Any, path: Path) -> None:
    """Write a specification, a package's with links to what else is in it."""
    if not artifact.path.is_dir():
        path.write_bytes(model.SerializeToString())
        return
    # The weights are only read: a link will do where the file system has them.
    shutil.copytree(artifact.path, path, copy_function=_link)
    file = read_package(path).model
    file.unlink()
    file.write_bytes(model.SerializeToString())


def takes_image(model: Any) -> bool:
    """Say whether the input is declared an image, not an array."""
    return str(model.description.input[0].type.WhichOneof("Type")) == "imageType"


def declare_bgr(model: Any) -> None:
    """Declare the image to be of blue, green, red."""
    model.description.input[0].type.imageType.colorSpace = BGR


def declares_bgr(model: Any) -> bool:
    """Say whether an image is declared to be of blue, green, red."""
    return any(feature.type.imageType.colorSpace == BGR for feature in model.description.input)


def declare_rgb(model: Any) -> None:
    """Declare the image to be of red, green, blue."""
    for feature in model.description.input:
        feature.type.imageType.colorSpace = RGB


def strange_input_type(model: Any) -> str:
    """Name none: an array is converted to the type that it is declared to have."""
    return ""


def take_floats(model: Any) -> None:
    """Do nothing: an input takes floats whatever its type."""


def take_channels_first(model: Any) -> None:
    """Do nothing: an image has its channels where it has them."""


def training_norms(model: Any) -> list[str]:
    """Name none: Core ML's norms have no switch."""
    return []


def stop_training(model: Any) -> None:
    """Do nothing: Core ML has nothing in training."""


def halves(model: Any) -> Halves:
    """Find nothing: the evaluator computes a program in fp32 without another file."""
    return Halves()


def widen(model: Any) -> None:
    """Do nothing: the evaluator computes a program in fp32 without another file."""


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
