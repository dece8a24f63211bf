from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml import Evaluator, registry
from parity.coreml.running import blocks
from tests.coreml.programs import Builder, call, convert, edited, folded, run


def test_select_broadcasts_all_three() -> None:
    cond = np.array([[True], [False]])
    a, b = np.float32([1, 2, 3]), np.float32([[-1], [-2]])

    assert call("select", cond=cond, a=a, b=b).tolist() == [[1, 2, 3], [-2, -2, -2]]


def test_select_agrees_with_what_coremltools_folds_in_fp16_too() -> None:
    x = np.float32([-1.5, 0, 2.5, 70000])

    def body(x: Any) -> Any:
        return Builder.select(cond=Builder.greater(x=x, y=np.float32(0)), a=x, b=np.float32([7, 7, 7, 7]))

    np.testing.assert_array_equal(run(body, x)[0], folded(body, x)[0])
    np.testing.assert_array_equal(run(body, x, precision="fp16")[0], [7, 7, 2.5, np.inf])


def positive(x: Any) -> Any:
    return Builder.greater(x=Builder.reduce_sum(x=x, axes=[0], keep_dims=False), y=np.float32(0))


def choose(x: Any, y: Any) -> Any:
    """Return 2x and y where x's sum is positive, else -x and x + y."""
    scale = Builder.const(val=np.float32([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]))
    scaled = Builder.mul(x=x, y=scale)
    return Builder.cond(
        pred=positive(x),
        _true_fn=lambda: (Builder.mul(x=scaled, y=np.float32(2)), y),
        _false_fn=lambda: (Builder.mul(x=scaled, y=np.float32(-1)), Builder.add(x=scaled, y=y)),
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sign", [1, -1])
def test_cond_reads_values_and_constants_around_it(sign: int, precision: str) -> None:
    x, y = np.full(12, sign, np.float32), np.arange(12, dtype=np.float32)
    scaled = x * np.arange(1, 13)

    first, second = run(choose, x, y, precision=precision)

    np.testing.assert_array_equal(first, 2 * scaled if sign > 0 else -scaled)
    np.testing.assert_array_equal(second, y if sign > 0 else scaled + y)


def test_only_the_side_that_is_taken_runs() -> None:
    # gather refuses an index beyond the axis, when it runs.
    def body(x: Any) -> Any:
        index = Builder.cast(x=Builder.reduce_max(x=x, axes=[0], keep_dims=True), dtype="int32")
        return Builder.cond(
            pred=Builder.less(x=Builder.reduce_max(x=x, axes=[0], keep_dims=False), y=np.float32(3)),
            _true_fn=lambda: Builder.gather(x=x, indices=index, axis=0),
            _false_fn=lambda: Builder.slice_by_index(x=x, begin=[0], end=[1]),
        )

    assert run(body, np.float32([1, 2, 0]))[0] == [0]
    assert run(body, np.float32([9, 2, 0]))[0] == [9]


def power(x: Any, y: Any) -> Any:
    """Return x ** y by multiplication, and y as it was counted."""

    def body(product: Any, count: Any) -> Any:
        return Builder.mul(x=product, y=x), Builder.add(x=count, y=np.float32(1))

    return Builder.while_loop(
        _cond=lambda product, count: Builder.less(x=count, y=y),
        _body=body,
        loop_vars=(np.float32([1.0]), np.float32([0.0])),
    )


@pytest.mark.parametrize(("x", "y"), [(2, 4), (3, 0), (-1.5, 3), (0, 1)])
def test_while_loop_computes_a_power(x: float, y: int) -> None:
    product, count = run(power, np.float32([x]), np.float32([y]))

    assert (product.tolist(), count.tolist()) == ([x**y], [y])


def test_fp16_rounds_in_every_iteration() -> None:
    product, _ = run(power, np.float32([1.1]), np.float32([5]), precision="fp16")
    expected = np.float16(1)
    for _ in range(5):
        expected = np.float16(np.float32(expected) * np.float32(np.float16(1.1)))

    assert product.tolist() == [float(expected)]


def test_loops_in_loops_and_a_cond_inside() -> None:
    # From i to j: up to the next odd number in ones, then three on.
    def inner_goes_on(i: Any) -> Any:
        return Builder.equal(x=Builder.floor_div(x=i, y=np.float32(2)), y=Builder.real_div(x=i, y=np.float32(2)))

    def body(i: Any, j: Any) -> Any:
        up = Builder.while_loop(
            _cond=inner_goes_on, _body=lambda k: Builder.add(x=k, y=np.float32(1)), loop_vars=(i,)
        )
        lower = Builder.cond(
            pred=Builder.squeeze(x=Builder.greater(x=up, y=np.float32(6))),
            _true_fn=lambda: Builder.sub(x=j, y=np.float32(1)),
            _false_fn=lambda: Builder.identity(x=j),
        )
        return Builder.add(x=up, y=np.float32(3)), lower

    def program(x: Any, y: Any) -> Any:
        return Builder.while_loop(_cond=lambda i, j: Builder.less(x=i, y=j), _body=body, loop_vars=(x, y))

    i, j = 0.0, 20.0
    while i < j:
        while i % 2 == 0:
            i += 1
        j -= i > 6
        i += 3
    found = run(program, np.float32([0]), np.float32([20]))

    assert [value.tolist() for value in found] == [[i], [j]]


def test_loop_variables_may_change_places() -> None:
    # Each iteration swaps: an evaluator that overwrites variables one after the other would lose one.
    def program(x: Any, y: Any) -> Any:
        return Builder.while_loop(
            _cond=lambda a, b, n: Builder.less(x=n, y=np.float32(3)),
            _body=lambda a, b, n: (Builder.identity(x=b), Builder.identity(x=a), Builder.add(x=n, y=np.float32(1))),
            loop_vars=(x, y, np.float32(0)),
        )

    a, b, n = run(program, np.float32([1, 2]), np.float32([3, 4]))

    assert (a.tolist(), b.tolist(), n.tolist()) == ([3, 4], [1, 2], [3])


def test_values_around_a_loop_are_left_alone() -> None:
    def program(x: Any) -> Any:
        y = Builder.mul(x=x, y=np.float32(2))
        (z, _) = Builder.while_loop(
            _cond=lambda v, n: Builder.less(x=n, y=np.float32(3)),
            _body=lambda v, n: (Builder.relu(x=Builder.sub(x=v, y=y)), Builder.add(x=n, y=np.float32(1))),
            loop_vars=(y, np.float32(0)),
        )
        return y, z, Builder.relu(x=y)

    found = run(program, np.float32([-1, 2]))

    assert [value.tolist() for value in found] == [[-2, 4], [4, 0], [0, 4]]


@settings(max_examples=15, deadline=None)
@given(st.integers(-20, 40), st.integers(1, 7), st.integers(-10, 10))
def test_a_loop_in_int32_does_what_python_does(start: int, step: int, limit: int) -> None:
    found = COUNTER.predict({"x": np.int32([start]), "y": np.int32([step]), "z": np.int32([limit])})
    total, i = 0, start
    while i > limit:
        total, i = total + i, i - step

    assert [int(value[0]) for value in found.values()] == [total, i]


def counter(x: Any, y: Any, z: Any) -> Any:
    return Builder.while_loop(
        _cond=lambda total, i: Builder.greater(x=i, y=z),
        _body=lambda total, i: (Builder.add(x=total, y=i), Builder.sub(x=i, y=y)),
        loop_vars=(np.int32([0]), x),
    )


CONVERTED = convert(counter, np.int32([0]), np.int32([0]), np.int32([0]))
COUNTER = Evaluator(CONVERTED)


def test_a_loop_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_STEPS", 50)
    # An iteration, its condition, and two operations in its body.
    with pytest.raises(CoreMLError, match=r"\(while_loop\) fails: the loop has not ended after 13 iterations"):
        COUNTER.predict({"x": np.int32([1]), "y": np.int32([0]), "z": np.int32([0])})


def test_every_prediction_has_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_STEPS", 50)
    for _ in range(3):
        found = COUNTER.predict({"x": np.int32([10]), "y": np.int32([1]), "z": np.int32([0])})
        assert sorted(int(value[0]) for value in found.values()) == [0, 55]


def test_loops_inside_each_other_have_their_steps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def square(x: Any, y: Any, z: Any) -> Any:
        return Builder.while_loop(
            _cond=lambda total, i: Builder.greater(x=i, y=z),
            _body=lambda total, i: (counter(x, y, z)[0], Builder.sub(x=i, y=y)),
            loop_vars=(np.int32([0]), x),
        )

    nested = Evaluator(convert(square, np.int32([0]), np.int32([0]), np.int32([0])))
    monkeypatch.setattr(blocks, "MOST_STEPS", 1000)
    # Neither loop has more than 10 iterations, and the inner one runs 10 times 40 steps.
    values = {"x": np.int32([10]), "y": np.int32([1]), "z": np.int32([0])}
    assert sorted(int(value[0]) for value in nested.predict(values).values()) == [0, 55]
    monkeypatch.setattr(blocks, "MOST_STEPS", 300)
    with pytest.raises(CoreMLError, match=r"the loops of this prediction have taken the 300 steps"):
        nested.predict(values)


def find(operations: Any, kind: str) -> Any:
    return next(operation for operation in operations if operation.type == kind)


def drop_block(operations: Any) -> None:
    del find(operations, "while_loop").blocks[0]


def drop_loop_variable(operations: Any) -> None:
    del find(operations, "while_loop").inputs["loop_vars"].arguments[0]


def drop_result(operations: Any) -> None:
    del find(operations, "while_loop").blocks[1].outputs[1]


def read_later(operations: Any) -> None:
    body = find(operations, "while_loop").blocks[1]
    find(body.operations, "add").inputs["y"].arguments[0].name = "nowhere"


def nest(operations: Any) -> None:
    find(operations, "while_loop").blocks[1].operations[0].blocks.add()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_block, r"\(while_loop\): has 1 block\(s\) inside"),
        (drop_loop_variable, r"a block of 2 input\(s\) is given 1"),
        (drop_result, r"a block of 2 input\(s\) is given 1"),
        (read_later, r"\(while_loop\) reads `nowhere`, which nothing before gives"),
        (nest, r"\(add\): has 1 block\(s\) inside"),
    ],
)
def test_damaged_blocks_are_refused(change: Callable[[Any], None], message: str) -> None:
    inputs = {"x": np.int32([3]), "y": np.int32([1]), "z": np.int32([0])}
    with pytest.raises(CoreMLError, match=message):
        Evaluator(edited(CONVERTED, change)).predict(inputs)


def test_operations_that_are_lacking_inside_are_named_with_those_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("add", "while_loop"):
        assert kind in registry.operations()
        monkeypatch.delitem(registry._OPERATIONS, kind)

    with pytest.raises(UnsupportedOperationsError) as caught:
        Evaluator(edited(CONVERTED, lambda operations: None))

    assert set(caught.value.missing) == {"add", "while_loop"}
