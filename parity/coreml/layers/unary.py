"""Functions of each element alone. Source: NeuralNetwork.proto, unary, and ceil to atanh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.clamp import Clamp
from parity.coreml.registry import Prepared, layer

_Function = Callable[[torch.Tensor], torch.Tensor]


@layer("unary")
def unary(params: Any) -> Clamp | Prepared:
    """Compute f(scale * x + shift)."""
    # Zero means not set, by the specification: a scale of 1, an epsilon of 1e-6.
    scale, shift, epsilon, alpha = params.scale or 1.0, params.shift, params.epsilon or 1e-6, params.alpha
    kind = params.Operation.Name(params.type)
    # Of a logarithm the specification says nothing, but Apple's tests add the epsilon that the file sets.
    added = params.epsilon
    if kind == "THRESHOLD" and shift == 0 and scale in (1, -1):
        return Clamp(low=alpha).after(Clamp(int(scale)))
    functions: dict[str, _Function] = {
        "SQRT": torch.sqrt_,
        "RSQRT": lambda x: x.add_(epsilon).rsqrt_(),
        "INVERSE": lambda x: x.add_(epsilon).reciprocal_(),
        "POWER": lambda x: x.pow_(alpha),
        "EXP": torch.exp_,
        "LOG": lambda x: x.add_(added).log_(),
        "ABS": torch.abs_,
        "THRESHOLD": lambda x: x.clamp_(alpha),
    }
    function = functions[kind]
    plain = scale == 1 and shift == 0

    def inplace(x: torch.Tensor) -> torch.Tensor:
        return function(x if plain else x.mul_(scale).add_(shift))

    return Prepared(lambda x: function(x.clone() if plain else (x * scale).add_(shift)), inplace)


def _register(kind: str, function: _Function, inplace: _Function) -> None:
    @layer(kind)
    def make(params: Any) -> Prepared:
        return Prepared(function, inplace)


# Halves are rounded to the even neighbour, as NumPy does.
for _kind in (
    "ceil",
    "floor",
    "round",
    "exp2",
    "tanh",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
):
    _register(_kind, getattr(torch, _kind), getattr(torch, f"{_kind}_"))
for _kind in ("asinh", "acosh", "atanh"):
    _register(_kind, getattr(torch, _kind), getattr(torch, f"{_kind}_"))


@layer("sign")
def sign(params: Any) -> Prepared:
    """Give 1 for what is positive, -1 for what is negative, else 0."""
    return Prepared(torch.sign, lambda x: x.sign_())


@layer("copy")
def copy(params: Any) -> _Function:
    """Copy: the one layer that may give a blob a new value under its old name."""
    return torch.clone
