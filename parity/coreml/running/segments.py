"""Steps of a plan in a row, taken for one; and how values of two ways through them are compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parity.coreml.running.plan import Step
from parity.coreml.running.rewriting import Piece, plain_piece

# Is shown a piece with the values that it reads and gives.
Visit = Callable[[Piece, Sequence[Any], Sequence[Any]], None]


@dataclass(frozen=True)
class Segment:
    """Hold steps in a row that become one. inputs, outputs: places read from before it, and read after it."""

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def frees(self) -> tuple[int, ...]:
        """The places of inputs that nobody needs afterwards."""
        return tuple(sorted({place for step in self.steps for place in step.frees}.intersection(self.inputs)))

    def run(
        self,
        initial: Mapping[int, Any],
        inputs: Sequence[Any],
        wanted: Collection[int],
        pieces: Sequence[Piece] = (),
        visit: Visit | None = None,
    ) -> dict[int, Any]:
        """Run the steps, overwrite nothing, and return the values at the `wanted` places.

        initial: values that are known before. pieces: what the steps were rewritten to, which runs in their place.
        visit: is shown what each piece reads and gives.
        """
        pieces = pieces or [plain_piece(step) for step in self.steps]
        values = {**initial, **dict(zip(self.inputs, inputs, strict=True))}
        readers = Counter(place for piece in pieces for place in piece.inputs)
        for piece in pieces:
            read = [values[place] for place in piece.inputs]
            results = piece.run(*read)
            if visit:
                visit(piece, read, results)
            values.update(zip(piece.outputs, results, strict=True))
            readers.subtract(piece.inputs)
            for place in piece.inputs:
                if not readers[place] and place not in wanted:
                    values.pop(place, None)
        return {place: values[place] for place in wanted}


def largest_magnitude(value: torch.Tensor) -> torch.Tensor:
    """Compute the largest magnitude of a value, in passes that PyTorch vectorises."""
    return torch.maximum(value.amax(), -value.amin())


def peak(value: torch.Tensor) -> float:
    """Return the largest magnitude of a value."""
    return float(largest_magnitude(value))


def other_values(value: torch.Tensor) -> torch.Tensor:
    """Make other values of about the same size, different from these even where all of them are equal."""
    ramp = torch.linspace(0.0, max(1.0, peak(value)) / 4, value.numel()).reshape(value.shape)
    return value.flip(tuple(range(value.ndim))) + ramp


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Say how far two values are apart, as a share of the largest; infinitely where they are of different kinds."""
    if one.shape != other.shape or one.dtype is not other.dtype:
        return math.inf
    # Zeros are alike, and NaN is like nothing.
    return float((one - other).abs().amax()) / max(float(other.abs().amax()), torch.finfo(one.dtype).tiny)
