"""What is kept beside tensors of more than five axes: flat ones, with the same numbers in the same order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_AXES = 5


@dataclass(frozen=True)
class Kept:
    """Hold a tall tensor, how often it had been written to, and its flat one: at most five axes, row-major."""

    tall: Any
    version: int
    flat: Any


@dataclass(frozen=True)
class Tall:
    """Hold the flat tensors of a trace by the identity of the tall ones, which live as long."""

    kept: dict[int, Kept] = field(default_factory=dict)


def sizes_of(values: Any) -> list[Any]:
    """List the sizes of a tensor; in a trace as numbers, not as values of its graph."""
    import torch

    jit: Any = torch.jit
    if not jit.is_tracing():
        return list(values.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jit.TracerWarning)
        return [int(size) for size in values.shape]


def alike(sizes: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Split axes into runs along which each tensor has all sizes or 1 throughout; axes of 1 in all join any."""
    start, before = 0, None
    for axis, lengths in enumerate(zip(*sizes, strict=True)):
        own = tuple(length == 1 for length in lengths)
        if all(own):
            continue
        if before is not None and own != before:
            yield start, axis
            start = axis
        before = own
    yield start, len(sizes[0])


def kept(tall: Tall, answer: Any, flat: Any) -> Any:
    """Give an answer by its flat tensor, and keep that where the answer is tall."""
    if not is_tall(answer):
        return flat.reshape(sizes_of(answer))
    tall.kept[id(answer)] = Kept(answer, answer._version, flat)
    return answer


def flat_of(tall: Tall, values: Any) -> Any:
    """Return the flat tensor of a tall one, and any other itself."""
    return tall_flat(tall, values) if is_tall(values) else values


def tall_flat(tall: Tall, values: Any) -> Any:
    """Return the flat tensor of a tall one, None where none is kept or it was written to since."""
    kept = tall.kept.get(id(values))
    return kept.flat if kept and kept.version == values._version else None


def is_tall(values: Any) -> bool:
    """Say whether a tensor has more axes than Core ML knows."""
    return bool(values.dim() > MOST_AXES)


def around(sizes: Sequence[Any], axis: int, count: int = 1) -> list[Any]:
    """Group sizes into those before an axis, of it (or of a run of axes), and behind it."""
    first = axis % len(sizes)
    return [math.prod(sizes[:first]), math.prod(sizes[first : first + count]), math.prod(sizes[first + count :])]


def few(sizes: Sequence[Any]) -> list[Any]:
    """Join the first axes until there are no more than Core ML knows."""
    kept = MOST_AXES - 1
    return [math.prod(sizes[:-kept]), *sizes[-kept:]] if len(sizes) > MOST_AXES else list(sizes)
