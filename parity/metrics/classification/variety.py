"""Whether agreement with a classifier's answers proves anything: with flat, equal or one-class ones it does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.core.noise import FLAT_ENTROPY
from parity.core.variety import ONE_IMAGE, one_answer


@dataclass(frozen=True, eq=False)
class ClassVariety:
    """Hold what tells whether a model that ignores its input could pass for the reference.

    flat: every answer is about the same for every class. classes: the columns of the most probable classes, two
    of them at most, for no more are asked for. low, high: per column the smallest and the largest answer.
    """

    images: int
    flat: bool
    classes: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray

    def merge(self, other: ClassVariety) -> ClassVariety:
        """Return what tells it of both."""
        return ClassVariety(
            self.images + other.images,
            self.flat and other.flat,
            tuple(dict.fromkeys((*self.classes, *other.classes)))[:2],
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def lacking(self, allowed: float) -> str:
        """Say why agreement with these answers within `allowed` would prove nothing; empty where it would."""
        classes = len(self.low)
        if self.flat:
            return (
                f"the reference answers about 1/{classes} for every class of every image (an untrained network?); "
                "any other would agree: give trained weights"
            )
        if self.images < 2:
            return ONE_IMAGE
        # The constant nearest to all answers lies midway between the extremes of each class.
        spread = float((self.high - self.low).max()) / 2
        if spread <= allowed:
            return one_answer(spread, allowed)
        return one_class(self.images) if len(self.classes) == 1 else ""


def one_class(images: int) -> str:
    """Say that so many images are of one class."""
    return (
        f"the reference gives all {images} images one class; a model that knows only that class would agree: give "
        "images of at least two classes"
    )


def variety_of(reference: np.ndarray) -> ClassVariety:
    """Look at answers; reference: [images, classes], at least one image."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(reference > 0, reference * np.log(reference), 0.0), axis=1)
    return ClassVariety(
        len(reference),
        bool((entropy >= FLAT_ENTROPY * np.log(reference.shape[1])).all()),
        tuple(dict.fromkeys(reference.argmax(axis=1).tolist()))[:2],
        reference.min(axis=0),
        reference.max(axis=0),
    )


def proves_nothing(reference: np.ndarray, allowed: float) -> str:
    """Say why agreement with these reference answers within `allowed` would prove nothing; empty where it would.

    reference: [images, classes]. The measure is what a model that ignores its input could pass.
    """
    return variety_of(reference).lacking(allowed)
