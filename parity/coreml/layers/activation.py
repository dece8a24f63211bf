"""Activations. Source: NeuralNetwork.proto, ActivationParams and the layers clampedReLU, erf and gelu."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.clamp import Clamp
from parity.coreml.layers.weights import read_weights
from parity.coreml.ops.activation import at_least
from parity.coreml.ops.activation import gelu as gelu_of
from parity.coreml.ops.activation import sigmoid_hard as hard_sigmoid_of
from parity.coreml.registry import Prepared, layer

_Made = Clamp | Prepared | Callable[[torch.Tensor], torch.Tensor]


@layer("activation")
def activation(params: Any) -> _Made:
    """Apply one of the nonlinearities of ActivationParams."""
    kind = params.WhichOneof("NonlinearityType")
    if kind is None:
        raise ValueError("the activation has no type")
    return _KINDS[kind](getattr(params, kind))


def _linear(params: Any) -> _Made:
    alpha, beta = params.alpha, params.beta
    if beta == 0 and alpha in (1, -1):
        return Clamp(int(alpha))

    return Prepared(lambda x: (x * alpha).add_(beta), lambda x: x.mul_(alpha).add_(beta))


def _hard_sigmoid(params: Any) -> _Made:
    alpha, beta = params.alpha, params.beta
    return Prepared(lambda x: hard_sigmoid_of(x, alpha, beta), role="sigmoid_hard")


def _leaky_relu(params: Any) -> _Made:
    alpha = params.alpha
    return Prepared(lambda x: F.leaky_relu(x, alpha), lambda x: F.leaky_relu_(x, alpha), role="leaky_relu")


def _elu(params: Any) -> _Made:
    alpha = params.alpha
    return Prepared(lambda x: F.elu(x, alpha), lambda x: F.elu_(x, alpha))


def _per_channel(weights: Any, what: str) -> torch.Tensor:
    """Read one value, or one per channel, so that it broadcasts along axis -3."""
    if weights.rawValue and weights.quantization.numberOfBits != 8:
        raise ValueError(f"`{what}` is quantized to less than 8 bits, so that its bytes do not say how many values")
    count = max(len(weights.floatValue), len(weights.float16Value) // 2, len(weights.rawValue))
    if not count:
        raise ValueError(f"`{what}` has no value; it takes one, or one per channel")
    return read_weights(weights, (count, 1, 1), what)


def _prelu(params: Any) -> _Made:
    alpha = _per_channel(params.alpha, "alpha")
    return lambda x: torch.where(x >= 0, x, x * alpha)


def _parametric_softplus(params: Any) -> _Made:
    alpha, beta = _per_channel(params.alpha, "alpha"), _per_channel(params.beta, "beta")
    return lambda x: alpha * F.softplus(beta * x)


_KINDS: dict[str, Callable[[Any], _Made]] = {
    "linear": _linear,
    "ReLU": lambda _: Clamp(low=0.0),
    "leakyReLU": _leaky_relu,
    "thresholdedReLU": lambda p: Prepared(lambda x: at_least(x, p.alpha), role="thresholded_relu"),
    "PReLU": _prelu,
    "tanh": lambda _: Prepared(torch.tanh, torch.tanh_, role="tanh"),
    "scaledTanh": lambda p: lambda x: torch.tanh(x * p.beta).mul_(p.alpha),
    "sigmoid": lambda _: Prepared(torch.sigmoid, torch.sigmoid_, role="sigmoid"),
    "sigmoidHard": _hard_sigmoid,
    "ELU": _elu,
    "softsign": lambda _: F.softsign,
    "softplus": lambda _: F.softplus,
    "parametricSoftplus": _parametric_softplus,
}


@layer("clampedReLU")
def clamped_relu(params: Any) -> _Made:
    """Compute min(x, beta), where what is below zero is multiplied by alpha first."""
    alpha, beta = params.alpha, params.beta
    if alpha == 0:
        return Clamp(low=0.0, high=beta) if beta >= 0 else Clamp(low=beta, high=beta)
    return lambda x: F.leaky_relu(x, alpha).clamp_(max=beta)


@layer("gelu")
def gelu(params: Any) -> _Made:
    """Apply the Gaussian error linear unit, exactly or by one of two approximations."""
    return Prepared(partial(gelu_of, mode=params.GeluMode.Name(params.mode)), role="gelu")


@layer("softmax")
def softmax(params: Any) -> _Made:
    """Normalise exp(x) over the channels, axis -3."""
    return Prepared(lambda x: torch.softmax(x, -3), role="softmax")


@layer("softmaxND")
def softmax_nd(params: Any) -> _Made:
    """Normalise exp(x) along one axis."""
    axis = int(params.axis)
    return lambda x: torch.softmax(x, axis)


@layer("clip")
def clip(params: Any) -> _Made:
    """Limit every element to minVal..maxVal."""
    return Clamp(low=params.minVal, high=params.maxVal)


@layer("erf")
def erf(params: Any) -> _Made:
    """Compute the Gauss error function."""
    return Prepared(torch.erf, torch.erf_)
