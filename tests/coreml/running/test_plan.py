"""The planner on graphs of plain functions: order, overwriting, freeing, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from parity.coreml.program import Graph, Node, Value
from parity.coreml.running.plan import make_plan


def value(name: str) -> Value:
    return Value(name, "fp32", (2,))


def node(
    name: str,
    inputs: tuple[str, ...],
    function: Callable[..., torch.Tensor],
    inplace: Callable[..., torch.Tensor] | None = None,
    owns_result: bool = True,
) -> Node:
    return Node(
        name,
        "test",
        inputs,
        (value(name),),
        lambda *v: (function(*v),),
        (lambda *v: (inplace(*v),)) if inplace else None,
        owns_result,
    )


def graph(*nodes: Node, outputs: tuple[str, ...] = (), constants: dict[str, Any] | None = None) -> Graph:
    return Graph((value("x"),), outputs or (nodes[-1].name,), nodes, constants or {})


def run(g: Graph, x: list[float]) -> dict[str, list[float]]:
    return {name: v.tolist() for name, v in make_plan(g, "test").run({"x": torch.tensor(x)}).items()}


def test_nodes_run_in_order_and_constants_are_read() -> None:
    g = graph(
        node("a", ("x", "two"), torch.mul),
        node("b", ("a", "x"), torch.sub),
        constants={"two": torch.tensor([2.0, 2.0])},
    )

    assert run(g, [1.0, 5.0]) == {"b": [1.0, 5.0]}


def test_an_input_is_never_overwritten() -> None:
    x = torch.tensor([-1.0, 2.0])
    plan = make_plan(graph(node("a", ("x",), torch.relu, torch.relu_)), "test")

    plan.run({"x": x})

    assert x.tolist() == [-1.0, 2.0]


def test_a_dying_intermediate_is_overwritten() -> None:
    kept: list[torch.Tensor] = []

    def doubled(v: torch.Tensor) -> torch.Tensor:
        kept.append(v * 2)
        return kept[-1]

    found = make_plan(graph(node("a", ("x",), doubled), node("b", ("a",), torch.relu, torch.relu_)), "test").run(
        {"x": torch.tensor([-1.0, 2.0])}
    )

    assert found["b"].data_ptr() == kept[0].data_ptr()


@pytest.mark.parametrize(
    "later",
    [
        # read again by a later node
        (node("b", ("a",), torch.relu, torch.relu_), node("c", ("a", "b"), torch.add)),
        # a view of it is read again
        (
            node("v", ("a",), lambda t: t.view(2), owns_result=False),
            node("b", ("a",), torch.relu, torch.relu_),
            node("c", ("v", "b"), torch.add),
        ),
        # the view itself is what would be overwritten
        (
            node("v", ("a",), lambda t: t.view(2), owns_result=False),
            node("b", ("v",), torch.relu, torch.relu_),
            node("c", ("a", "b"), torch.add),
        ),
    ],
)
def test_what_is_still_needed_is_not_overwritten(later: tuple[Node, ...]) -> None:
    # a = 2x; c = a + relu(a)
    g = graph(node("a", ("x",), lambda t: t * 2), *later)

    assert run(g, [-1.0, 3.0]) == {"c": [-2.0, 12.0]}


def test_an_output_is_not_overwritten() -> None:
    g = graph(node("a", ("x",), lambda t: t * 2), node("b", ("a",), torch.relu, torch.relu_), outputs=("a", "b"))

    assert run(g, [-1.0, 3.0]) == {"a": [-2.0, 6.0], "b": [0.0, 6.0]}


def test_two_runs_give_the_same() -> None:
    plan = make_plan(graph(node("a", ("x",), lambda t: t * 2), node("b", ("a",), torch.relu, torch.relu_)), "test")
    x = torch.tensor([-1.0, 3.0])

    assert torch.equal(plan.run({"x": x})["b"], plan.run({"x": x})["b"])


def test_trace_keeps_every_value_as_it_was_computed() -> None:
    plan = make_plan(graph(node("a", ("x",), lambda t: t * 2), node("b", ("a",), torch.relu, torch.relu_)), "test")

    kept = plan.trace({"x": torch.tensor([-1.0, 3.0])})

    assert {name: v.tolist() for name, v in kept.items()} == {"a": [-2.0, 6.0], "b": [0.0, 6.0]}


def test_values_are_freed_after_their_last_use() -> None:
    plan = make_plan(
        graph(node("a", ("x",), torch.neg), node("b", ("a",), torch.neg), node("c", ("b",), torch.neg)), "test"
    )

    assert [[plan.places[n] for n in names] for names in ([], ["a"], ["b"])] == [list(s.frees) for s in plan.steps]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (graph(node("a", ("ghost",), torch.neg)), "operation `a` .* reads `ghost`"),
        (graph(node("b", ("a",), torch.neg), node("a", ("b",), torch.neg)), "operation `b` .* reads `a`"),
        (graph(node("a", ("x",), torch.neg), node("a", ("x",), torch.neg)), "`a` is defined twice"),
        (graph(node("a", ("x",), torch.neg), outputs=("ghost",)), "the output `ghost`"),
    ],
    ids=["missing", "cycle", "twice", "output"],
)
def test_a_broken_graph_is_one_clear_error(broken: Graph, message: str) -> None:
    with pytest.raises(CoreMLError, match=f"^file: .*{message}"):
        make_plan(broken, "file")


def test_a_failing_operation_is_named() -> None:
    plan = make_plan(graph(node("a", ("x",), lambda t: t @ torch.zeros(7))), "file")

    for way in (plan.run, plan.trace):
        with pytest.raises(CoreMLError, match=r"file: operation `a` \(test\) fails"):
            way({"x": torch.zeros(2)})


OPERATIONS: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor] | None, bool]] = {
    "relu": (torch.relu, torch.relu_, True),
    "neg": (torch.neg, torch.neg_, True),
    "view": (lambda t: t.view(-1), None, False),
    "add_one": (lambda t: t + 1, lambda t: t.add_(1), True),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 20)), min_size=1, max_size=12))
def test_overwriting_never_changes_a_result(steps: list[tuple[str, int]]) -> None:
    names = ["x"]
    nodes = []
    for index, (kind, source) in enumerate(steps):
        function, inplace, owns = OPERATIONS[kind]
        nodes.append(node(f"n{index}", (names[source % len(names)],), function, inplace, owns))
        names.append(f"n{index}")
    nodes.append(node("sum", tuple(names), lambda *v: torch.stack(v).sum(0)))
    plan = make_plan(graph(*nodes), "test")
    x = torch.tensor([-1.5, 2.0])

    assert torch.equal(plan.run({"x": x})["sum"], plan.trace({"x": x})["sum"])
