"""Faults of orientation and position: the artefact is given turned, mirrored or shifted pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from parity.audit.mutant import Mutant, Original, Sample

FAULTS = ("pre-exif-orientation", "pre-crop-geometry")
_REMEDIES = ("asymmetric", "detailed", "unsure")


def mutants(original: Original) -> Iterator[Mutant]:
    """Mirror, turn and shift."""
    height, width = original.reference.images.pixels.shape[1:3]
    turns: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mirrored left to right": lambda x: x[:, :, ::-1],
        "turned upside down": lambda x: x[:, ::-1, ::-1],
    }
    if height == width:
        turns["turned by a quarter"] = lambda x: np.rot90(x, axes=(1, 2))
    for description, turn in turns.items():
        yield Mutant(
            "pre-exif-orientation", f"pixels {description}", remedies=_REMEDIES, pixels=partial(_changed, turn)
        )
    shifted = partial(_changed, _shift)
    yield Mutant("pre-crop-geometry", "pixels shifted by one to the right and down", "", _REMEDIES, pixels=shifted)


def _changed(change: Callable[[np.ndarray], np.ndarray], sample: Sample) -> np.ndarray:
    return np.ascontiguousarray(change(sample.pixels))


def _shift(pixels: np.ndarray) -> np.ndarray:
    """Shift by a pixel, as a crop does that is rounded otherwise: what comes in is like its neighbour."""
    return np.pad(pixels, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="edge")[:, :-1, :-1]
