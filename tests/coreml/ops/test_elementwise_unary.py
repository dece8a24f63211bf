from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.coreml.programs import Builder, call, call_inplace, compare_with_folded, run

_WIDE = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4)
_UNIT = np.linspace(-0.99, 0.99, 24, dtype=np.float32).reshape(2, 3, 4)
_POSITIVE = np.linspace(0.01, 9, 24, dtype=np.float32).reshape(2, 3, 4)

# The formula in NumPy's float64, and where it is defined.
_FORMULAS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
    "abs": (np.abs, _WIDE),
    "acos": (np.arccos, _UNIT),
    "asin": (np.arcsin, _UNIT),
    "atan": (np.arctan, _WIDE),
    "atanh": (np.arctanh, _UNIT),
    "ceil": (np.ceil, _WIDE),
    "cos": (np.cos, _WIDE),
    "cosh": (np.cosh, _WIDE),
    "erf": (np.vectorize(math.erf), _WIDE),
    "exp": (np.exp, _WIDE),
    "exp2": (np.exp2, _WIDE),
    "floor": (np.floor, _WIDE),
    "inverse": (lambda x: 1 / (x + 1e-4), _POSITIVE),
    "log": (np.log, _POSITIVE),
    "round": (np.round, _WIDE),
    "rsqrt": (lambda x: 1 / np.sqrt(x + 1e-12), _POSITIVE),
    "sign": (np.sign, _WIDE),
    "sin": (np.sin, _WIDE),
    "sinh": (np.sinh, _WIDE),
    "sqrt": (np.sqrt, _POSITIVE),
    "square": (np.square, _WIDE),
    "tan": (np.tan, _WIDE),
    "tanh": (np.tanh, _WIDE),
}


@pytest.mark.parametrize("kind", _FORMULAS)
def test_each_follows_its_formula(kind: str) -> None:
    formula, x = _FORMULAS[kind]

    np.testing.assert_allclose(call(kind, x=x), formula(x.astype(np.float64)), rtol=3e-6, atol=3e-7)


def test_all_agree_with_what_coremltools_folds() -> None:
    def body(unit: object, positive: object) -> list[object]:
        return [
            getattr(Builder, kind)(x=positive if domain is _POSITIVE else unit, name=kind)
            for kind, (_, domain) in _FORMULAS.items()
        ]

    compare_with_folded(body, _UNIT, _POSITIVE, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize(("kind", "at_zero"), [("inverse", 1e4), ("rsqrt", 1e6), ("log", math.log(2**-149))])
def test_the_default_epsilon_keeps_zero_finite(kind: str, at_zero: float) -> None:
    np.testing.assert_allclose(call(kind, x=np.zeros(2, np.float32)), [at_zero] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("inverse", [1 / 2.5, 1 / 4.5]),
        ("rsqrt", [1 / math.sqrt(2.5), 1 / math.sqrt(4.5)]),
        ("log", [math.log(2.5), math.log(4.5)]),
    ],
)
def test_epsilon_is_added_before_the_function(kind: str, wanted: list[float]) -> None:
    np.testing.assert_allclose(call(kind, x=np.array([2, 4], np.float32), epsilon=0.5), wanted, rtol=1e-6)


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)

    np.testing.assert_array_equal(call("round", x=x), [-2, -2, 0, 0, 2, 2])


def test_clip_and_threshold_bound_each_element() -> None:
    x = np.array([-3, -1, 0, 1, 3], np.float32)

    np.testing.assert_array_equal(call("clip", x=x, alpha=-1.0, beta=2.0), [-1, -1, 0, 1, 2])
    np.testing.assert_array_equal(call("threshold", x=x, alpha=np.float32([0.5])), [0.5, 0.5, 0.5, 1, 3])


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=4), elements=st.floats(-9, 9, width=32)))
def test_clipping_twice_changes_nothing(x: np.ndarray) -> None:
    once = call("clip", x=x, alpha=-1.0, beta=2.0)

    np.testing.assert_array_equal(call("clip", x=once, alpha=-1.0, beta=2.0), once)
    assert once.shape == x.shape


@pytest.mark.parametrize("kind", ["exp", "tanh"])
def test_in_place_gives_the_same(kind: str) -> None:
    np.testing.assert_array_equal(call_inplace(kind, x=_WIDE), call(kind, x=_WIDE))


def test_clip_in_place_gives_the_same() -> None:
    wanted = call("clip", x=_WIDE, alpha=-1.0, beta=1.0)

    np.testing.assert_array_equal(call_inplace("clip", x=_WIDE, alpha=-1.0, beta=1.0), wanted)


def test_integers_stay_integers() -> None:
    x = np.array([-3, 0, 4], np.int32)

    def body(x: object) -> list[object]:
        return [
            Builder.abs(x=x),
            Builder.sign(x=x),
            Builder.square(x=x),
            Builder.exp2(x=Builder.abs(x=x)),
            Builder.threshold(x=x, alpha=1),
        ]

    found = run(body, x)

    assert [f.dtype for f in found] == [np.int32] * 5
    np.testing.assert_array_equal(found, [[3, 0, 4], [-1, 0, 1], [9, 0, 16], [8, 1, 16], [1, 1, 4]])


def test_casting_to_an_integer_cuts_the_fraction_off() -> None:
    x = np.array([-1.9, -0.5, 0.5, 1.9], np.float32)

    np.testing.assert_array_equal(run(lambda x: Builder.cast(x=x, dtype="int32"), x)[0], [-1, 0, 0, 1])


def test_casting_to_bool_asks_for_what_is_not_zero() -> None:
    x = np.array([-0.5, 0, 2], np.float32)

    def body(x: object) -> object:
        truth = Builder.cast(x=x, dtype="bool")
        return Builder.cast(x=Builder.logical_not(x=truth), dtype="int32")

    np.testing.assert_array_equal(run(body, x)[0], [0, 1, 0])


def test_fp16_rounds_and_overflows() -> None:
    x = np.array([2, 300, 12], np.float32)

    def body(x: object) -> list[object]:
        return [Builder.sqrt(x=x), Builder.square(x=x), Builder.exp(x=x)]

    root, square, power = run(body, x, precision="fp16")

    np.testing.assert_array_equal(root, np.sqrt(np.float64([2, 300, 12])).astype(np.float16))
    np.testing.assert_array_equal(square, [4, np.inf, 144])
    np.testing.assert_array_equal(power, np.float32([np.float16(math.exp(2)), np.inf, np.inf]))
