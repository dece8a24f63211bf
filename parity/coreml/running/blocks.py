"""Blocks inside operations: the two sides of a branch, the condition and the body of a loop.

A block becomes a Plan of its own. What it reads from around it becomes further inputs of its operation's node, so
that the planner of the outer graph knows how long those values live, and kernels see blocks as plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.program import Graph, Value
from parity.coreml.running.plan import Plan, make_plan

# How a kernel gets a block: takes the block's own inputs, returns its outputs.
Call = Callable[..., tuple[Any, ...]]

# How many operations may run inside the loops of one prediction, all of them together. An LSTM of 30 operations
# over a minute of sound, 6,000 steps, takes 180,000; the smallest operations take a minute or two for all of these.
# A damaged loop must not run for ever, nor one inside another.
MOST_STEPS = 5_000_000


@dataclass(frozen=True)
class Block:
    """Hold a block that is ready to run.

    captured: the outer values that it reads; they follow its own inputs.
    """

    plan: Plan
    captured: tuple[str, ...]


@dataclass
class _Steps:
    """Count the operations that ran inside blocks."""

    done: int = 0


_steps: ContextVar[_Steps | None] = ContextVar("steps of this prediction", default=None)


@contextmanager
def one_prediction() -> Iterator[None]:
    """Count the steps of all loops inside together."""
    before = _steps.set(_Steps())
    try:
        yield
    finally:
        _steps.reset(before)


def make_block(graph: Graph, where: str) -> Block:
    """Plan a block. graph: its inputs are its own; other names that it does not define are outer values."""
    captured = _free_names(graph)
    inputs = (*graph.inputs, *(Value(name, "outer") for name in captured))
    return Block(make_plan(replace(graph, inputs=inputs), where), captured)


def _free_names(graph: Graph) -> tuple[str, ...]:
    known = {value.name for value in graph.inputs} | set(graph.constants)
    free: dict[str, None] = {}
    for node in graph.nodes:
        free |= dict.fromkeys(name for name in node.inputs if name not in known)
        known |= {value.name for value in node.outputs}
    sources = [graph.aliases.get(name, name) for name in graph.outputs]
    return tuple(free | dict.fromkeys(name for name in sources if name not in known))


def captured_by(blocks: Sequence[Block]) -> tuple[str, ...]:
    """List the inputs that blocks add to their operation's node, after its operands."""
    return tuple(name for block in blocks for name in block.captured)


def with_blocks(function: Callable[..., Any], blocks: Sequence[Block], operands: int) -> Callable[..., Any]:
    """Make the function of operands and captured values, from one of operands with a parameter `blocks`."""

    def run(*values: Any) -> Any:
        calls: list[Call] = []
        at = operands
        for block in blocks:
            calls.append(_call(block, values[at : at + len(block.captured)]))
            at += len(block.captured)
        return function(*values[:operands], blocks=calls)

    return run


def _call(block: Block, captured: tuple[Any, ...]) -> Call:
    own = len(block.plan.graph.inputs) - len(captured)

    def call(*inputs: Any) -> tuple[Any, ...]:
        if len(inputs) != own:
            raise ValueError(f"a block of {own} input(s) is given {len(inputs)}; convert again")
        if steps := _steps.get():
            steps.done += len(block.plan.steps)
        return block.plan.call(*inputs, *captured)

    return call


def iterations() -> Iterator[int]:
    """Count the iterations of a loop, and end one that does not end before the prediction has taken MOST_STEPS."""
    steps = _steps.get() or _Steps()
    for number in count():
        # An iteration is a step too: a loop may be empty.
        steps.done += 1
        if steps.done > MOST_STEPS:
            raise CoreMLError(
                f"the loop has not ended after {number:,} iterations, and the loops of this prediction have taken "
                f"the {MOST_STEPS:,} steps that all of them together may; where a model needs more, set "
                "parity.coreml.running.blocks.MOST_STEPS"
            )
        yield number
