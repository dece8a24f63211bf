"""What PyTorch does in one and was recorded in parts, of which one was located: where the whole begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis.align import BothSides, Parting, align, image_values

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Program, Step
    from parity.diagnosis.types import Located


@dataclass(frozen=True)
class Whole:
    """Name the artefact's values that stand where PyTorch's whole reads and where it gives its result."""

    read: tuple[str, ...]
    result: str


def whole_of(
    examination: Examination, one: Located, pixels: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> Whole | None:
    """Find the artefact's values around the whole that a located operation is a part of.

    None where what was located gives the result itself, and where the artefact has no such value. arrays: the
    artefact's values for that image, uint8 [H, W, 3].
    """
    import torch

    from conversion.deployed import pixels_to_tensor

    program, graph = examination.torch.program, examination.file.graph
    steps = parts_of(program, one.number) if program else ()
    if program is None or graph is None or not steps or one.number in steps[-1].outputs:
        return None
    partings = {
        located.number: Parting(located.value, located.number)
        for located in examination.divergences
        if located.number >= 0
    }
    with torch.inference_mode():
        values = image_values(arrays, graph)
        sides = BothSides(
            program, pixels_to_tensor(pixels[None]), graph, values, examination.file.artifact.precision
        )
        matches = align(sides, tuple(partings.values())).matches
    given = {number for step in steps for number in step.outputs}
    outside = dict.fromkeys(number for step in steps for number in step.inputs if number not in given)
    read = tuple(name for number in outside for name in matches.get(number, ())[:1])
    result = next(
        (name for number in steps[-1].outputs if number is not None for name in matches.get(number, ())), ""
    )
    return Whole(read, result) if read and result else None


def parts_of(program: Program, number: int) -> Sequence[Step]:
    """List the operations that PyTorch took one apart into, that which gives a value among them."""
    index = program.producer.get(number)
    if index is None:
        return ()
    named = program.steps[index].module, program.steps[index].whole
    first = last = index
    while first > 0 and (program.steps[first - 1].module, program.steps[first - 1].whole) == named:
        first -= 1
    while (
        last + 1 < len(program.steps) and (program.steps[last + 1].module, program.steps[last + 1].whole) == named
    ):
        last += 1
    return program.steps[first : last + 1]
