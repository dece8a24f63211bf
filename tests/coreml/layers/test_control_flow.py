from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml import Evaluator
from parity.coreml.running import blocks
from tests.coreml.networks import Builder, Model, close, run, specify


def inside(network: Any) -> Builder:
    """Build a network inside a layer."""
    return Builder(nn_spec=network, disable_rank5_shape_mapping=True)


def linear(b: Builder, source: str, target: str, scale: float, offset: float) -> None:
    b.add_activation(f"{target} of {source}", "LINEAR", source, target, params=[scale, offset])


def assign(b: Builder, source: str, target: str, scale: float, offset: float) -> None:
    """Write target = scale * source + offset over what target was."""
    step = f"{target} {len(b.nn_spec.layers)} {id(b.nn_spec)}"
    linear(b, source, step, scale, offset)
    b.add_copy(f"copy {step}", step, target)


def add_branch(b: Any) -> None:
    layer = b.add_branch("choose", "condition")
    for network, scale in ((layer.branch.ifBranch, 10), (layer.branch.elseBranch, -1)):
        side = inside(network)
        linear(side, "x", "scaled", scale, 0)
        linear(side, "scaled", "y", 1, 1)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(1, [21, 31]), (-3, [21, 31]), (2e-6, [21, 31]), (0, [-1, -2]), (1e-7, [-1, -2]), (-1e-7, [-1, -2])],
)
def test_a_branch_takes_the_first_side_where_the_condition_is_not_near_zero(
    condition: float, expected: list[float]
) -> None:
    close(run(add_branch, condition=[condition], x=[2, 3]), expected)


def test_a_branch_of_rank_5() -> None:
    found = run(add_branch, rank5=True, condition=[1], x=[2, 3])

    close(found.reshape(-1), [21, 31])


@pytest.mark.parametrize(("condition", "expected"), [([1, 2], [21, 31]), ([0, 0], [-1, -2])])
def test_two_conditions_that_say_the_same_are_one(condition: list[float], expected: list[float]) -> None:
    close(run(add_branch, condition=condition, x=[2, 3]), expected)


def test_two_conditions_that_do_not_are_refused() -> None:
    with pytest.raises(
        CoreMLError, match=r"`choose` \(branch\) fails: a condition is one number, or several that say the"
    ):
        run(add_branch, condition=[1, 0], x=[2, 3])


@pytest.mark.parametrize(("condition", "expected"), [(1, [5]), (0, [2])])
def test_without_a_second_side_a_blob_stays_as_it_was(condition: float, expected: list[float]) -> None:
    def add(b: Any) -> None:
        linear(b, "x", "v", 1, 0)
        side = inside(b.add_branch("choose", "condition").branch.ifBranch)
        assign(side, "v", "v", 2, 1)
        linear(b, "v", "y", 1, 0)

    close(run(add, condition=[condition], x=[2]), expected)


def test_a_value_around_a_branch_stays_as_it_is_for_others() -> None:
    def add(b: Any) -> None:
        linear(b, "x", "v", 1, 0)
        linear(b, "v", "before", 1, 0)
        side = inside(b.add_branch("choose", "v").branch.ifBranch)
        side.add_activation("relu", "RELU", "v", "positive")
        side.add_copy("over", "positive", "v")
        linear(b, "v", "y", 1, 0)

    before, after = run(add, ("before", "y"), x=[-2])
    close(before, [-2])
    close(after, [0])


def test_a_blob_of_one_side_cannot_be_read_after_the_branch() -> None:
    def add(b: Any) -> None:
        linear(inside(b.add_branch("choose", "x").branch.ifBranch), "x", "only here", 1, 0)
        linear(b, "only here", "y", 1, 0)

    with pytest.raises(CoreMLError, match="the input `only here` is given by no layer before it"):
        run(add, x=[1])


def test_a_name_of_one_side_may_be_given_again_after_the_branch() -> None:
    def add(b: Any) -> None:
        linear(inside(b.add_branch("choose", "x").branch.ifBranch), "x", "t", 7, 0)
        linear(b, "x", "t", 2, 0)
        linear(b, "t", "y", 1, 0)

    close(run(add, x=[1]), [2])


def test_branches_in_branches() -> None:
    def add(b: Any) -> None:
        outer = b.add_branch("outer", "p").branch
        inner = inside(outer.ifBranch).add_branch("inner", "q").branch
        for network, value in ((inner.ifBranch, 1), (inner.elseBranch, 2), (outer.elseBranch, 3)):
            linear(inside(network), "p", "y", 0, value)

    found = [run(add, p=[p], q=[q])[0] for p, q in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert found == [1, 2, 3, 3]


def count_to(b: Any, count: str | None = None, most: int | None = None) -> Builder:
    """Add i = 0 and a loop that adds one to i; returns its body."""
    linear(b, "x", "i", 0, 0)
    loop = b.add_loop("loop", input_name=count, max_iterations=most)
    body = inside(loop.loop.bodyNetwork)
    assign(body, "i", "i", 1, 1)
    return body


def test_a_loop_runs_as_often_as_the_file_says() -> None:
    def add(b: Any) -> None:
        count_to(b, most=5)
        linear(b, "i", "y", 1, 0)

    close(run(add, x=[9]), [5])


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (7, 7), (-2, 0)])
def test_a_loop_runs_as_often_as_its_input_says(count: int, expected: int) -> None:
    def add(b: Any) -> None:
        count_to(b, count="x", most=3)
        linear(b, "i", "y", 1, 0)

    close(run(add, x=[count]), [expected])


