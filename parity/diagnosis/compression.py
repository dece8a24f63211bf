"""PyTorch's own module with the weights that a file's compression leaves of it.

The grid comes from the file, the numbers from PyTorch: each number of PyTorch's becomes the nearest that the grid
allows. So a wrong weight, a wrong layer or another checkpoint is never among what compression costs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import GRID_FACTOR, WEIGHT_HALF, WEIGHT_UNRELATED
from parity.diagnosis.grids import best_error
from parity.diagnosis.likeness import likeness
from parity.formats import format_of
from parity.formats.compression import CompressedWeight, manner_of, snapped
from parity.formats.graph import read_graph

if TYPE_CHECKING:
    import torch

    from conversion import Artifact, Model
    from parity.diagnosis.types import ExpectedWeight


@dataclass(frozen=True, eq=False)
class Compressed:
    """Hold a compressed weight of a file, and what it should be without compression."""

    weight: CompressedWeight
    expected: ExpectedWeight

    @property
    def operation(self) -> str:
        """The operation that reads it."""
        return self.expected.operation.name

    @property
    def array(self) -> np.ndarray:
        """The numbers that the file holds, decompressed."""
        return self.expected.operation.weights[self.expected.place]

    @cached_property
    def snapped(self) -> np.ndarray:
        """What compression makes of PyTorch's numbers, in the file's layout."""
        return snapped(self.weight, self.expected.array)

    @cached_property
    def error(self) -> float:
        """How far that is from PyTorch's numbers, as a share of their size."""
        return _apart(self.snapped, self.expected.array)

    @cached_property
    def worse(self) -> float:
        """How many times farther that is than it would be on the best grid of this kind and so many bits."""
        best = best_error(self.weight, self.expected.array)
        return self.error / best if best > WEIGHT_HALF else self.error / WEIGHT_HALF

    @property
    def absurd(self) -> bool:
        """Whether the file's grid is worse than any that compression of this kind makes of these weights."""
        return not self.worse <= GRID_FACTOR

    @cached_property
    def unrelated(self) -> bool:
        """Whether the numbers have nothing in common with PyTorch's: they are others, whatever their grid."""
        return bool(np.any(self.array)) and abs(likeness(self.array, self.expected.array)) < WEIGHT_UNRELATED

    @cached_property
    def faithful(self) -> bool:
        """Whether the file holds what its grid makes of PyTorch's numbers, however it rounded each of them."""
        return not self.absurd and _apart(self.array, self.expected.array) <= GRID_FACTOR * self.error + WEIGHT_HALF


@dataclass(frozen=True)
class Compression:
    """Hold the compressed weights of a file: those that are sound, those whose grid is none, and the others.

    unpaired: those for which no weight of PyTorch's is known.
    """

    sound: tuple[Compressed, ...]
    absurd: tuple[Compressed, ...]
    unpaired: tuple[CompressedWeight, ...]

    @property
    def manner(self) -> str:
        """Say how the weights are compressed: `int8`."""
        return manner_of([*(one.weight for one in (*self.sound, *self.absurd)), *self.unpaired])


def read_compression(model: Model, artifact: Artifact) -> Compression | None:
    """Pair the compressed weights of a file with those of a model; None where none is compressed."""
    weights = format_of(artifact).compressed_weights(artifact)
    return pair_compressed(model, artifact, weights) if weights else None


def pair_compressed(model: Model, artifact: Artifact, weights: Sequence[CompressedWeight]) -> Compression:
    """Pair compressed weights with those of a model, as the audit of the weights does."""
    from parity.diagnosis.weights import expected_weights

    # Folds that are tried, with an epsilon of 0 say, may divide by 0.
    with np.errstate(all="ignore"):
        return sort_compressed(expected_weights(model, read_graph(artifact)), weights)


def sort_compressed(expected: Sequence[ExpectedWeight], weights: Sequence[CompressedWeight]) -> Compression:
    """Sort compressed weights by what is known of them. expected: what the weights of the file should be."""
    by_name = {name_of(one): one for one in reversed(expected)}
    pairs: list[Compressed] = []
    unpaired: list[CompressedWeight] = []
    for weight in weights:
        one = by_name.get(weight.name)
        known = one is not None and one.origin is not None and one.origin.parameter
        if one is not None and known and one.array.size == int(np.prod(weight.shape)):
            pairs.append(Compressed(weight, one))
        else:
            unpaired.append(weight)
    return Compression(
        tuple(c for c in pairs if not c.absurd), tuple(c for c in pairs if c.absurd), tuple(unpaired)
    )


def name_of(expected: ExpectedWeight) -> str:
    """Name a weight of a file: as the constant is called, or as the layer and the field."""
    return expected.constant or f"{expected.operation.name}.{expected.place}"


def compressed_copy(
    module: torch.nn.Module,
    weights: Sequence[Compressed],
    numbers: Callable[[Compressed], np.ndarray] = attrgetter("snapped"),
) -> torch.nn.Module:
    """Copy a deployed module and give it other numbers for these weights; all others stay exact.

    numbers: of a weight, in the file's layout; by default what compression leaves of PyTorch's own.
    """
    import torch

    changed = copy.deepcopy(module)
    state = changed.state_dict(keep_vars=True)
    # Two operations may read one parameter, by one name or by two.
    done: set[int] = set()
    with torch.no_grad():
        for one in weights:
            origin = one.expected.origin
            tensor = state.get(origin.parameter) if origin else None
            if origin is None or tensor is None or tensor.data_ptr() in done:
                continue
            done.add(tensor.data_ptr())
            moved = np.zeros(tensor.numel())
            moved[origin.order] = numbers(one).reshape(-1) - one.expected.array.reshape(-1)
            moved = moved.reshape(tuple(tensor.shape))
            if origin.factor is not None:
                # A channel that a batch norm multiplies by 0 is 0, whatever its kernel.
                moved = np.divide(moved, origin.factor, np.zeros_like(moved), where=origin.factor != 0)
            tensor += torch.from_numpy(moved).to(tensor.dtype)
    return changed


def _apart(numbers: np.ndarray, wanted: np.ndarray) -> float:
    one, other = (np.asarray(a, np.float64).reshape(-1) for a in (numbers, wanted))
    return float(np.linalg.norm(one - other) / (np.linalg.norm(other) + 1e-30))
