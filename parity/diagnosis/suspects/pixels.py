"""What happens to a picture before it is pixels: decoder, colours, orientation, resize and crop.

Where the recorded answers cannot be had again from our pixels, they are answers to other ones. Which ones these are
shows by following every usual recipe, until PyTorch's answers are the recorded ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.reference import Reference
from parity.core.noise import FP16_CAP, PIXELS_ROUNDED
from parity.core.refusals import EXPECTED
from parity.diagnosis import preparation
from parity.diagnosis.preparation import Recipe
from parity.diagnosis.repair import Repair, holds, judged
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import asked_again

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination

# Where rounding pixels costs more than rounding to fp16 may, it excuses everything and explains nothing.
_MOST = FP16_CAP
_SHOWN = "PyTorch shown those pixels gives the same answers"


@dataclass(frozen=True)
class Variant:
    """Hold a recipe, the pixels that it makes, and the change of a reference to PyTorch's answers to these."""

    recipe: Recipe
    pixels: np.ndarray
    answering: Callable[[Reference], Reference]


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Follow other recipes, of one change at a time, then of two; then say what rounded pixels would explain."""
    if not examination.candidate.is_elsewhere:
        return
    yield from _elsewhere(examination)
    own = preparation.usual(examination.reference.model.preprocessing)
    variants = list(_variants(examination, own))
    for variant in variants:
        fault, repair = variant.recipe.fault(own), _repair(variant, own)
        yield Suspect(fault, _sentence(examination, own, variant), repair)
    # Who says that these very pixels were shown may be mistaken in how they were used, not in their last bits.
    if examination.candidate.prediction and examination.candidate.prediction.same_pixels:
        return
    yield from _rounded(examination, own, variants)


def _elsewhere(examination: Examination) -> Iterator[Suspect]:
    """Say that the file is right, where it is; what was done to the pixels says more, if it is known."""
    try:
        answers = examination.candidate.predict(examination.pixels)
        here = judged(examination.reference, answers, examination.tolerance)
    except EXPECTED:
        return
    if holds(here):
        yield Suspect(
            "pre-app-path",
            f"The file is right: run here on these pixels it agrees with PyTorch (largest |dp| "
            f"{here.max_abs_diff:.1e}). What was recorded is the answer to other pixels, or of another runtime, "
            "and no fault of the converter: save the pixels that the app gives the model, and record these.",
            seen=True,
        )


def _variants(examination: Examination, own: Recipe) -> Iterator[Variant]:
    """Give every recipe that makes other pixels, these pixels, and PyTorch's answers to them."""
    base = preparation.read_pictures(examination.image_files)
    recipes = [*preparation.single(own), *preparation.double(own)] if base else [*preparation.of_pixels(own)]
    tried: set[bytes] = set()
    for recipe in recipes:
        pixels = preparation.prepare(recipe, examination.pixels, base)
        if pixels is None or pixels.shape != examination.pixels.shape or np.array_equal(pixels, examination.pixels):
            continue
        key = pixels.tobytes()
        if key not in tried:  # two names for the same pixels
            tried.add(key)
            yield Variant(recipe, pixels, _answering(examination.reference.images.names, pixels))


def _answering(names: tuple[str, ...], pixels: np.ndarray) -> Callable[[Reference], Reference]:
    """Make the change of a reference to other pixels of the same images, each asked for once.

    names: of all of these pixels.
    """
    known: dict[tuple[str, ...], Reference] = {}

    def answering(reference: Reference) -> Reference:
        asked = reference.images.names
        if asked not in known:
            known[asked] = asked_again(reference, pixels[[names.index(name) for name in asked]])
        return known[asked]

    return answering


def _rounded(examination: Examination, own: Recipe, variants: Sequence[Variant]) -> Iterator[Suspect]:
    """Say that pixels which differ by rounding would explain it: a decoder's, or nearly those of another recipe.

    Nobody has these pixels, so nothing can be run again with them: what speaks for them is how large the difference
    is, and that confirms nothing.
    """
    apart = _apart(examination, examination.reference)
    cost = _cost(examination, 2)
    if apart <= min(PIXELS_ROUNDED * cost, _MOST):
        yield Suspect(
            "pre-decoder",
            f"The decoded pixels may differ a little, as between two decoders: pixels that are off by up to 2 cost "
            f"PyTorch {cost:.2g}, and the answers are {apart:.2g} apart. Compare from a lossless PNG or a saved "
            "tensor before blaming the converter.",
            seen=True,
            suffices=True,
        )
        return
    allowed = min(PIXELS_ROUNDED * _cost(examination, 1), _MOST)
    near = [(_apart(examination, variant.answering(examination.reference)), variant) for variant in variants]
    fitting = [pair for pair in near if pair[0] <= allowed]
    for apart, variant in sorted(fitting, key=lambda pair: pair[0])[:1]:
        fault, fix = variant.recipe.fault(own), variant.recipe.fix(own)
        sentence = _sentence(examination, own, variant)[:-1]
        rest = f"what is left, {apart:.2g}, is not more than pixels that were rounded otherwise cost PyTorch"
        yield Suspect(fault, f"{sentence}; {rest}.", seen=True, fix=fix, suffices=True)


def _apart(examination: Examination, reference: Reference) -> float:
    """Return the largest |dp| between the answers and a reference's; infinity where one is not finite."""
    answers = examination.candidate.answers
    if answers is None:
        return math.inf
    cases = judged(reference, answers, examination.tolerance).cases
    apart = [math.inf if case.max_abs_diff is None else case.max_abs_diff for case in cases]
    return max(apart, default=math.inf)


def _cost(examination: Examination, bits: int) -> float:
    """Measure what noise in the pixels' least bits costs PyTorch."""
    random = np.random.default_rng(5)
    noise = random.integers(-bits, bits + 1, examination.pixels.shape)
    noisy = np.clip(examination.pixels.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    answers = asked_again(examination.reference, noisy).prediction.probabilities
    return float(np.abs(answers - examination.torch.probabilities).max())


def _repair(variant: Variant, own: Recipe) -> Repair:
    return Repair(reference=variant.answering, evidence=_SHOWN, fix=variant.recipe.fix(own))


def _sentence(examination: Examination, own: Recipe, variant: Variant) -> str:
    pixels = variant.pixels
    noise = float(((pixels.astype(np.float64) - examination.pixels) ** 2).mean())
    decibel = 10 * np.log10(255**2 / noise) if noise else float("inf")
    count = sum(not np.array_equal(a, b) for a, b in zip(pixels, examination.pixels, strict=True))
    difference = f"; the pixels differ by a PSNR of {decibel:.1f} dB in {count} of {len(pixels)} image(s)"
    return f"{variant.recipe.sentence(own)}{difference}."
