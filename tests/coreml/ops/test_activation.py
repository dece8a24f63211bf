from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.coreml.programs import Builder, call, call_inplace, compare_with_folded, run

_X = np.linspace(-8, 8, 2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
_A, _B = np.float32([0.25, 0.5, 2.0]), np.float32([1.0, -0.5, 3.0])
_erf = np.vectorize(math.erf)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _channel(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).reshape(1, 3, 1, 1)


# Operation, its parameters, and Apple's formula.
_CASES: list[tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = [
    ("clamped_relu", {"alpha": 0.5, "beta": 2.0}, lambda x: np.minimum(np.where(x >= 0, x, 0.5 * x), 2.0)),
    ("clamped_relu", {"alpha": 1.0, "beta": -2.0}, lambda x: np.minimum(x, -2.0)),
    ("elu", {"alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x))),
    ("gelu", {}, lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
    ("gelu", {"mode": "EXACT"}, lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
    (
        "gelu",
        {"mode": "TANH_APPROXIMATION"},
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x * _sigmoid(1.702 * x)),
    ("leaky_relu", {"alpha": 0.1}, lambda x: np.where(x >= 0, x, 0.1 * x)),
    ("linear_activation", {"alpha": -2.0, "beta": 0.5}, lambda x: -2.0 * x + 0.5),
    ("prelu", {"alpha": _A}, lambda x: np.where(x > 0, x, _channel(_A) * x)),
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("relu6", {}, lambda x: np.clip(x, 0, 6)),
    ("scaled_tanh", {"alpha": 1.7, "beta": 0.6}, lambda x: 1.7 * np.tanh(0.6 * x)),
    ("sigmoid", {}, _sigmoid),
    ("sigmoid_hard", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("silu", {}, lambda x: x * _sigmoid(x)),
    ("softmax", {}, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    ("softmax", {"axis": 1}, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    ("softplus", {}, lambda x: np.log1p(np.exp(x))),
    (
        "softplus_parametric",
        {"alpha": _A, "beta": _B},
        lambda x: _channel(_A) * np.log1p(np.exp(_channel(_B) * x)),
    ),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    ("thresholded_relu", {"alpha": 1.0}, lambda x: np.where(x >= 1.0, x, 0)),
]
_IDS = [f"{kind}-{'-'.join(map(str, given))}" for kind, given, _ in _CASES]


@pytest.mark.parametrize(("kind", "parameters", "formula"), _CASES, ids=_IDS)
def test_each_follows_its_formula(
    kind: str, parameters: dict[str, Any], formula: Callable[[np.ndarray], np.ndarray]
) -> None:
    wanted = formula(_X.astype(np.float64))

    np.testing.assert_allclose(call(kind, x=_X, **parameters), wanted, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["relu", "relu6", "sigmoid", "silu"])
def test_in_place_gives_the_same(kind: str) -> None:
    np.testing.assert_array_equal(call_inplace(kind, x=_X), call(kind, x=_X))


def test_all_agree_with_what_coremltools_folds() -> None:
    # coremltools folds no silu, and clamped_relu differently from its own text where beta is negative.
    cases = [
        (kind, given)
        for kind, given, _ in _CASES
        if kind != "silu" and not (kind == "clamped_relu" and given["beta"] < 0)
    ]

    def body(x: object) -> list[object]:
        return [
            getattr(Builder, kind)(
                x=x, **{n: np.float32(v) if isinstance(v, float) else v for n, v in given.items()}
            )
            for kind, given in cases
        ]

    compare_with_folded(body, _X, rtol=5e-6, atol=1e-6)


def test_the_threshold_itself_passes() -> None:
    x = np.array([0.5, 1.0, 2.0], np.float32)

    np.testing.assert_array_equal(call("thresholded_relu", x=x, alpha=1.0), [0, 1, 2])


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.floats(-99, 99, width=32)
    ),
    st.data(),
)
def test_softmax_adds_up_to_one_and_ignores_a_shift(x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))

    found = call("softmax", x=x, axis=axis)

    np.testing.assert_allclose(found.sum(axis), 1, rtol=1e-5)
    np.testing.assert_allclose(call("softmax", x=x + 1000, axis=axis), found, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
@pytest.mark.parametrize("count", [1, 64])
def test_gelu_of_infinity_is_infinity(mode: str, count: int) -> None:
    x = np.tile(np.float32([np.inf, 2.0, np.nan, -2.0]), count)

    found = call("gelu", x=x, mode=mode)

    assert np.isposinf(found[::4]).all()
    assert np.isnan(found[2::4]).all()
    # gelu(x) + gelu(-x) is x * erf(x / sqrt(2)), near 2 by each of the three.
    np.testing.assert_allclose(found[1::4] + found[3::4], 1.909, atol=0.05)


def test_fp16_underflows_where_fp32_does_not() -> None:
    x = np.array([[0.0, 20.0]], np.float32)

    assert run(lambda x: Builder.softmax(x=x), x)[0][0, 0] == pytest.approx(math.exp(-20), rel=1e-4)
    assert run(lambda x: Builder.softmax(x=x), x, precision="fp16")[0][0, 0] == 0


def test_fp16_rounds_parameters_and_result() -> None:
    x = np.array([3.0, -3.0], np.float32)

    found = run(lambda x: Builder.leaky_relu(x=x, alpha=np.float32(0.1)), x, precision="fp16")[0]

    np.testing.assert_array_equal(found, np.float32([3, np.float16(-3 * np.float64(np.float16(0.1)))]))


def test_each_gives_fp16_numbers_in_fp16() -> None:
    def body(x: Any) -> list[Any]:
        return [
            getattr(Builder, kind)(
                x=x, **{n: np.float32(v) if isinstance(v, float) else v for n, v in given.items()}
            )
            for kind, given, _ in _CASES
        ]

    for found, (_, _, formula) in zip(run(body, _X, precision="fp16"), _CASES, strict=True):
        np.testing.assert_allclose(found, formula(_X.astype(np.float64)), rtol=2e-2, atol=1e-3)
