"""Every layer that holds weights takes them in each of their forms: halves, linear quantization, look-up tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from conversion.guards.quiet import chatter_to
from parity.coreml import Evaluator
from tests.coreml.networks import Model, ct, normal, positive, specify

with chatter_to():
    from coremltools.models.neural_network import quantization_utils

H, X = 3, 4
_X = normal(3, 2, X, 1, 1)
_STATE = normal(1, 2, H, 1, 1, seed=1)


def _many(count: int, *shape: int) -> list[np.ndarray]:
    return [normal(*shape, seed=i) for i in range(count)]


def _convolution(b: Any, transposed: bool = False, groups: int = 1) -> None:
    # [kh, kw, C_in, C_out / groups] or [kh, kw, C_in / groups, C_out]
    w = normal(2, 2, 4, 6 // groups) if transposed else normal(2, 2, 4 // groups, 6)
    b.add_convolution(
        "l", w.shape[2], 6, 2, 2, 1, 1, "valid", groups, w, normal(6, seed=1), True, transposed,
        input_name="x", output_name="y",
    )  # fmt: skip


def _lstm(b: Any, both: bool) -> None:
    one = _many(4, H, H), _many(4, H, X), _many(4, H)
    states = ["h", "c", "hr", "cr"][: 4 if both else 2]
    names = ["x", *states], ["y", *(f"{name}_out" for name in states)]
    if both:
        b.add_bidirlstm("l", *one, *one, H, X, *names, peep=_many(3, H), peep_back=_many(3, H), output_all=True)
    else:
        b.add_unilstm("l", *one, H, X, *names, peep=_many(3, H), output_all=True)


def _states(count: int) -> dict[str, np.ndarray]:
    return {"x": _X, **dict.fromkeys(["h", "c", "hr", "cr"][:count], _STATE)}


_IMAGE = {"x": normal(1, 4, 5, 5)}
_NAMES = ["x", "h"], ["y", "h_out"]
_moments = [normal(4, seed=i) for i in range(3)]
# What coremltools' own quantization knows, and the inputs.
QUANTIZED: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "convolution": (_convolution, _IMAGE),
    "grouped convolution": (lambda b: _convolution(b, groups=2), _IMAGE),
    "deconvolution": (lambda b: _convolution(b, transposed=True), _IMAGE),
    "grouped deconvolution": (lambda b: _convolution(b, transposed=True, groups=2), _IMAGE),
    "innerProduct": (
        lambda b: b.add_inner_product("l", normal(6, 4), normal(6), 4, 6, True, "x", "y"),
        {"x": normal(2, 4)},
    ),
    "batchedMatmul": (
        lambda b: b.add_batched_mat_mul("l", ["x"], "y", False, False, 4, 6, normal(4, 6), normal(6)),
        {"x": normal(2, 4)},
    ),
    "embedding": (
        lambda b: b.add_embedding("l", normal(6, 4), normal(6), 4, 6, True, "x", "y"),
        {"x": np.array([0, 3]).reshape(2, 1, 1, 1)},
    ),
    "embeddingND": (lambda b: b.add_embedding_nd("l", "x", "y", 4, 6, normal(6, 4), normal(6)), {"x": [[0], [3]]}),
    "batchnorm": (
        lambda b: b.add_batchnorm("l", 4, *_moments[:2], _moments[2], positive(4), "x", "y"),
        _IMAGE,
    ),
    "scale": (lambda b: b.add_scale("l", normal(4), normal(4), True, "x", "y", [4], [4]), _IMAGE),
    "bias": (lambda b: b.add_bias("l", normal(4, 5, 5), "x", "y", [4, 5, 5]), _IMAGE),
    "loadConstant": (lambda b: b.add_load_constant("l", "y", normal(2, 3, 4), [2, 3, 4]), _IMAGE),
    "loadConstantND": (lambda b: b.add_load_constant_nd("l", "y", normal(2, 3), [2, 3]), _IMAGE),
    "simpleRecurrent": (
        lambda b: b.add_simple_rnn("l", normal(H, H), normal(H, X), normal(H), H, X, "TANH", *_NAMES),
        _states(1),
    ),
    "gru": (lambda b: b.add_gru("l", _many(3, H, H), _many(3, H, X), _many(3, H), H, X, *_NAMES), _states(1)),
    "uniDirectionalLSTM": (lambda b: _lstm(b, False), _states(2)),
    "biDirectionalLSTM": (lambda b: _lstm(b, True), _states(4)),
}
HALVED = QUANTIZED | {
    "convolution3d": (
        lambda b: b.add_convolution3d(
            "l", 4, 6, 2, 2, 2, normal(6, 4, 2, 2, 2), normal(6), True, input_name="x", output_name="y"
        ),
        {"x": normal(1, 4, 3, 3, 3)},
    ),
    "layerNormalization": (
        lambda b: b.add_layer_normalization("l", "x", "y", [5, 5], normal(5, 5), normal(5, 5, seed=1)),
        _IMAGE,
    ),
    "PReLU": (lambda b: b.add_activation("l", "PRELU", "x", "y", normal(4)), _IMAGE),
    "parametricSoftplus": (
        lambda b: b.add_activation("l", "PARAMETRICSOFTPLUS", "x", "y", [normal(4), normal(4, seed=1)]),
        _IMAGE,
    ),
}


def _specify(layer: str) -> tuple[Any, dict[str, Any]]:
    add, inputs = HALVED[layer]
    return specify(add, {name: np.shape(x) for name, x in inputs.items()}), inputs


def _predict(specification: Any, inputs: dict[str, Any]) -> np.ndarray:
    return np.asarray(Evaluator(Model(specification)).predict(inputs)["y"])


def _weights(message: Any) -> Iterator[Any]:
    """Go through all WeightParams within a message."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from [one] if field.message_type.name == "WeightParams" else _weights(one)


