"""Blocks of plain functions: what they capture, how they are called, loops that do not end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from parity.core.errors import CoreMLError
from parity.coreml.program import Graph, Node, Value
from parity.coreml.running import blocks
from parity.coreml.running.blocks import captured_by, iterations, make_block, with_blocks
from parity.coreml.running.plan import make_plan


def value(name: str) -> Value:
    return Value(name, "fp32")


def node(name: str, inputs: tuple[str, ...], function: Callable[..., Any]) -> Node:
    return Node(name, "test", inputs, (value(name),), lambda *values: (function(*values),))


def graph(inputs: str, outputs: tuple[str, ...], *nodes: Node, **options: Any) -> Graph:
    return Graph(tuple(value(name) for name in inputs.split()), outputs, nodes, **options)


ADD = graph("x", ("sum",), node("sum", ("x", "a"), lambda x, a: x + a))


def test_a_block_captures_what_it_reads_from_around_it() -> None:
    assert make_block(ADD, "m").captured == ("a",)
    assert make_block(graph("x", ("x",)), "m").captured == ()
    # An output that is an outer value itself, and constants of its own, which are none.
    passed_on = graph("", ("out",), aliases={"out": "outer"})
    own = graph("", ("c",), node("c", ("k", "k"), max), constants={"k": 1})
    assert [make_block(g, "m").captured for g in (passed_on, own)] == [("outer",), ()]


def test_a_value_that_is_defined_later_in_the_block_is_captured() -> None:
    # As a name of the outer scope: the planner then refuses the second definition.
    late = graph("", ("b",), node("a", ("b",), abs), node("b", (), lambda: 1))
    with pytest.raises(CoreMLError, match="the value `b` is defined twice"):
        make_block(late, "m")


def test_operands_and_captured_values_reach_function_and_blocks() -> None:
    scale = graph("x", ("y",), node("y", ("x", "b"), lambda x, b: x * b))
    made = [make_block(ADD, "m"), make_block(scale, "m")]
    assert captured_by(made) == ("a", "b")

    def both(first: int, *, blocks: list[Any]) -> list[Any]:
        return [call(first) for call in blocks]

    assert with_blocks(both, made, 1)(3, 10, 100) == [(13,), (300,)]


def test_a_block_in_a_block_reads_through_both() -> None:
    inner = make_block(ADD, "m")
    add_twice = with_blocks(lambda x, blocks: blocks[0](*blocks[0](x)), [inner], 1)
    outer = graph("x", ("twice",), Node("twice", "test", ("x", *inner.captured), (value("twice"),), add_twice))
    made = make_block(outer, "m")

    assert made.captured == ("a",)
    assert with_blocks(lambda x, blocks: blocks[0](x), [made], 1)(1, 5) == (11,)


@pytest.mark.parametrize("inputs", [(), (1, 2)])
def test_another_number_of_inputs_is_refused(inputs: tuple[int, ...]) -> None:
    run = with_blocks(lambda *, blocks: blocks[0](*inputs), [make_block(ADD, "m")], 0)

    with pytest.raises(ValueError, match=rf"a block of 1 input\(s\) is given {len(inputs)}"):
        run(10)


def test_an_error_inside_is_told_once() -> None:
    inner = make_block(graph("x", ("y",), node("y", ("x",), lambda x: 1 / x)), "file")
    run = with_blocks(lambda x, blocks: blocks[0](x), [inner], 1)
    plan = make_plan(graph("x", ("z",), Node("z", "loop", ("x",), (value("z"),), run)), "file")

    assert plan.run({"x": 2}) == {"z": 0.5}
    with pytest.raises(CoreMLError, match=r"^file: operation `y` \(test\) fails: division by zero$"):
        plan.run({"x": 0})


def test_a_value_that_nothing_gave_is_named() -> None:
    plan = make_plan(
        graph("", ("y",), node("y", ("a", "b"), lambda a, b: a + b), constants={"a": 1, "b": None}), "m"
    )

    with pytest.raises(CoreMLError, match=r"operation `y` \(test\) fails: nothing that ran gave `b`"):
        plan.run({})


def test_iterations_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(islice(iterations(), 1000)) == list(range(1000))
    monkeypatch.setattr(blocks, "MOST_STEPS", 3)
    with pytest.raises(
        CoreMLError, match="has not ended after 3 iterations, .* the 3 steps .*; where a model needs more, set"
    ):
        list(iterations())