@pytest.mark.parametrize(
    ("most", "x", "expected"), [(None, 100, 128), (0, 100, 128), (3, 100, 8), (30, 100, 128), (None, 0.5, 1)]
)
def test_a_loop_with_a_condition(most: int | None, x: float, expected: float) -> None:
    def add(b: Any) -> None:
        linear(b, "x", "i", 0, 1)
        loop = b.add_loop("loop", condition="go", max_iterations=most)
        condition = inside(loop.loop.conditionNetwork)
        linear(condition, "i", "seen", 1, 0)
        condition.add_less_than("less", ["seen", "x"], "go")
        assign(inside(loop.loop.bodyNetwork), "i", "i", 2, 0)
        linear(b, "i", "y", 1, 0)
        linear(b, "seen", "s", 1, 0)

    found, seen = run(add, ("y", "s"), x=[x])
    assert (found[0], seen[0]) == (expected, expected)


def test_the_body_reads_what_the_condition_wrote() -> None:
    def add(b: Any) -> None:
        linear(b, "x", "i", 1, 0)
        loop = b.add_loop("loop", condition="left")
        linear(inside(loop.loop.conditionNetwork), "i", "left", 1, -5)
        assign(inside(loop.loop.bodyNetwork), "left", "i", 1, 4)
        linear(b, "i", "y", 1, 0)

    close(run(add, x=[9]), [5])


def test_a_shape_may_grow_with_each_iteration() -> None:
    def add(b: Any) -> None:
        b.add_copy("start", "x", "v")
        body = inside(b.add_loop("loop", max_iterations=3).loop.bodyNetwork)
        body.add_concat_nd("join", ["v", "x"], "longer", axis=0)
        body.add_copy("over", "longer", "v")
        linear(b, "v", "y", 1, 0)

    close(run(add, x=[1, 2]), [1, 2] * 4)


def test_what_the_body_writes_can_be_read_after_the_loop() -> None:
    def add(b: Any) -> None:
        body = count_to(b, count="x")
        linear(body, "i", "last", 3, 0)
        linear(b, "last", "y", 1, 0)

    close(run(add, x=[4]), [12])
    with pytest.raises(CoreMLError, match="nothing that ran gave `last"):
        run(add, x=[0])


def test_an_output_that_nothing_gave_is_refused() -> None:
    def add(b: Any) -> None:
        linear(count_to(b, count="x"), "i", "y", 3, 0)

    close(run(add, x=[4]), [12])
    with pytest.raises(CoreMLError, match="output `y`: nothing that ran gave it"):
        run(add, x=[0])


def leave(b: Builder, kind: str, at: float) -> None:
    """Leave the iteration where i is `at`."""
    b.add_equal(f"{kind} {id(b.nn_spec)}", ["i"], f"at {kind} {id(b.nn_spec)}", alpha=at)
    side = inside(b.add_branch(f"{kind}?", f"at {kind} {id(b.nn_spec)}").branch.ifBranch)
    getattr(side, f"add_loop_{kind}")(kind)


@pytest.mark.parametrize(("kind", "i", "total"), [("break", 3, 1 + 2), ("continue", 6, 1 + 2 + 4 + 5 + 6)])
def test_break_ends_the_loop_and_continue_the_iteration(kind: str, i: int, total: int) -> None:
    def add(b: Any) -> None:
        linear(b, "x", "total", 0, 0)
        body = count_to(b, most=6)
        leave(body, kind, 3)
        body.add_elementwise("sum", ["total", "i"], "more", "ADD")
        body.add_copy("over", "more", "total")
        linear(b, "i", "count", 1, 0)
        linear(b, "total", "y", 1, 0)

    close(np.concatenate(run(add, ("count", "y"), x=[0])), [i, total])


def test_a_break_leaves_the_inner_loop_only() -> None:
    def add(b: Any) -> None:
        linear(b, "x", "n", 0, 0)
        outer = inside(b.add_loop("outer", max_iterations=4).loop.bodyNetwork)
        inner = count_to(outer, most=10)
        leave(inner, "break", 3)
        assign(outer, "n", "n", 1, 1)
        linear(b, "n", "y", 1, 0)

    close(run(add, x=[0]), [4])


def test_a_break_outside_a_loop_is_refused() -> None:
    def add(b: Any) -> None:
        inside(b.add_branch("if", "x").branch.ifBranch).add_loop_break("stop")
        linear(b, "x", "y", 1, 0)

    with pytest.raises(CoreMLError, match=r"layer `stop` \(loopBreak\): stands outside the body of a loop"):
        run(add, x=[0])


