"""`parity predict`: run one artefact on images without the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from conversion.artifact import Artifact, open_artifact
from conversion.classifier import Preprocessing
from conversion.contract import ASSUMED, Contract, with_statistics
from conversion.guards.torch_defaults import with_torch_defaults
from conversion.shapes import input_size
from conversion.task import LABEL_PROBABILITIES, LABELS_APART, PROBABILITIES
from parity.backends import backends_for, find_backend
from parity.contract.words import app_part
from parity.core.errors import ParityError
from parity.core.noise import PROBABILITY_SUM
from parity.core.results import Prediction
from parity.diagnosis.file import File
from parity.diagnosis.heads import HEADS
from parity.formats import format_of
from parity.formats.feeding import fitting_batch
from parity.suite.images import load_images

# ImageNet's habit: the crop is 224 of a shorter side of 256 pixels.
_CROP = 224 / 256


@dataclass(frozen=True)
class TopAnswer:
    """Hold the classes of one image with the largest numbers, the largest first.

    no_probabilities: why the numbers are none; empty where they are. no_answer: why there is nothing at all, not
    even numbers that are finite; `top` is then empty. remarks: what else has to be known to read
    them, of the file as a whole: that it has no labels, how the pixels went in. apart: each label is right or wrong
    by itself, so that the numbers of an image need not sum to 1.
    """

    image: str
    backend: str
    top: tuple[tuple[str, float], ...]
    no_probabilities: str = ""
    remarks: tuple[str, ...] = ()
    no_answer: str = ""
    apart: bool = False


@with_torch_defaults
def predict_top(
    path: Path,
    images: Sequence[str],
    top: int = 5,
    backend: str | None = None,
    contract: Contract = ASSUMED,
) -> Iterator[TopAnswer]:
    """Predict for each image; images go through the preprocessing that the artefact's provenance names.

    contract: what the file does itself; the rest is done here, as the app must.
    """
    artifact = open_alone(path, contract)
    name = choose_backend(artifact, backend)
    pictures = load_images(list(images), preprocessing_of(artifact))
    predict = find_backend(name).load(artifact, fitting_batch(pictures.pixels[:1], 1, artifact))
    fed, apart = cache(lambda: fed_pixels(artifact)), answers_labels_apart(artifact)
    for image, pixels in zip(pictures.names, pictures.pixels, strict=True):
        yield _answer(artifact, image, name, predict(pixels[None]), top, fed, apart)


def open_alone(path: str | Path, contract: Contract = ASSUMED) -> Artifact:
    """Open an artefact without the model that it was made from, under a contract that somebody states.

    What the app normalises by is what is stated, else of the artefact's own preprocessing, else ImageNet's.
    """
    artifact = open_artifact(path, contract)
    return replace(artifact, contract=with_statistics(artifact.contract, preprocessing_of(artifact)))


def preprocessing_of(artifact: Artifact) -> Preprocessing:
    """Return the way from image to pixels: the artefact's own, else ImageNet's habit at its input size."""
    if artifact.provenance and artifact.provenance.preprocessing:
        return artifact.provenance.preprocessing
    size = input_size(artifact) or (224, 224)
    return Preprocessing(size=size, resize=round(min(size) / _CROP))


def choose_backend(artifact: Artifact, wanted: str | None = None) -> str:
    """Return the wanted backend, or the first that runs here; one that cannot run the artefact is a ParityError."""
    if wanted is not None:
        module = find_backend(wanted)
        able = backends_for(artifact.format)
        if wanted not in able:
            raise ParityError(f"{artifact.path}: {wanted} does not run {artifact.format}; use {' or '.join(able)}")
        if reason := module.why_not():
            raise ParityError(f"{wanted} cannot run here: {reason}")
        return wanted
    for name in backends_for(artifact.format):
        if find_backend(name).why_not() is None:
            return name
    raise ParityError(f"{artifact.path}: nothing here runs {artifact.format}; `parity doctor` says why")


def answers_labels_apart(artifact: Artifact) -> bool:
    """Say whether a file judges each label by itself: its output is called so, or comes out of a sigmoid."""
    if "softmax" not in artifact.contract.inside:
        return False
    _, shapes = format_of(artifact).read_outputs(artifact)
    if (artifact.output or LABEL_PROBABILITIES) == LABEL_PROBABILITIES in shapes:
        return True
    graph = File(artifact).graph
    return graph is not None and HEADS[LABELS_APART].end_of(graph) is not None


def why_no_probabilities(row: np.ndarray, apart: bool = False) -> str:
    """Say why the answers for one image cannot be probabilities: [classes]; empty where they can.

    apart: of labels that are judged one by one.
    """
    if lost := int((~np.isfinite(row)).sum()):
        return f"{lost} of {len(row)} numbers are not finite"
    lowest, total = float(row.min(initial=0.0)), float(row.sum(dtype=np.float64))
    faults = [f"the smallest is {lowest:.4g}"] if lowest < 0 else []
    if apart and (highest := float(row.max(initial=0.0))) > 1 + PROBABILITY_SUM:
        faults.append(f"the largest is {highest:.4g}")
    if not apart and abs(total - 1) > PROBABILITY_SUM:
        faults.append(f"their sum is {total:.4g}")
    return " and ".join(faults)


def fed_pixels(artifact: Artifact) -> str:
    """Say how pixels go into a file: their range and type, and what the file declares its input to be."""
    image = format_of(artifact).declared_input(artifact)
    if not artifact.contract.takes_pixels:
        return f"as {app_part(replace(artifact.contract, inside=(*artifact.contract.inside, 'softmax')))}"
    if image.color_space:
        return f"as an 8-bit image, uint8 0..255; the file declares `{image.name}` as an image, {image.color_space}"
    return f"as float32 0..255, red, green, blue; the file declares `{image.name}` as an array of {image.type}"


def _answer(
    artifact: Artifact,
    image: str,
    backend: str,
    prediction: Prediction,
    top: int,
    fed: Callable[[], str],
    apart: bool,
) -> TopAnswer:
    row = prediction.probabilities.reshape(-1)
    if not np.isfinite(row).all():
        return TopAnswer(image, backend, (), no_answer=why_no_probabilities(row))
    labels, unlabelled = _labels(prediction.labels, len(row))
    order = np.argsort(-row, kind="stable")[:top]
    best = tuple((labels[i], float(row[i])) for i in order)
    no_probabilities = why_no_probabilities(row, apart)
    remarks = [unlabelled] if unlabelled else []
    made_here = artifact.provenance is not None and artifact.provenance.preprocessing is not None
    head = HEADS[LABELS_APART if apart else PROBABILITIES].activation
    if no_probabilities:
        remarks.append(
            "the numbers are no probabilities: they are the file's output as it is, logits where the network was "
            f"converted without its {head}; convert it with the {head} inside, or apply one to them"
        )
    if no_probabilities or not made_here:
        rest = "; it normalises them itself, or nobody does" if artifact.contract.takes_pixels else ""
        remarks.append(f"the pixels went in {fed()}{rest}")
    if not made_here:
        preprocessing = preprocessing_of(artifact)
        height, width = preprocessing.size
        remarks.append(
            "the file does not say how images are made ready: the shorter side was resized to "
            f"{preprocessing.resize}, and {height}x{width} cropped from the centre, as is the habit for ImageNet"
        )
    return TopAnswer(image, backend, best, no_probabilities, tuple(remarks), apart=apart)


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[Sequence[str], str]:
    """Return a label for each number, and why they are indices where the file has none that fit."""
    if labels is not None and len(labels) == classes:
        return labels, ""
    numbered = [f"class {index}" for index in range(classes)]
    if labels:
        return numbered, f"the file has {len(labels)} labels for {classes} numbers: classes are indices, from 0"
    return numbered, "the file has no labels: classes are indices of its output, from 0"
