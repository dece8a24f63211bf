"""Faults in front of the model: how an app decodes, turns, resizes and crops the picture of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from parity.audit.mutant import Mutant, Original, Sample, none
from parity.diagnosis.preparation import Recipe, prepare, usual

FAULTS = (
    "pre-bgr-swap",
    "pre-interp-kernel",
    "pre-resize-antialias",
    "pre-crop-geometry",
    "pre-exif-orientation",
    "pre-colour-mode",
)


def mutants(original: Original) -> Iterator[Mutant]:
    """Prepare the pictures otherwise than PyTorch's were."""
    own = usual(original.reference.classifier.preprocessing)

    def other(fault: str, told: str, recipe: Recipe, *remedies: str) -> Mutant:
        return Mutant(fault, told, remedies=remedies, pixels=partial(_prepared, original, recipe))

    yield other(
        "pre-bgr-swap", "pictures decoded as BGR, as OpenCV does", replace(own, colours="BGR"), "colour", "unsure"
    )
    if own.resize is None:
        for fault in ("pre-interp-kernel", "pre-resize-antialias"):
            yield from none(fault, "the preprocessing does not resize")
    else:
        for name in ("nearest", "bilinear", "bicubic", "lanczos"):
            if name != own.filter:
                recipe = replace(own, filter=name)
                yield other("pre-interp-kernel", f"pictures resized by {name}", recipe, "detailed", "unsure")
        plain = replace(own, filter=own.filter if own.filter == "bicubic" else "bilinear", antialias=False)
        told = f"pictures resized by {plain.filter} without antialiasing"
        yield other("pre-resize-antialias", told, plain, "detailed", "unsure")
    for told, resize in (
        ("pictures stretched to the input's size (scaleFill)", "stretch"),
        ("pictures cropped from a resize of the shorter side to the input's size (centerCrop)", "cover"),
        ("pictures fitted in whole with bars (scaleFit)", "fit"),
    ):
        yield other("pre-crop-geometry", told, replace(own, resize=resize), "non-square", "asymmetric", "unsure")
    yield other("pre-exif-orientation", "EXIF's orientation ignored", replace(own, upright=False), "exif")
    for over in ("white", "black"):
        told = f"transparency blended over {over}"
        yield other("pre-colour-mode", told, replace(own, alpha=over), "transparent")


def _prepared(original: Original, recipe: Recipe, sample: Sample) -> np.ndarray:
    pixels = prepare(recipe, original.reference.images.pixels, list(sample.pictures))
    return sample.pixels if pixels is None else pixels
