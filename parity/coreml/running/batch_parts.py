"""Segments that keep images apart: a large batch goes through them in parts, whose values fit into a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from parity.coreml.running.rewriting import Piece
from parity.coreml.running.segments import Segment, apart, other_values

# How far one operation's results for an image may be apart by itself and among others, as a share of the largest:
# kernels choose the order of their sums by the size of the batch.
_ROUNDING: Mapping[str, float] = {"fp16": 2.0**-9, "fp32": 1e-5}


def keeps_images_apart(segment: Segment, initial: Mapping[int, Any], inputs: Sequence[torch.Tensor]) -> bool:
    """Say whether a segment answers each image as if it were alone; the first axis of its inputs is the batch.

    initial: values that are known before. Every operation is tried by itself, on the first image and on the last.
    What mixes images shows there, since the operations of a segment do the same whatever they read.
    """
    sizes = {value.shape[:1] for value in inputs}
    if len(sizes) != 1 or sizes <= {(), (1,)}:
        return False
    count = len(inputs[0])
    of_images = set(segment.inputs)
    mixing: list[Piece] = []

    def alike(piece: Piece, read: Sequence[Any], results: Sequence[Any], image: slice) -> bool:
        wired = zip(piece.inputs, read, strict=True)
        try:
            alone = piece.run(*[value[image] if place in of_images else value for place, value in wired])
        except (RuntimeError, ValueError):  # a shape that the file declares with the size of the batch
            return False
        return all(
            len(of_all) == count and apart(one, of_all[image]) <= _ROUNDING[value.dtype]
            for one, of_all, value in zip(alone, results, piece.node.outputs, strict=True)
        )

    def visit(piece: Piece, read: Sequence[Any], results: Sequence[Any]) -> None:
        if mixing or of_images.isdisjoint(piece.inputs):
            return
        if not all(alike(piece, read, results, slice(i, i + 1)) for i in (0, count - 1)):
            mixing.append(piece)
        of_images.update(piece.outputs)

    # The same image several times would hide what mixes them.
    segment.run(initial, [other_values(value) for value in inputs], segment.outputs, visit=visit)
    return not mixing


def part_size(count: int, largest: int, most: int) -> int:
    """Return of how many images a part is: as many as divide the batch, and keep its largest value below `most`.

    largest: the bytes of the largest value of the whole batch.
    """
    return max(
        size for size in range(1, count + 1) if count % size == 0 and (size == 1 or largest * size <= most * count)
    )


def in_parts(run: Callable[..., tuple[torch.Tensor, ...]], size: int) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Make of what runs on `size` images what runs on a batch."""

    def all_parts(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = zip(*[value.split(size) for value in inputs], strict=True)
        return tuple(torch.cat(answers) for answers in zip(*[run(*part) for part in parts], strict=True))

    return all_parts
