"""Elementwise layers with NumPy's broadcasting. Source: NeuralNetwork.proto, addBroadcastable and its kin.

All numbers are floats: a condition holds where a value is not 0.0, and is answered by 1.0 or 0.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.elementwise import two
from parity.coreml.registry import Prepared, layer

_Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _floor_divide(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.div(x, y, rounding_mode="floor")


# The remainder has the sign of the divisor, as in Python and NumPy.
_ARITHMETIC: dict[str, tuple[_Binary, _Binary]] = {
    "addBroadcastable": (torch.add, torch.Tensor.add_),
    "subtractBroadcastable": (torch.sub, torch.Tensor.sub_),
    "multiplyBroadcastable": (torch.mul, torch.Tensor.mul_),
    "divideBroadcastable": (torch.div, torch.Tensor.div_),
    "floorDivBroadcastable": (_floor_divide, _floor_divide),
    "modBroadcastable": (torch.remainder, torch.Tensor.remainder_),
    "powBroadcastable": (torch.pow, torch.Tensor.pow_),
    "maxBroadcastable": (torch.maximum, torch.maximum),
    "minBroadcastable": (torch.minimum, torch.minimum),
}
_ROLES = {"addBroadcastable": "add", "subtractBroadcastable": "sub", "multiplyBroadcastable": "mul"}
_COMPARISONS: dict[str, Callable[[torch.Tensor, Any], torch.Tensor]] = {
    "equal": torch.eq,
    "notEqual": torch.ne,
    "lessThan": torch.lt,
    "lessEqual": torch.le,
    "greaterThan": torch.gt,
    "greaterEqual": torch.ge,
}
_LOGICAL: dict[str, _Binary] = {
    "logicalAnd": torch.logical_and,
    "logicalOr": torch.logical_or,
    "logicalXor": torch.logical_xor,
}


def _register_arithmetic(kind: str, plain: _Binary, inplace: _Binary) -> None:
    @layer(kind)
    def make(params: Any) -> Prepared:
        return two(plain, inplace, _ROLES.get(kind, ""))


def _register_comparison(kind: str, compare: Callable[[torch.Tensor, Any], torch.Tensor]) -> None:
    @layer(kind)
    def make(params: Any, layer: Any) -> Callable[..., torch.Tensor]:
        if len(layer.input) == 1:
            alpha = params.alpha
            return lambda x: compare(x, alpha).float()
        return lambda x, y: compare(x, y).float()


def _register_logical(kind: str, function: _Binary) -> None:
    @layer(kind)
    def make(params: Any) -> _Binary:
        return lambda x, y: function(x, y).float()


for _kind, _forms in _ARITHMETIC.items():
    _register_arithmetic(_kind, *_forms)
for _kind, _compare in _COMPARISONS.items():
    _register_comparison(_kind, _compare)
for _kind, _function in _LOGICAL.items():
    _register_logical(_kind, _function)


@layer("logicalNot")
def logical_not(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give 1 where the input is 0."""
    return lambda x: torch.logical_not(x).float()


@layer("whereBroadcastable")
def where_broadcastable(params: Any) -> Callable[..., torch.Tensor]:
    """Take from the second input where the first is not 0, else from the third."""
    return lambda condition, x, y: torch.where(condition != 0, x, y)


@layer("whereNonZero")
def where_nonzero(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give the indices [N, rank] of the elements that are not 0."""
    return lambda x: torch.nonzero(x).float()
