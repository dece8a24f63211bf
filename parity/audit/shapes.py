"""Faults that show at another batch or at another size alone: a shape is baked into the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from conversion.shapes import read_input_shapes
from parity.audit.mutant import Mutant, Original, none
from parity.formats.editing import Editable

FAULTS = ("s-batch-baked", "s-flexible-shape")


def mutants(original: Original) -> Iterator[Mutant]:
    """Bake in the batch of one, or the classifier's own size, where the suite asks for others too."""
    height, width = original.reference.images.pixels.shape[1:3]
    shape = (1, 3, int(height), int(width))
    if original.batches and (2, *shape[1:]) in read_input_shapes(original.artifact):
        edit = partial(_fix_shape, shape=shape)
        yield Mutant(FAULTS[0], "batch of one baked in", remedies=("batch",), edit=edit)
    else:
        yield from none(FAULTS[0], 'images go in one by one (the suite does not say dynamic = "batch")')
    if other_size(original):
        description = f"size {height}x{width} baked in"
        yield Mutant(FAULTS[1], description, remedies=("size",), edit=partial(_fix_shape, shape=shape))
    else:
        yield from none(FAULTS[1], f"the file takes images of {height}x{width} alone")


def _fix_shape(model: Editable, shape: Sequence[int]) -> None:
    model.verbs.fix_shape(model.content, shape)


def other_size(original: Original) -> tuple[int, int] | None:
    """Choose another (height, width) that the file takes; None where there is none."""
    own = tuple(int(n) for n in original.reference.images.pixels.shape[1:3])
    for option in read_input_shapes(original.artifact).options:
        rows, columns = option[2:]
        ends = (
            (rows.lower, columns.lower),
            (rows.upper or rows.lower, columns.upper or columns.lower),
        )
        for size in ends[::-1]:
            if size != own and min(size) > 1:
                return size
    return None
