from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.coreml.programs import Builder, call, call_inplace, compare_with_folded, run

_ARITHMETIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": operator.add,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": operator.mul,
    "real_div": np.true_divide,
    "sub": operator.sub,
}
_COMPARISONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "equal": operator.eq,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "not_equal": operator.ne,
}
_LOGIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
_X = np.array([[-7.5, -2, 0, 3], [2, 2.5, 5, 7]], np.float32)
_Y = np.array([[2], [-2.5]], np.float32)


@pytest.mark.parametrize("kind", [*_ARITHMETIC, *_COMPARISONS])
def test_floats_follow_numpy(kind: str) -> None:
    wanted = {**_ARITHMETIC, **_COMPARISONS}[kind](_X, _Y)

    found = call(kind, x=_X, y=_Y)

    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", _LOGIC)
def test_logic_follows_numpy(kind: str) -> None:
    x, y = np.array([[True], [False]]), np.array([True, False])

    np.testing.assert_array_equal(call(kind, x=x, y=y), _LOGIC[kind](x, y))


@pytest.mark.parametrize("kind", ["add", "floor_div", "maximum", "minimum", "mod", "mul", "sub", *_COMPARISONS])
def test_integers_follow_numpy(kind: str) -> None:
    x, y = np.array([-7, -6, 6, 7], np.int32), np.array([[3], [-3]], np.int32)

    np.testing.assert_array_equal(call(kind, x=x, y=y), {**_ARITHMETIC, **_COMPARISONS}[kind](x, y))


def test_rounding_towards_negative_infinity_leaves_a_rest_with_the_divisors_sign() -> None:
    x, y = np.array([-7, 7], np.int32), np.array([2, -2], np.int32)

    np.testing.assert_array_equal(call("floor_div", x=x, y=y), [-4, -4])
    np.testing.assert_array_equal(call("mod", x=x, y=y), [1, -1])


def test_an_integer_quotient_loses_its_fraction_and_no_digit() -> None:
    x, y = np.array([-7, 2**24 + 1], np.int32), np.array([2, 1], np.int32)

    np.testing.assert_array_equal(run(lambda x, y: Builder.real_div(x=x, y=y), x, y)[0], [-3, 2**24 + 1])


def test_pow_raises_x_to_y() -> None:
    x, y = np.array([2, 9, 0.5], np.float32), np.array([[3], [0.5]], np.float32)

    np.testing.assert_allclose(
        call("pow", x=x, y=y), [[8, 729, 0.125], [math.sqrt(2), 3, math.sqrt(0.5)]], rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["add", "mul", "sub"])
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3),
    seed=st.integers(0, 2**16),
)
def test_in_place_gives_the_same_where_the_result_is_larger_too(
    kind: str, shapes: hnp.BroadcastableShapes, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x, y = (random.normal(size=shape).astype(np.float32) for shape in shapes.input_shapes)

    found = call_inplace(kind, x=x, y=y)

    np.testing.assert_array_equal(found, _ARITHMETIC[kind](x, y))
    assert found.shape == shapes.result_shape


def test_all_agree_with_what_coremltools_folds() -> None:
    def body(x: object, y: object) -> list[object]:
        numbers = [getattr(Builder, kind)(x=x, y=y) for kind in _ARITHMETIC]
        truths = [Builder.cast(x=getattr(Builder, kind)(x=x, y=y), dtype="int32") for kind in _COMPARISONS]
        return numbers + truths

    compare_with_folded(body, _X, _Y, rtol=1e-6)


def test_fp16_rounds_each_result_once() -> None:
    x, y = np.array([2048, 60000, 0.1], np.float32), np.array([1, 60000, 0.2], np.float32)

    total, product = run(lambda x, y: [Builder.add(x=x, y=y), Builder.mul(x=x, y=y)], x, y, precision="fp16")

    # 2049 lies between two fp16 numbers and goes to the even one; 120000 is beyond the largest.
    np.testing.assert_array_equal(total, np.float32([2048, np.inf, np.float16(0.1) + np.float16(0.2)]))
    np.testing.assert_array_equal(product, np.float32([2048, np.inf, np.float16(0.1) * np.float16(0.2)]))


def test_a_value_that_is_needed_again_is_not_overwritten() -> None:
    x = np.array([1, 2], np.float32)

    def body(x: object) -> list[object]:
        double = Builder.add(x=x, y=x)
        more = Builder.add(x=double, y=np.float32(1))
        return [Builder.mul(x=double, y=more), Builder.sub(x=double, y=more)]

    product, difference = run(body, x)

    np.testing.assert_array_equal(product, [2 * 3, 4 * 5])
    np.testing.assert_array_equal(difference, [-1, -1])
