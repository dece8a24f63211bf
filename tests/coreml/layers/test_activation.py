from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, positive, run

_ALPHA = np.array([0.5, -2.0, 3.0], np.float32)
_BETA = np.array([1.0, 0.25, -0.5], np.float32)


def _channels(values: np.ndarray) -> np.ndarray:
    return values.reshape(3, 1, 1)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x.astype(np.float64)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


KINDS: dict[tuple[str, Any], Callable[[np.ndarray], np.ndarray]] = {
    ("LINEAR", (2.0, -0.5)): lambda x: 2 * x - 0.5,
    ("LINEAR", (-0.5, 0.0)): lambda x: -0.5 * x,
    ("LINEAR", (1.0, -0.5)): lambda x: x - 0.5,
    ("LINEAR", (-1.0, 0.0)): lambda x: -x,
    ("LINEAR", (1.0, 0.0)): lambda x: x,
    ("RELU", None): lambda x: np.maximum(x, 0),
    ("LEAKYRELU", (0.2,)): lambda x: np.where(x >= 0, x, 0.2 * x),
    ("THRESHOLDEDRELU", 0.5): lambda x: np.where(x >= 0.5, x, 0),
    ("PRELU", "alpha"): lambda x: np.where(x >= 0, x, _channels(_ALPHA) * x),
    ("TANH", None): np.tanh,
    ("SCALED_TANH", (1.5, 0.7)): lambda x: 1.5 * np.tanh(0.7 * x),
    ("SIGMOID", None): _sigmoid,
    ("SIGMOID_HARD", (0.3, 0.4)): lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    ("ELU", 0.7): lambda x: np.where(x >= 0, x, 0.7 * np.expm1(x)),
    ("SOFTSIGN", None): lambda x: x / (1 + np.abs(x)),
    ("SOFTPLUS", None): _softplus,
    ("PARAMETRICSOFTPLUS", "alpha beta"): lambda x: _channels(_ALPHA) * _softplus(_channels(_BETA) * x),
}


@pytest.mark.parametrize(("kind", "params"), KINDS, ids=lambda v: str(v))
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_activation(kind: str, params: Any, shape: tuple[int, ...]) -> None:
    x = 3 * normal(*shape)
    given = (
        {"alpha": _ALPHA, "alpha beta": [_ALPHA, _BETA]}.get(params, params) if isinstance(params, str) else params
    )

    close(run(lambda b: b.add_activation("a", kind, "x", "y", params=given), x=x), KINDS[kind, params](x))


def test_a_threshold_itself_passes() -> None:
    found = run(lambda b: b.add_activation("a", "THRESHOLDEDRELU", "x", "y", params=0.5), x=[0.25, 0.5, 0.75])

    close(found, [0, 0.5, 0.75])


def test_one_value_does_for_all_channels() -> None:
    x = normal(3, 2, 2)

    close(
        run(lambda b: b.add_activation("a", "PRELU", "x", "y", params=np.array([0.1])), x=x),
        np.where(x > 0, x, x * 0.1),
    )


def _prelu(bits: int, raw: bytes, half: bytes = b"") -> Any:
    """Add a PReLU whose alphas are one byte each, scaled by 0.5, or halves."""

    def add(b: Any) -> None:
        b.add_activation("a", "PRELU", "x", "y", params=np.zeros(1))
        alpha = b.nn_spec.layers[0].activation.PReLU.alpha
        alpha.ClearField("floatValue")
        alpha.float16Value, alpha.rawValue = half, raw
        alpha.quantization.numberOfBits = bits
        alpha.quantization.linearQuantization.scale.append(0.5)

    return add


def test_alpha_may_be_stored_in_fewer_bits() -> None:
    x = -positive(3, 2, 2)
    halves = _ALPHA.astype(np.float16).tobytes()

    close(run(_prelu(8, bytes([1, 2, 4])), x=x), x * _channels(np.array([0.5, 1, 2])))
    close(run(_prelu(0, b"", halves), x=x), x * _channels(_ALPHA))


@pytest.mark.parametrize(
    ("add", "text"),
    [(_prelu(4, bytes([1, 2])), "is quantized to less than 8 bits"), (_prelu(8, b""), "has no value")],
)
def test_alpha_whose_number_of_values_is_unknown_is_refused(add: Any, text: str) -> None:
    with pytest.raises(CoreMLError, match=rf"layer `a` \(activation\): `alpha` {text}"):
        run(add, x=np.ones((3, 1, 1)))


def test_an_activation_without_a_type_is_refused() -> None:
    def add(b: Any) -> None:
        b.add_activation("a", "RELU", "x", "y")
        b.nn_spec.layers[0].activation.ClearField("ReLU")

    with pytest.raises(CoreMLError, match=r"layer `a` \(activation\): the activation has no type"):
        run(add, x=[1.0])


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 6.0), (0.1, 1.0), (0.0, -1.0), (-0.5, 2.0), (2.0, -1.0)])
def test_clamped_relu(alpha: float, beta: float) -> None:
    x = np.linspace(-3, 8, 23, dtype=np.float32)

    found = run(lambda b: b.add_clamped_relu("c", "x", "y", alpha=alpha, beta=beta), x=x)

    close(found, np.minimum(beta, np.where(x >= 0, x, alpha * x)))


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu(mode: str) -> None:
    x = 2 * normal(50)
    erf = np.array([math.erf(v / math.sqrt(2)) for v in x])
    expected = {
        "EXACT": 0.5 * x * (1 + erf),
        "TANH_APPROXIMATION": 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "SIGMOID_APPROXIMATION": x * _sigmoid(1.702 * x),
    }[mode]

    close(run(lambda b: b.add_gelu("g", "x", "y", mode=mode), x=x), expected)


def test_gelu_of_infinity_is_infinity() -> None:
    x = np.full((2, 3, 4), np.inf, np.float32)

    assert np.isposinf(run(lambda b: b.add_gelu("g", "x", "y", mode="EXACT"), x=x)).all()


def test_erf() -> None:
    x = normal(20)

    close(run(lambda b: b.add_erf("e", "x", "y"), x=x), [math.erf(v) for v in x])


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (0.0, 6.0), (1.0, -1.0)])
def test_clip(low: float, high: float) -> None:
    x = 3 * normal(4, 5)

    close(run(lambda b: b.add_clip("c", "x", "y", low, high), x=x), np.minimum(np.maximum(x, low), high))


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("shape", [(4, 2, 3), (2, 4, 2, 3), (2, 1, 4, 2, 3)])
def test_softmax_runs_over_the_channels(shape: tuple[int, ...]) -> None:
    x = 100 * normal(*shape)

    close(run(lambda b: b.add_softmax("s", "x", "y"), x=x), _softmax(x, -3))


@pytest.mark.parametrize("axis", [-2, -1, 0, 1, 2])
def test_softmax_nd(axis: int) -> None:
    x = normal(2, 3, 4)

    close(run(lambda b: b.add_softmax_nd("s", "x", "y", axis), x=x), _softmax(x, axis))