def test_a_loop_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_STEPS", 50)

    def add(b: Any) -> None:
        count_to(b, most=51)
        linear(b, "i", "y", 1, 0)

    with pytest.raises(
        CoreMLError, match=r"operation `loop` \(loop\) fails: the loop has not ended after [0-9]+ iter"
    ):
        run(add, x=[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loop: loop.ClearField("maxLoopIterations"), "takes an input, a condition network or a number"),
        (lambda loop: setattr(loop, "conditionVar", "ghost"), "its condition `ghost` is given by no layer"),
    ],
)
def test_a_damaged_loop_is_refused(change: Any, message: str) -> None:
    def add(b: Any) -> None:
        count_to(b, most=5)
        change(b.nn_spec.layers[-1].loop)
        linear(b, "i", "y", 1, 0)

    with pytest.raises(CoreMLError, match=rf"layer `loop` \(loop\): .*{message}"):
        run(add, x=[0])


def test_layers_that_are_lacking_inside_are_named_with_those_outside() -> None:
    def add(b: Any) -> None:
        b.nn_spec.layers.add(name="outside", input=["x"], output=["z"])
        inside(b.add_branch("if", "x").branch.ifBranch).nn_spec.layers.add(name="in", input=["z"], output=["w"])
        b.nn_spec.layers.add(name="after", input=["z"], output=["y"])

    with pytest.raises(UnsupportedOperationsError) as caught:
        run(add, x=[0])

    assert caught.value.missing == {"of an unknown type": ("outside", "in", "after")}


def test_an_operation_that_fails_inside_is_named_once() -> None:
    def add(b: Any) -> None:
        side = inside(b.add_branch("if", "x").branch.ifBranch)
        side.add_reshape_static("wrong", "x", "z", [7])
        linear(b, "x", "y", 1, 0)

    with pytest.raises(CoreMLError, match=r"^MLModel: operation `wrong` \(reshapeStatic\) fails") as caught:
        run(add, x=[1])

    assert str(caught.value).count("fails") == 1


class BreakError(Exception):
    pass


class ContinueError(Exception):
    pass


NAMES = ("a", "b", "c")
assignments = st.tuples(
    st.just("set"), st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([-1, 1, 2]), st.integers(-2, 2)
)
leaving = st.tuples(st.sampled_from(["break", "continue"]))


def statements(in_loop: bool, depth: int) -> st.SearchStrategy[list[Any]]:
    kinds: list[st.SearchStrategy[Any]] = [assignments]
    if depth:
        side = statements(in_loop, depth - 1)
        kinds.append(st.tuples(st.just("if"), st.sampled_from(NAMES), side, side))
        kinds.append(st.tuples(st.just("loop"), st.integers(1, 3), statements(True, depth - 1)))
    if in_loop:
        kinds.append(leaving)
    return st.lists(st.one_of(kinds), min_size=1, max_size=4)


def interpret(program: list[Any], v: dict[str, float]) -> None:
    for kind, *rest in program:
        if kind == "set":
            target, source, scale, offset = rest
            v[target] = float(np.clip(scale * v[source] + offset, -1000, 1000))
        elif kind == "if":
            interpret(rest[1] if abs(v[rest[0]]) > 1e-6 else rest[2], v)
        elif kind == "loop":
            for _ in range(rest[0]):
                try:
                    interpret(rest[1], v)
                except ContinueError:
                    pass
                except BreakError:
                    break
        else:
            raise BreakError if kind == "break" else ContinueError


def write(program: list[Any], b: Builder, name: str) -> None:
    for index, (kind, *rest) in enumerate(program):
        here = f"{name}.{index}"
        if kind == "set":
            target, source, scale, offset = rest
            linear(b, source, here, scale, offset)
            b.add_clip(f"clip {here}", here, f"clipped {here}", min_value=-1000, max_value=1000)
            b.add_copy(f"copy {here}", f"clipped {here}", target)
        elif kind == "if":
            branch = b.add_branch(here, rest[0]).branch
            write(rest[1], inside(branch.ifBranch), f"{here}.if")
            write(rest[2], inside(branch.elseBranch), f"{here}.else")
        elif kind == "loop":
            write(rest[1], inside(b.add_loop(here, max_iterations=rest[0]).loop.bodyNetwork), here)
        else:
            getattr(b, f"add_loop_{kind}")(here)


@settings(max_examples=60)
@given(statements(in_loop=False, depth=3))
def test_programs_of_branches_and_loops_do_what_python_does(program: list[Any]) -> None:
    def add(b: Any) -> None:
        for index, name in enumerate(NAMES):
            linear(b, "x", name, 1, index - 1)
        write(program, b, "p")
        for name in NAMES:
            linear(b, name, f"{name} at the end", 1, 0)

    outputs = tuple(f"{name} at the end" for name in NAMES)
    expected = {"a": -1.0, "b": 0.0, "c": 1.0}
    interpret(program, expected)

    found = Evaluator(Model(specify(add, {"x": (1,)}, outputs))).predict({"x": np.zeros(1)})

    assert {name: float(found[f"{name} at the end"][0]) for name in NAMES} == expected
