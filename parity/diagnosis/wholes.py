"""What PyTorch does in one and was recorded in parts, of which one was located: where the whole begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Program, Step
    from parity.diagnosis.types import Located


@dataclass(frozen=True)
class Whole:
    """Name the file's values that stand where PyTorch's whole reads and where it gives its result."""

    read: tuple[str, ...]
    result: str


def whole_of(examination: Examination, one: Located) -> Whole | None:
    """Find the file's values around the whole that a located operation is a part of.

    None where what was located gives the result itself, and where the file has no such values.
    """
    program = examination.torch.program
    steps = parts_of(program, one.number) if program else ()
    if not steps or one.number in steps[-1].outputs or examination.alignment is None:
        return None
    matches = examination.alignment.matches
    made = {number for step in steps for number in step.outputs}
    outside = dict.fromkeys(number for step in steps for number in step.inputs if number not in made)
    read = tuple(name for number in outside for name in matches.get(number, ())[:1])
    ends = [number for number in steps[-1].outputs if number is not None]
    results = [name for number in ends for name in matches.get(number, ())]
    return Whole(read, results[0]) if read and results else None


def parts_of(program: Program, number: int) -> Sequence[Step]:
    """List the operations that PyTorch took one apart into, that which gives a value among them."""
    index = program.producer.get(number)
    if index is None:
        return ()
    steps, names = program.steps, [(step.module, step.whole) for step in program.steps]
    first, last = index, index + 1
    while first > 0 and names[first - 1] == names[index]:
        first -= 1
    while last < len(steps) and names[last] == names[index]:
        last += 1
    return steps[first:last]
