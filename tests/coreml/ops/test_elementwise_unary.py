from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conversion.guards.quiet import chatter_to
from parity.coreml import Evaluator
from tests.coreml.networks import check_nodes, ct
from tests.coreml.programs import Builder, call, call_inplace, compare_with_folded, convert, run

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


# What a program may cast between, by opset, and how NumPy calls it.
_CASTS: dict[str, dict[str, type[np.generic]]] = {
    "iOS15": {"bool": np.bool_, "int32": np.int32, "fp16": np.float16, "fp32": np.float32},
    "iOS17": {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16},
}
_CASTS["iOS17"] |= _CASTS["iOS15"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", _CASTS)
def test_every_cast_gives_the_type_that_it_declares(target: str, precision: str) -> None:
    # Nothing below zero: what an unsigned integer makes of it is not defined.
    x = np.array([0, 0.25, 1, 2.75, 100.5, 127], np.float32)
    pairs = [(source, wanted) for source in _CASTS[target] for wanted in _CASTS[target] if source != wanted]

    def body(x: object) -> list[object]:
        return [
            Builder.cast(x=Builder.cast(x=x, dtype=source, name=f"from_{source}_{i}"), dtype=wanted, name=f"to_{i}")
            for i, (source, wanted) in enumerate(pairs)
        ]

    program = convert(body, x, precision=precision, target=target, passes="empty")
    fed = {program.get_spec().description.input[0].name: x}
    model = Evaluator(program)
    check_nodes(model, fed)
    found = model.trace(fed)

    for i, (source, wanted) in enumerate(pairs):
        expected = x.astype(_CASTS[target][source]).astype(_CASTS[target][wanted])
        np.testing.assert_array_equal(found[f"to_{i}"], expected, f"{source} to {wanted}")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("source", ["bool", "int32"])
def test_what_a_cast_makes_a_float_is_computed_with_as_a_float(source: str, precision: str) -> None:
    x = np.array([0, 1, 3], np.int32)

    def body(x: object) -> list[object]:
        number = Builder.cast(x=Builder.greater(x=x, y=1) if source == "bool" else x, dtype="fp32")
        return [
            Builder.sub(x=np.float32(1), y=number),
            Builder.real_div(x=number, y=np.float32(2)),
            Builder.mul(x=number, y=np.float32(0.5)),
            Builder.reduce_mean(x=number, axes=[0]),
            Builder.floor_div(x=number, y=np.float32(2)),
        ]

    n = (x > 1).astype(np.float32) if source == "bool" else x.astype(np.float32)

    wanted = [1 - n, n / 2, n / 2, [n.mean()], n // 2]
    for answer, numbers in zip(run(body, x, precision=precision), wanted, strict=True):
        np.testing.assert_allclose(answer, numbers, rtol=0 if precision == "fp32" else 1e-3)
        assert answer.dtype == np.float32


class _Gates(torch.nn.Module):
    """Compute with what comparisons, counts and indices become when they are made floats."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = 1.0 - (x > 0.6).float()
        best = x.argmax(1, keepdim=True).float() / 2
        whole = (x * 10).int().float() / 4
        return gate * x + best - whole + (x == 0).to(x.dtype).mean(1, keepdim=True)


@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_a_converted_network_that_makes_truth_and_integers_floats(precision: str) -> None:
    x = np.array([[[0, 0.25, 0.75], [1, 0.625, 0.5]], [[0, 2, 0.375], [0, 0.875, -0.75]]], np.float32)
    with chatter_to():
        traced = torch.jit.trace(_Gates(), torch.from_numpy(x))
        model = ct.convert(
            traced,
            inputs=[ct.TensorType("x", x.shape)],
            outputs=[ct.TensorType("y", dtype=np.float32)],
            compute_precision=getattr(ct.precision, precision),
            minimum_deployment_target=ct.target.iOS15,
            skip_model_load=True,
        )
    best = np.argmax(x, 1, keepdims=True) / np.float32(2)
    whole = np.trunc(x * 10) / np.float32(4)
    wanted = np.where(x > 0.6, 0, x) + best - whole + (x == 0).mean(1, keepdims=True)

    found = Evaluator(model).predict({"x": x})["y"]

    np.testing.assert_allclose(found, wanted, rtol=1e-6 if precision == "FLOAT32" else 1e-3, atol=1e-6)


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