def _quantize(specification: Any, bits: int | None, mode: str) -> None:
    with chatter_to():
        quantization_utils._quantize_nn_spec(specification.neuralNetwork, bits, mode)


@pytest.mark.parametrize("layer", QUANTIZED)
@pytest.mark.parametrize(
    ("bits", "mode"),
    [
        (8, ct.models._QUANTIZATION_MODE_LINEAR_QUANTIZATION),
        (3, ct.models._QUANTIZATION_MODE_LINEAR_QUANTIZATION),
        (8, ct.models._QUANTIZATION_MODE_LINEAR_SYMMETRIC),
        (5, ct.models._QUANTIZATION_MODE_LOOKUP_TABLE_LINEAR),
    ],
)
def test_quantized_weights_are_what_coremltools_makes_of_them(layer: str, bits: int, mode: str) -> None:
    specification, inputs = _specify(layer)
    exact = _predict(specification, inputs)
    _quantize(specification, bits, mode)
    assert all(one.rawValue and not one.floatValue for one in _weights(specification))
    widened = deepcopy(specification)
    _quantize(widened, None, ct.models._QUANTIZATION_MODE_DEQUANTIZE)
    assert all(one.floatValue and not one.rawValue for one in _weights(widened))

    found = _predict(specification, inputs)

    np.testing.assert_allclose(found, _predict(widened, inputs), rtol=1e-5, atol=1e-5)
    assert not np.array_equal(found, exact)


@pytest.mark.parametrize("layer", HALVED)
def test_halves(layer: str) -> None:
    specification, inputs = _specify(layer)
    rounded = deepcopy(specification)
    count = 0
    for one, same in zip(_weights(specification), _weights(rounded), strict=True):
        halves = np.array(one.floatValue).astype(np.float16)
        same.floatValue[:] = halves.tolist()
        one.ClearField("floatValue")
        one.float16Value = halves.tobytes()
        count += 1
    assert count

    np.testing.assert_array_equal(_predict(specification, inputs), _predict(rounded, inputs))
