"""Blocks inside operations: the two sides of a branch, the condition and the body of a loop.

A block becomes a Plan of its own. What it reads from around it becomes further inputs of its operation's node, so
that the planner of the outer graph knows how long those values live, and kernels see blocks as plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parity.coreml.plan import Plan, make_plan
from parity.coreml.program import Graph, Value
from parity.errors import CoreMLError

# How a kernel gets a block: takes the block's own inputs, returns its outputs.
Call = Callable[..., tuple[Any, ...]]

# Far beyond what a model needs, and over in seconds where the model is tiny: a damaged loop must not run forever.
MOST_ITERATIONS = 100_000


@dataclass(frozen=True)
class Block:
    """Hold a block that is ready to run.

    captured: the outer values that it reads; they follow its own inputs.
    """

    plan: Plan
    captured: tuple[str, ...]


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
    given = [graph.aliases.get(name, name) for name in graph.outputs]
    return tuple(free | dict.fromkeys(name for name in given if name not in known))


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
        return block.plan.call(*inputs, *captured)

    return call


def iterations() -> Iterator[int]:
    """Count the iterations of a loop, and end one that does not end by itself."""
    yield from range(MOST_ITERATIONS)
    raise CoreMLError(
        f"the loop has not ended after {MOST_ITERATIONS} iterations; where a model needs more, set "
        "parity.coreml.blocks.MOST_ITERATIONS"
    )
