"""What a compiler is shown of steps: the same values, in a form that it fuses, or that goes over memory less often.

hard swish    x * sigmoid_hard(x), with or without a threshold before it, is one operation; in fp16 its two results
              are rounded in one place
rounding      to fp16 comes behind what limits a value, which then fuses, and goes over the value itself
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.program import Node
from parity.coreml.running.plan import Step

# They give what they read, or one of two ends. Where these are numbers of fp16, rounding may come before or after.
_LIMITERS = frozenset(("clip", "relu", "relu6"))
# Where hard swish is neither 0 nor x, and some more.
_RANGE = 8.0
# A value of fewer numbers is soon computed as it is.
_FEWEST = 64


@dataclass(frozen=True)
class Piece:
    """Hold something to run, with the places of the values that it reads and gives.

    node: what is run; of several that became one, the last.
    """

    node: Node
    run: Callable[..., tuple[Any, ...]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def plain_piece(step: Step) -> Piece:
    """Make the piece that runs a step as it is, and overwrites nothing."""
    return Piece(step.node, step.node.run, step.inputs, step.outputs)


@dataclass(frozen=True)
class Row:
    """Hold steps in a row; kept: places whose values are read from elsewhere too; shapes: of the values."""

    steps: Sequence[Step]
    kept: Collection[int]
    shapes: Mapping[int, tuple[int, ...]]

    def only_reader(self, step: Step, readers: int = 1) -> bool:
        """Say whether the steps that read the first output of one are all that do, and so many."""
        place = step.outputs[0]
        return place not in self.kept and self.readers[place] == readers

    @cached_property
    def readers(self) -> Mapping[int, int]:
        """How often each value is read."""
        return Counter(place for step in self.steps for place in step.inputs)

    @cached_property
    def writers(self) -> Mapping[int, Step]:
        """The step that gives each value."""
        return {place: step for step in self.steps for place in step.outputs}


def rewrite(row: Row) -> list[Piece]:
    """Rewrite steps in a row."""
    pieces = {id(step): plain_piece(step) for step in row.steps}
    for step in row.steps:
        if step.node.unrounded:
            pieces[id(step)] = replace(plain_piece(step), run=_rounding(step.node.unrounded))
    for step in row.steps:
        before = row.writers.get(step.inputs[0]) if step.inputs else None
        if before and before.node.unrounded and row.only_reader(before) and _limits_in_fp16(step, row):
            pieces[id(before)] = replace(plain_piece(before), run=before.node.unrounded)
            pieces[id(step)] = replace(plain_piece(step), run=_rounding(step.node.run))
        if swish := _hard_swish(step, row):
            for part in swish.parts:
                del pieces[id(part)]
            pieces[id(step)] = Piece(step.node, swish.run, swish.parts[0].inputs, step.outputs)
    return list(pieces.values())


def _rounding(run: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Round what is run to fp16, over itself: a second tensor of this size would be fetched from far away."""

    def rounded(*values: Any) -> tuple[Any, ...]:
        (result,) = run(*values)
        return (result.copy_(result.to(torch.float16)),)

    return rounded


def _limits_in_fp16(step: Step, row: Row) -> bool:
    if step.node.role not in _LIMITERS or step.node.outputs[0].dtype != "fp16":
        return False
    ends = torch.cat([_fill(step, end, row).flatten()[:1] for end in (-torch.inf, torch.inf)])
    return bool((ends == ends.to(torch.float16)).all())


def _fill(step: Step, number: float, row: Row) -> torch.Tensor:
    result: torch.Tensor = step.node.run(torch.full(row.shapes[step.inputs[0]], number))[0]
    return result


@dataclass(frozen=True)
class _Swish:
    """Hold the steps before the last of a hard swish, and what computes all of them."""

    parts: tuple[Step, ...]
    run: Callable[..., tuple[Any, ...]]


def _hard_swish(step: Step, row: Row) -> _Swish | None:
    """Return the hard swish that a step, its last, makes with those before; None where it makes none."""
    if step.node.role != "mul" or len(step.inputs) != 2:
        return None
    half = step.node.outputs[0].dtype == "fp16"
    for x, y in (step.inputs, step.inputs[::-1]):
        gate = row.writers.get(y)
        if gate is None or gate.node.role != "sigmoid_hard" or gate.inputs != (x,) or not row.only_reader(gate):
            continue
        limit = row.writers.get(x)
        limited = limit is not None and limit.node.role == "thresholded_relu" and row.only_reader(limit, 2)
        parts = (limit, gate) if limit is not None and limited else (gate,)
        in_fp16 = gate.node.unrounded if half else None
        swish = _Swish(parts, _swish_in_fp16(in_fp16) if in_fp16 else _swish)
        shape = row.shapes[parts[0].inputs[0]]
        if math.prod(shape) >= _FEWEST and all(
            _answers_as(swish, step, trial) for trial in _trials(shape, half=half)
        ):
            return swish
    return None


def _swish(x: torch.Tensor) -> tuple[Any, ...]:
    return (F.hardswish(x),)


def _swish_in_fp16(gate: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    def run(x: torch.Tensor) -> tuple[Any, ...]:
        (result,) = gate(x)
        result.copy_(result.to(torch.float16)).mul_(x)
        return (result.copy_(result.to(torch.float16)),)

    return run


def _answers_as(swish: _Swish, last: Step, numbers: torch.Tensor) -> bool:
    """Try the steps on numbers: the constants that they compute with are within them."""
    values = {swish.parts[0].inputs[0]: numbers}
    for step in (*swish.parts, last):
        values[step.outputs[0]] = step.node.run(*[values[place] for place in step.inputs])[0]
    expected, result = values[last.outputs[0]], swish.run(numbers)[0]
    if last.node.outputs[0].dtype == "fp16":
        return torch.equal(result, expected)
    # The two round in another order: by a few units in the last place.
    return torch.allclose(result, expected, rtol=1e-5, atol=1e-6)


def _trials(shape: tuple[int, ...], *, half: bool) -> Iterator[torch.Tensor]:
    """Give numbers in a shape to try: every one of fp16, or as many of fp32 as it holds, around zero."""
    count = math.prod(shape)
    numbers = torch.linspace(-_RANGE, _RANGE, count)
    if half:
        every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16).float()
        numbers = every[every.isfinite()]
    for first in range(0, len(numbers), count):
        places = torch.arange(first, first + count) % len(numbers)
        yield numbers[places].reshape(shape)
