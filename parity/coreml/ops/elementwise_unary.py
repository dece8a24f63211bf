"""Operations on each element alone. Source: coremltools' MIL definitions, family elementwise_unary."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


@op("abs", exact=True)
def absolute(x: torch.Tensor) -> torch.Tensor:
    """Drop the sign."""
    return torch.abs(x)


@op("acos")
def acos(x: torch.Tensor) -> torch.Tensor:
    """Compute the inverse cosine."""
    return torch.acos(x)


@op("asin")
def asin(x: torch.Tensor) -> torch.Tensor:
    """Compute the inverse sine."""
    return torch.asin(x)


@op("atan")
def atan(x: torch.Tensor) -> torch.Tensor:
    """Compute the inverse tangent."""
    return torch.atan(x)


@op("atanh")
def atanh(x: torch.Tensor) -> torch.Tensor:
    """Compute the inverse hyperbolic tangent."""
    return torch.atanh(x)


# The declared type of the result does the casting; from float to integer Core ML truncates towards zero.
@op("cast", view=True)
def cast(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Change the type of every element to `dtype`."""
    return x != 0 if dtype == "bool" else x


@op("ceil", exact=True)
def ceil(x: torch.Tensor) -> torch.Tensor:
    """Round up."""
    return torch.ceil(x)


def _clip_inplace(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return x.clamp_(alpha, beta)


# Exact: the bounds have the type of x, so an fp16 program's bounds are fp16 numbers.
@op("clip", exact=True, inplace=_clip_inplace)
def clip(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """Limit every element to alpha..beta."""
    return x.clamp(alpha, beta)


@op("cos")
def cos(x: torch.Tensor) -> torch.Tensor:
    """Compute the cosine."""
    return torch.cos(x)


@op("cosh")
def cosh(x: torch.Tensor) -> torch.Tensor:
    """Compute the hyperbolic cosine."""
    return torch.cosh(x)


@op("erf")
def erf(x: torch.Tensor) -> torch.Tensor:
    """Compute the Gauss error function."""
    return torch.erf(x)


@op("exp", inplace=torch.exp_)
def exp(x: torch.Tensor) -> torch.Tensor:
    """Raise e to the power of x."""
    return torch.exp(x)


@op("exp2")
def exp2(x: torch.Tensor) -> torch.Tensor:
    """Raise 2 to the power of x."""
    return torch.exp2(x)


@op("floor", exact=True)
def floor(x: torch.Tensor) -> torch.Tensor:
    """Round down."""
    return torch.floor(x)


@op("inverse")
def inverse(x: torch.Tensor, epsilon: float = 1e-4) -> torch.Tensor:
    """Compute 1 / (x + epsilon)."""
    return (x + epsilon).reciprocal_()


@op("log")
def log(x: torch.Tensor, epsilon: float = 1e-45) -> torch.Tensor:
    """Compute the natural logarithm of x + epsilon."""
    return (x + epsilon).log_()


@op("logical_not")
def logical_not(x: torch.Tensor) -> torch.Tensor:
    """Negate truth."""
    return torch.logical_not(x)


# A half goes to the even neighbour: Apple's text says that 0.5 becomes 0, coremltools folds with NumPy's round.
@op("round", exact=True)
def nearest(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer."""
    return torch.round(x)


@op("rsqrt")
def rsqrt(x: torch.Tensor, epsilon: float = 1e-12) -> torch.Tensor:
    """Compute 1 / sqrt(x + epsilon)."""
    return (x + epsilon).rsqrt_()


@op("sign", exact=True)
def sign(x: torch.Tensor) -> torch.Tensor:
    """Return -1, 0 or 1."""
    return torch.sign(x)


@op("sin")
def sin(x: torch.Tensor) -> torch.Tensor:
    """Compute the sine."""
    return torch.sin(x)


@op("sinh")
def sinh(x: torch.Tensor) -> torch.Tensor:
    """Compute the hyperbolic sine."""
    return torch.sinh(x)


@op("sqrt")
def sqrt(x: torch.Tensor) -> torch.Tensor:
    """Compute the square root."""
    return torch.sqrt(x)


@op("square")
def square(x: torch.Tensor) -> torch.Tensor:
    """Multiply x by itself."""
    return torch.square(x)


@op("tan")
def tan(x: torch.Tensor) -> torch.Tensor:
    """Compute the tangent."""
    return torch.tan(x)


@op("tanh", inplace=torch.tanh_)
def tanh(x: torch.Tensor) -> torch.Tensor:
    """Compute the hyperbolic tangent."""
    return torch.tanh(x)


@op("threshold", exact=True)
def threshold(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Raise what is below alpha to alpha."""
    return torch.maximum(x, alpha)
