"""`parity predict`: run one artefact on images without the model that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion.artifact import Artifact, input_size, open_artifact
from conversion.classifier import Preprocessing
from conversion.torch_defaults import with_torch_defaults
from parity.backends import backends_for, find_backend
from parity.errors import ParityError
from parity.images import load_images
from parity.results import Prediction

# ImageNet's habit: the crop is 224 of a shorter side of 256 pixels.
_CROP = 224 / 256


@dataclass(frozen=True)
class TopAnswer:
    """Hold the most probable classes of one image, the most probable first."""

    image: str
    backend: str
    top: tuple[tuple[str, float], ...]


@with_torch_defaults
def predict_top(path: Path, images: Sequence[str], top: int = 5, backend: str | None = None) -> Iterator[TopAnswer]:
    """Predict for each image; images go through the preprocessing that the artefact's provenance names."""
    artifact = open_artifact(path)
    name = choose_backend(artifact, backend)
    pictures = load_images(list(images), preprocessing_of(artifact))
    predict = find_backend(name).load(artifact)
    for image, pixels in zip(pictures.names, pictures.pixels, strict=True):
        yield TopAnswer(image, name, _best(predict(pixels[None]), top))


def preprocessing_of(artifact: Artifact) -> Preprocessing:
    """Return the way from image to pixels: the artefact's own, else ImageNet's habit at its input size."""
    if artifact.provenance and artifact.provenance.preprocessing:
        return artifact.provenance.preprocessing
    size = input_size(artifact) or (224, 224)
    return Preprocessing(size=size, resize=round(min(size) / _CROP))


def choose_backend(artifact: Artifact, wanted: str | None = None) -> str:
    """Return the wanted backend, or the first that runs here; one that cannot run the artefact is a ParityError."""
    if wanted:
        module = find_backend(wanted)
        if artifact.format not in module.FORMATS:
            able = " or ".join(backends_for(artifact.format))
            raise ParityError(f"{artifact.path}: {wanted} does not run {artifact.format}; use {able}")
        if reason := module.why_not():
            raise ParityError(f"{wanted} cannot run here: {reason}")
        return wanted
    for name in backends_for(artifact.format):
        if find_backend(name).why_not() is None:
            return name
    raise ParityError(f"{artifact.path}: nothing here runs {artifact.format}; `parity doctor` says why")


def _best(prediction: Prediction, top: int) -> tuple[tuple[str, float], ...]:
    row = prediction.probabilities.reshape(-1)
    labels = prediction.labels
    if labels is None or len(labels) != len(row):
        labels = tuple(f"class {i}" for i in range(len(row)))
    order = np.argsort(-row, kind="stable")[:top]
    return tuple((labels[i], float(row[i])) for i in order)
