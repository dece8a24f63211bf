"""Which function of one number an operation is, by what it reads and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from parity.core.noise import ACTIVATION_LEFT

if TYPE_CHECKING:
    import torch

# PyTorch's names of operations that are functions of one number.
ACTIVATIONS = frozenset(
    (
        *("relu", "hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", "sigmoid", "tanh", "elu", "leaky_relu"),
        *("mish", "softplus", "clamp", "clamp_min", "celu", "selu", "relu6", "log_sigmoid"),
    )
)


def function_of(
    read: torch.Tensor, result: torch.Tensor, precision: str
) -> tuple[str, Callable[[Any], Any]] | None:
    """Find the function that turns a tensor into another of the same size; None where none of the usual does."""
    size = float(result.square().mean().sqrt())
    best: tuple[float, str, Callable[[Any], Any]] | None = None
    for name, function in _functions(read, result):
        rest = float((function(read) - result).square().mean().sqrt())
        # The first of those that are the same is the plainest.
        if rest <= ACTIVATION_LEFT[precision] * size and (best is None or rest < 0.1 * best[0]):
            best = (rest, name, function)
    return best[1:] if best else None


def _functions(read: torch.Tensor, result: torch.Tensor) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """List functions, those with a number in them fitted to the two."""
    import torch
    from torch.nn import functional

    yield "identity", lambda x: x
    yield "relu", torch.relu
    yield "relu6", functional.relu6
    yield "hardswish", functional.hardswish
    yield "silu", functional.silu
    yield "hardsigmoid", functional.hardsigmoid
    yield "sigmoid", torch.sigmoid
    yield "tanh", torch.tanh
    yield "gelu", functional.gelu
    yield "gelu (tanh)", partial(functional.gelu, approximate="tanh")
    yield "gelu (sigmoid)", lambda x: x * torch.sigmoid(1.702 * x)
    yield "elu", functional.elu
    yield "selu", functional.selu
    yield "mish", functional.mish
    yield "softplus", functional.softplus
    low, high = float(result.min()), float(result.max())
    yield f"a clip to {low:.4g} and {high:.4g}", partial(torch.clamp, min=low, max=high)
    negative = read < 0
    if bool(negative.any()):
        below = read[negative]
        slope = float((below * result[negative]).sum() / below.square().sum())
        yield f"leaky_relu with slope {slope:.4g}", partial(functional.leaky_relu, negative_slope=slope)
        power = torch.expm1(below)
        alpha = float((power * result[negative]).sum() / power.square().sum())
        yield f"elu with alpha {alpha:.4g}", partial(functional.elu, alpha=alpha)
