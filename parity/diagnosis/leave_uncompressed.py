"""Which layers a compression should leave alone so that parity holds: measured on PyTorch's own module.

As with what must stay in fp32, layers are taken in the order of what each costs alone, twice as many each time, and
then those are spared without which it holds too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.core.results import Prediction
from parity.diagnosis.compression import Compressed, Compression
from parity.diagnosis.compression_cost import compressed_answers
from parity.diagnosis.precision import spared
from parity.diagnosis.repair import holds, judged

if TYPE_CHECKING:
    from parity.backends.reference import Reference

# Of the tolerance: what is left to the file's own rounding, which is not measured again for each set of layers.
_ROOM = 0.9
# So many sets of layers are measured; then the smallest of those that are enough is the proposal.
_MOST = 32


@dataclass(frozen=True)
class Proposal:
    """Say which layers to leave uncompressed.

    costs: what the compression of each layer alone moves the answers to the worst images by, the most first. leave:
    the smallest set that is known to be enough, in the same order. apart: the largest |dp| without them.
    """

    costs: tuple[tuple[Compressed, float], ...]
    leave: tuple[Compressed, ...]
    apart: float


def propose(reference: Reference, compression: Compression, tolerance: float, worst: Sequence[int]) -> Proposal:
    """Find layers that must stay uncompressed for parity to hold. worst: the images that are furthest off."""
    costs = _alone(reference, compression, worst)
    layers = {one.weight.name: one for one, _ in costs}
    largest = {one.weight.name: cost for one, cost in costs}
    measured: dict[frozenset[str], float | None] = {}

    def apart(left: Sequence[str]) -> float | None:
        """Measure the largest |dp| with these layers uncompressed; None where parity does not hold."""
        key = frozenset(left)
        if key not in measured:
            if len(measured) >= _MOST:
                return None
            kept = [one for name, one in layers.items() if name not in key]
            answers = compressed_answers(reference.model, kept, reference.images.pixels, "fp32")
            both = reference, Prediction(answers, reference.prediction.labels)
            comparison = judged(*both, _ROOM * tolerance)
            measured[key] = comparison.max_abs_diff if holds(comparison) else None
        return measured[key]

    names = _first_enough(tuple(layers), lambda some: apart(some) is not None)
    leave = spared(names, largest, lambda some: apart(some) is not None)
    return Proposal(costs, tuple(layers[name] for name in leave), apart(leave) or 0.0)


def _first_enough(names: tuple[str, ...], enough: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    count = 1
    while count < len(names) and not enough(names[:count]):
        count *= 2
    return names[:count]


def _alone(
    reference: Reference, compression: Compression, worst: Sequence[int]
) -> tuple[tuple[Compressed, float], ...]:
    """Measure what each layer's compression costs by itself, on the worst images alone and in fp32."""
    rows = list(worst)
    pixels, exact = reference.images.pixels[rows], reference.prediction.probabilities[rows]
    costs = [
        float(np.abs(compressed_answers(reference.model, [one], pixels, "fp32") - exact).max(initial=0.0))
        for one in compression.sound
    ]
    return tuple(sorted(zip(compression.sound, costs, strict=True), key=lambda pair: -pair[1]))
