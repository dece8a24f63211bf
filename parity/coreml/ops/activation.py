"""Activations. Source: coremltools' MIL definitions, family activation."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from parity.coreml.registry import op

# What networks use, which PyTorch computes in one pass: relu6(x + 3) / 6.
_HARD_SIGMOID = (np.float32(1 / 6), 0.5)


def at_least(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Set what is below alpha to zero; alpha itself stays, and what is no number."""
    # PyTorch's drops the threshold itself, which the number before it keeps.
    return F.threshold(x, _before(alpha, x.dtype), 0.0)


@cache
def _before(number: float, dtype: torch.dtype) -> float:
    """Return the greatest number of a type that is below another."""
    lowest = torch.tensor(-torch.inf, dtype=dtype)
    return float(torch.nextafter(torch.tensor(number, dtype=dtype), lowest))


@op("clamped_relu")
def clamped_relu(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Multiply what is negative by alpha, then limit every element to at most beta."""
    return F.leaky_relu(x, alpha).clamp_(max=beta)


@op("elu")
def elu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Replace what is negative by alpha * (exp(x) - 1)."""
    return F.elu(x, alpha)


@op("gelu")
def gelu(x: torch.Tensor, mode: str = "EXACT") -> torch.Tensor:
    """Multiply x by the normal distribution function of x, or by one of its two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return (1.702 * x).sigmoid_().mul_(x)
    result = F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")
    # Where PyTorch leaves this to oneDNN, gelu of infinity is NaN; it is infinity.
    return torch.where(torch.isposinf(x), x, result) if result.sum().isnan() else result


@op("leaky_relu")
def leaky_relu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Multiply what is negative by alpha."""
    return F.leaky_relu(x, alpha)


@op("linear_activation")
def linear_activation(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Compute alpha * x + beta."""
    return (x * alpha).add_(beta)


@op("prelu")
def prelu(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Multiply what is negative by its channel's alpha; x [N, C, *spatial], alpha [C]."""
    return F.prelu(x, alpha)


@op("relu", exact=True, inplace=torch.relu_)
def relu(x: torch.Tensor) -> torch.Tensor:
    """Set what is negative to zero."""
    return torch.relu(x)


def _relu6_inplace(x: torch.Tensor) -> torch.Tensor:
    return x.clamp_(0, 6)


@op("relu6", exact=True, inplace=_relu6_inplace)
def relu6(x: torch.Tensor) -> torch.Tensor:
    """Limit every element to 0..6."""
    return x.clamp(0, 6)


@op("scaled_tanh")
def scaled_tanh(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Compute alpha * tanh(beta * x)."""
    return (x * beta).tanh_().mul_(alpha)


@op("sigmoid", inplace=torch.sigmoid_)
def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Compute 1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@op("sigmoid_hard")
def sigmoid_hard(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Limit alpha * x + beta to 0..1."""
    if (np.float32(alpha), beta) == _HARD_SIGMOID:
        return F.hardsigmoid(x)
    # In one pass; as a sum, oneDNN's graph compiler would take it for one without alpha, and fail.
    return torch.sub(torch.tensor(beta), x, alpha=-alpha).clamp_(0, 1)


def _silu_inplace(x: torch.Tensor) -> torch.Tensor:
    return F.silu(x, inplace=True)


@op("silu", inplace=_silu_inplace)
def silu(x: torch.Tensor) -> torch.Tensor:
    """Multiply x by its sigmoid."""
    return F.silu(x)


@op("softmax")
def softmax(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """Normalise exp(x) along one axis, shifted by its maximum so that nothing overflows."""
    return torch.softmax(x, axis)


@op("softplus")
def softplus(x: torch.Tensor) -> torch.Tensor:
    """Compute log(1 + exp(x))."""
    return F.softplus(x)


@op("softplus_parametric")
def softplus_parametric(x: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Compute alpha * log(1 + exp(beta * x)) per channel; x [N, C, *spatial], alpha and beta [C]."""
    channel = (-1,) + (1,) * (x.ndim - 2)
    return F.softplus(x * beta.reshape(channel)).mul_(alpha.reshape(channel))


@op("softsign")
def softsign(x: torch.Tensor) -> torch.Tensor:
    """Compute x / (1 + |x|)."""
    return F.softsign(x)


@op("thresholded_relu", exact=True)
def thresholded_relu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Set what is below alpha to zero; alpha itself stays."""
    return at_least(x, alpha)
