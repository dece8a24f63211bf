"""Twins of what looks at each element alone, or at two of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.coreml.random_programs.twins import twin_of

_UNARY: dict[str, Any] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "identity": lambda x: x,
    "logical_not": np.logical_not,
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.where(x > 6, 6, np.where(x > 0, x, 0)),
    "round": np.round,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "sinh": np.sinh,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "tan": np.tan,
    "tanh": np.tanh,
}
_BINARY: dict[str, Any] = {
    "add": np.add,
    "equal": np.equal,
    "floor_div": lambda x, y: np.floor_divide(x, y),
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": lambda x, y: x - np.floor_divide(x, y) * y if np.asarray(x).dtype.kind == "i" else np.mod(x, y),
    "mul": np.multiply,
    "not_equal": np.not_equal,
    "pow": lambda x, y: np.power(np.asarray(x, np.float64), y),
    "real_div": np.true_divide,
    "sub": np.subtract,
}
for _kind, _function in _UNARY.items():
    twin_of(_kind)(lambda x, function=_function: function(x))
for _kind, _function in _BINARY.items():
    twin_of(_kind)(lambda x, y, function=_function: function(x, y))


@twin_of("cast")
def cast(x: Any, dtype: str) -> Any:
    return x != 0 if dtype == "bool" else x


@twin_of("clip")
def clip(x: Any, alpha: float, beta: float) -> Any:
    return np.where(x < alpha, alpha, np.where(x > beta, beta, x))


@twin_of("inverse")
def inverse(x: Any, epsilon: float) -> Any:
    return 1 / (x + epsilon)


@twin_of("log")
def log(x: Any, epsilon: float) -> Any:
    return np.log(x + epsilon)


@twin_of("rsqrt")
def rsqrt(x: Any, epsilon: float) -> Any:
    return 1 / np.sqrt(x + epsilon)


@twin_of("threshold")
def threshold(x: Any, alpha: float) -> Any:
    return np.where(x < alpha, alpha, x)


@twin_of("select")
def select(cond: Any, a: Any, b: Any) -> Any:
    return np.where(cond, a, b)


@twin_of("clamped_relu")
def clamped_relu(x: Any, alpha: float, beta: float) -> Any:
    return np.minimum(np.where(x >= 0, x, alpha * x), beta)


@twin_of("elu")
def elu(x: Any, alpha: float) -> Any:
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


@twin_of("gelu")
def gelu(x: Any, mode: str) -> Any:
    if mode == "SIGMOID_APPROXIMATION":
        return x / (1 + np.exp(-1.702 * x))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _UNARY["erf"](x / math.sqrt(2)))


@twin_of("leaky_relu")
def leaky_relu(x: Any, alpha: float) -> Any:
    return np.where(x >= 0, x, alpha * x)


@twin_of("linear_activation")
def linear_activation(x: Any, alpha: float, beta: float) -> Any:
    return alpha * x + beta


def _channels(x: Any, parameter: Any) -> Any:
    return np.reshape(parameter, (1, -1) + (1,) * (x.ndim - 2))


@twin_of("prelu")
def prelu(x: Any, alpha: Any) -> Any:
    return np.where(x >= 0, x, _channels(x, alpha) * x)


@twin_of("scaled_tanh")
def scaled_tanh(x: Any, alpha: float, beta: float) -> Any:
    return alpha * np.tanh(beta * x)


@twin_of("sigmoid_hard")
def sigmoid_hard(x: Any, alpha: float, beta: float) -> Any:
    return np.minimum(np.maximum(alpha * x + beta, 0), 1)


@twin_of("softplus_parametric")
def softplus_parametric(x: Any, alpha: Any, beta: Any) -> Any:
    return _channels(x, alpha) * np.log(1 + np.exp(_channels(x, beta) * x))


@twin_of("thresholded_relu")
def thresholded_relu(x: Any, alpha: float) -> Any:
    return np.where(x >= alpha, x, 0)


def _steps(parameter: Any, x: Any, axis: int) -> Any:
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.reshape(parameter, shape) if np.ndim(parameter) else parameter


@twin_of("quantize")
def quantize(input: Any, scale: Any, output_dtype: str, zero_point: Any = 0, axis: int = 0) -> Any:  # noqa: A002
    low, high = (0, 255) if output_dtype == "uint8" else (-128, 127)
    return np.clip(np.round(input / _steps(scale, input, axis)) + _steps(zero_point, input, axis), low, high)


@twin_of("dequantize")
def dequantize(input: Any, scale: Any, zero_point: Any = 0, axis: int = 0) -> Any:  # noqa: A002
    return (input - _steps(zero_point, input, axis)) * _steps(scale, input, axis)
