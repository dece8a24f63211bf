"""Which weights of a file are compressed, and which numbers each of them may hold: its grid.

A number of the weight is looked for at (number / scale + zero), among whole numbers or in a codebook; so many of
the smallest are zero. What a format leaves out of this is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Operations of ONNX that round activations to whole numbers, or compute with those.
INT8_OPERATIONS = frozenset(
    ("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear", "QuantizeLinear")
)
Kind = Literal["linear", "palette", "sparse", "joint"]
# Vectors of a codebook are compared with so many numbers at once.
_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class CompressedWeight:
    """Hold how one weight of a file is compressed.

    name: of the constant in the file, or `layer.field` where constants have no names. shape: of the weight.
    bits: of one number that is kept, 0 where these are not compressed themselves. granularity: in words.
    scale, zero: one number for each block of the weight, with as many axes as it has. levels: the lowest and the
    highest whole number. codebook: [*blocks, entries, length of a vector]; vectors lie along `vector_axis`.
    kept: how many numbers are not zero by the file's mask.
    """

    name: str
    kind: Kind
    bits: int
    granularity: str
    shape: tuple[int, ...]
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    levels: tuple[int, int] | None = None
    codebook: np.ndarray | None = None
    vector_axis: int | None = None
    kept: int | None = None

    @property
    def pruned(self) -> float:
        """The share of the numbers that the file's mask makes zero."""
        size = int(np.prod(self.shape))
        return 0.0 if self.kept is None or not size else 1 - self.kept / size

    @property
    def manner(self) -> str:
        """Say how it is compressed, in front of the word `weights`."""
        return manner_of([self])


def manner_of(weights: Sequence[CompressedWeight]) -> str:
    """Say how weights are compressed: `int8`, `50 % pruned and 6-bit palettised`; each manner once."""
    groups: dict[tuple[bool, str], list[CompressedWeight]] = {}
    for weight in weights:
        kept = f"{weight.bits}-bit palettised" if weight.codebook is not None else f"int{weight.bits}"
        groups.setdefault((weight.kept is not None, kept if weight.bits else ""), []).append(weight)
    manners = []
    for (sparse, kept), some in sorted(groups.items(), key=lambda group: group[0]):
        share = sum(w.pruned * np.prod(w.shape) for w in some) / sum(np.prod(w.shape) for w in some)
        manners.append(" ".join(filter(None, (f"{100 * share:.0f} % pruned" if sparse else "", kept))))
    return " and ".join(manners)


def snapped(weight: CompressedWeight, numbers: np.ndarray) -> np.ndarray:
    """Replace each number by the nearest that the weight's own grid allows; float64, in the same shape.

    Where the weight is pruned, as many numbers as in the file become zero: those of the smallest magnitude.
    """
    exact = np.asarray(numbers, np.float64).reshape(weight.shape)
    values = exact
    if weight.levels is not None or weight.codebook is not None:
        scale = None if weight.scale is None else spread(weight.scale, weight.shape)
        zero = 0.0 if weight.zero is None else spread(weight.zero, weight.shape)
        # A block of scale 0 holds nothing but zeros, and so it comes out.
        steps = exact if scale is None else np.divide(exact, scale, np.zeros_like(exact), where=scale != 0)
        steps = steps + zero
        if weight.codebook is not None:
            steps = _looked_up(steps, weight.codebook, weight.vector_axis)
        elif weight.levels is not None:
            steps = np.clip(np.round(steps), *weight.levels)
        values = (steps - zero) * (1.0 if scale is None else scale)
    if weight.kept is not None:
        values = np.where(kept_by_magnitude(exact, weight.kept), values, 0.0)
    return values


def kept_by_magnitude(numbers: np.ndarray, kept: int) -> np.ndarray:
    """Say of each number whether it is among so many of the largest magnitude."""
    order = np.argsort(np.abs(numbers), axis=None, kind="stable")
    mask = np.ones(numbers.size, bool)
    mask[order[: numbers.size - kept]] = False
    return mask.reshape(numbers.shape)


def spread(blocks: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Repeat the numbers of blocks so that each stands for its block in a weight of this shape."""
    wide = np.asarray(blocks, np.float64)
    for axis, size in enumerate(shape):
        if wide.shape[axis] > 1:
            # The last block may be a part of one.
            wide = wide.repeat(-(-size // wide.shape[axis]), axis).take(range(size), axis)
    return np.broadcast_to(wide, tuple(shape))


def blocks_of(numbers: np.ndarray, shape: Sequence[int], axis: int | None) -> np.ndarray:
    """Give scales one axis for each of the weight's; of blocks they have them already.

    axis: along which a vector of them counts; None: there is one for all.
    """
    wide = np.asarray(numbers, np.float64)
    if wide.size > 1 and wide.ndim == len(shape):
        return wide
    if wide.size == 1 or axis is None:
        return wide.reshape(-1)[:1].reshape((1,) * len(shape))
    return wide.reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])


def block_slices(place: Sequence[int], blocks: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Find the part of a weight that a block stands for. place: of the block among the blocks."""
    sizes = [-(-size // count) for size, count in zip(shape, blocks, strict=True)]
    return tuple(slice(at * size, (at + 1) * size) for at, size in zip(place, sizes, strict=True))


def granularity(blocks: Sequence[int], shape: Sequence[int]) -> str:
    """Say for which part of a weight one scale or one codebook stands. blocks: how many along each axis."""
    cut = [axis for axis, count in enumerate(blocks) if count > 1]
    if not cut:
        return "per tensor"
    if len(cut) == 1 and blocks[cut[0]] == shape[cut[0]]:
        return "per channel"
    sizes = [-(-shape[axis] // blocks[axis]) for axis in cut]
    return f"in blocks of {' x '.join(str(size) for size in sizes if size > 1)}"


def as_vectors(part: np.ndarray, length: int, axis: int | None) -> np.ndarray:
    """Cut a part of a weight into the vectors of a codebook: [vectors, length]."""
    return np.moveaxis(part, -1 if axis is None else axis, -1).reshape(-1, length)


def _looked_up(values: np.ndarray, tables: np.ndarray, axis: int | None) -> np.ndarray:
    nearest = np.empty_like(values)
    blocks = tables.shape[:-2]
    for place in np.ndindex(*blocks):
        where = block_slices(place, blocks, values.shape)
        nearest[where] = _nearest(values[where], np.asarray(tables[place], np.float64), axis)
    return nearest


def _nearest(part: np.ndarray, table: np.ndarray, axis: int | None) -> np.ndarray:
    length = table.shape[-1]
    if length == 1:
        entries = np.unique(table)
        chosen: np.ndarray = entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, part)]
        return chosen
    vectors = as_vectors(part, length, axis)
    step = max(1, _AT_ONCE // len(table))
    squares = np.square(table).sum(axis=1)
    rows = [(squares - 2 * vectors[at : at + step] @ table.T).argmin(axis=1) for at in range(0, len(vectors), step)]
    moved = np.moveaxis(part, -1 if axis is None else axis, -1)
    return np.moveaxis(table[np.concatenate(rows)].reshape(moved.shape), -1, -1 if axis is None else axis)
