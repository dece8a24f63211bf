"""Operations on two tensors with NumPy's broadcasting. Source: coremltools' MIL definitions, elementwise_binary."""

from __future__ import annotations

import numpy as np
import torch

from parity.coreml.ops.few_channels import row_by_row
from parity.coreml.registry import op

_add, _add_ = row_by_row(torch.add), row_by_row(torch.Tensor.add_)
_mul, _mul_ = row_by_row(torch.mul), row_by_row(torch.Tensor.mul_)
_sub, _sub_ = row_by_row(torch.sub), row_by_row(torch.Tensor.sub_)


def _holds(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Tell whether the result has the shape of x, so that it may be written over x."""
    # NumPy's: PyTorch's own loads SymPy first.
    return x.shape == y.shape or np.broadcast_shapes(x.shape, y.shape) == x.shape


def _add_inplace(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _add_(x, y) if _holds(x, y) else x + y


@op("add", inplace=_add_inplace)
def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Add."""
    return _add(x, y)


@op("equal")
def equal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x and y are equal."""
    return x == y


@op("floor_div")
def floor_div(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Divide x by y and round towards negative infinity."""
    return torch.div(x, y, rounding_mode="floor")


@op("greater")
def greater(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x is above y."""
    return x > y


@op("greater_equal")
def greater_equal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x is above or equal to y."""
    return x >= y


@op("less")
def less(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x is below y."""
    return x < y


@op("less_equal")
def less_equal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x is below or equal to y."""
    return x <= y


@op("logical_and")
def logical_and(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where both are true."""
    return torch.logical_and(x, y)


@op("logical_or")
def logical_or(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where either is true."""
    return torch.logical_or(x, y)


@op("logical_xor")
def logical_xor(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where exactly one is true."""
    return torch.logical_xor(x, y)


@op("maximum", exact=True)
def maximum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Take the greater one."""
    return torch.maximum(x, y)


@op("minimum", exact=True)
def minimum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Take the smaller one."""
    return torch.minimum(x, y)


@op("mod")
def mod(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return what floor_div leaves over; it has the sign of y, as Python's `%`."""
    return torch.remainder(x, y)


def _mul_inplace(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _mul_(x, y) if _holds(x, y) else x * y


@op("mul", inplace=_mul_inplace)
def mul(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Multiply."""
    return _mul(x, y)


@op("not_equal")
def not_equal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell where x and y differ."""
    return x != y


@op("pow")
def power(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Raise x to the power of y."""
    return torch.pow(x, y)


@op("real_div")
def real_div(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Divide x by y; integers have an integer quotient, without its fraction."""
    # Through float32, large integers would lose digits before the fraction is cut off.
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def _sub_inplace(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _sub_(x, y) if _holds(x, y) else x - y


@op("sub", inplace=_sub_inplace)
def sub(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Subtract y from x."""
    return _sub(x, y)
