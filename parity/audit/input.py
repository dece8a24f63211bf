"""Faults in what is done to the pixels inside the file: order of the channels, scale and bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from parity.audit.mutant import Mutant, Original, none
from parity.formats.editing import Edit, Editable

FAULTS = (
    "pre-bgr-swap",
    "pre-missing-normalise",
    "pre-range-0-1-vs-0-255",
    "pre-scalar-std",
    "pre-bias-formula",
)
_REMEDIES = ("colour", "unsure")


def mutants(original: Original) -> Iterator[Mutant]:
    """Swap red and blue, and scale and shift the pixels in the ways that people get wrong.

    A normalisation is y = scale * x + bias per channel, x in 0..255.
    """
    preprocessing = original.reference.classifier.preprocessing
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    scale, bias = 1 / (255 * std), -mean / std

    def other(fault: str, description: str, its_scale: np.ndarray, its_bias: np.ndarray) -> Iterator[Mutant]:
        if np.allclose(its_scale, scale, 1e-6) and np.allclose(its_bias, bias, 1e-6, 1e-6):
            yield from none(fault, f"{description}: this normalisation is that already")
            return
        # In front of the file's own normalisation stands what makes the wrong one of it.
        edit = affine(original, its_scale / scale, (its_bias - bias) / scale)
        yield Mutant(fault, description, remedies=_REMEDIES, edit=edit)

    if preprocessing.channels == 3:
        yield Mutant("pre-bgr-swap", "red and blue exchanged", remedies=("colour",), edit=Editable.swap_channels)
    else:
        yield from none("pre-bgr-swap", "the model takes grey images")
    one = np.ones(preprocessing.channels)
    yield from other("pre-missing-normalise", "no scale and no bias: the network sees 0..255", one, 0 * one)
    yield from other("pre-missing-normalise", "0..1 without mean and std", one / 255, 0 * one)
    yield from other("pre-range-0-1-vs-0-255", "scale without its 1/255", 255 * scale, bias)
    yield from other("pre-range-0-1-vs-0-255", "scale without its 1/std", one / 255, bias)
    if np.allclose(std, std.mean()):
        yield from none("pre-scalar-std", "all channels have one std")
    else:
        single = np.full(preprocessing.channels, std.mean())
        yield from other("pre-scalar-std", "one std for all channels", 1 / (255 * single), -mean / single)
        yield from other("pre-scalar-std", "one scale for all channels, bias per channel", 1 / (255 * single), bias)
    yield from other("pre-bias-formula", "bias -mean in the place of -mean/std", scale, -mean)
    yield from other("pre-bias-formula", "bias with the wrong sign", scale, -bias)
    yield from other("pre-bias-formula", "bias 255 times too large", scale, 255 * bias)


def affine(original: Original, scale: Sequence[float] | np.ndarray, bias: Sequence[float] | np.ndarray) -> Edit:
    """Make the edit that gives the network image * scale + bias in the place of the image, per channel."""
    image = original.graph.input
    # What the app makes of the pixels before the file is theirs too: it stays, and the pixels are changed below it.
    ends = zip(scale, bias, *original.artifact.contract.affine(len(scale)), strict=True)
    scale, bias = zip(*((s, k * b + c * (1 - s)) for s, b, k, c in ends), strict=True)
    readers = [operation.name for operation in original.graph.operations]

    def edit(model: Editable) -> None:
        model.replace_input(image, readers, [float(v) for v in scale], [float(v) for v in bias])

    return edit
