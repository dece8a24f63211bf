"""Which layers a compression should leave alone so that parity holds: measured on PyTorch's own module.

As with what must stay in fp32, layers are taken in the order of what each costs alone, twice as many each time, and
then those are spared without which it holds too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis.compression import Compressed, Compression
from parity.diagnosis.compression_cost import compressed_answers
from parity.diagnosis.precision import spared
from parity.diagnosis.repair import holds, judged, only

if TYPE_CHECKING:
    from parity.backends.reference import Reference

# Of the tolerance: what is left to the file's own rounding, which is not measured again for each set of layers.
_ROOM = 0.9
# So many sets of layers are measured on the worst images; the smallest of those that are enough is the proposal.
_MOST = 24


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
    some = only(reference, worst)
    costs = _alone(some, compression)
    layers = {one.weight.name: one for one, _ in costs}
    largest = {one.weight.name: cost for one, cost in costs}
    measured: dict[frozenset[str], bool] = {}

    def apart(over: Reference, left: Sequence[str]) -> float | None:
        return _apart(over, [one for name, one in layers.items() if name not in left], tolerance)

    def enough(left: Sequence[str]) -> bool:
        """Say whether parity holds of the worst images with these layers uncompressed."""
        key = frozenset(left)
        if key not in measured and len(measured) < _MOST:
            measured[key] = apart(some, left) is not None
        return measured.get(key, False)

    leave = spared(_first_enough(tuple(layers), enough), largest, enough)
    # What is enough of the worst images is mostly enough of all; where it is not, as many layers are added again.
    while (off := apart(reference, leave)) is None and len(leave) < len(layers):
        leave = (*leave, *[name for name in layers if name not in leave][: max(len(leave), 1)])
    return Proposal(costs, tuple(layers[name] for name in leave), off or 0.0)


def _first_enough(names: tuple[str, ...], enough: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    count = 1
    while count < len(names) and not enough(names[:count]):
        count *= 2
    return names[:count]


def _apart(reference: Reference, kept: Sequence[Compressed], tolerance: float) -> float | None:
    """Measure the largest |dp| with these layers compressed; None where parity does not hold."""
    answers = compressed_answers(reference.model, kept, reference.images.pixels, "fp32")
    comparison = judged(reference, replace(reference.prediction, probabilities=answers), _ROOM * tolerance)
    return comparison.max_abs_diff if holds(comparison) else None


def _alone(reference: Reference, compression: Compression) -> tuple[tuple[Compressed, float], ...]:
    """Measure what each layer's compression costs by itself, in fp32."""
    pixels, exact = reference.images.pixels, reference.prediction.probabilities
    costs = [
        float(np.abs(compressed_answers(reference.model, [one], pixels, "fp32") - exact).max(initial=0.0))
        for one in compression.sound
    ]
    return tuple(sorted(zip(compression.sound, costs, strict=True), key=lambda pair: -pair[1]))
