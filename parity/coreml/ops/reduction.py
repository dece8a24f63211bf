"""Reductions over axes. Source: coremltools' MIL definitions, family reduction.

Integers are reduced in integers where that is exact, else in float64; the result is cut to an integer.
"""

from __future__ import annotations

import torch

from parity.coreml.registry import op

Axes = tuple[int, ...] | None


def _axes(x: torch.Tensor, axes: Axes) -> list[int]:
    return list(axes) if axes else list(range(x.ndim))


def _real(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_floating_point() else x.to(torch.float64)


# The declared type of an index is output_dtype already.
@op("reduce_argmax")
def reduce_argmax(
    x: torch.Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> torch.Tensor:
    """Return the index of the largest element along one axis; the first of equals wins."""
    return x.argmax(axis, keep_dims)


@op("reduce_argmin")
def reduce_argmin(
    x: torch.Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> torch.Tensor:
    """Return the index of the smallest element along one axis; the first of equals wins."""
    return x.argmin(axis, keep_dims)


@op("reduce_l1_norm")
def reduce_l1_norm(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Add up the magnitudes."""
    return x.abs().sum(_axes(x, axes), keepdim=keep_dims)


@op("reduce_l2_norm")
def reduce_l2_norm(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Compute the square root of the sum of squares."""
    norm: torch.Tensor = torch.linalg.vector_norm(_real(x), dim=_axes(x, axes), keepdim=keep_dims)
    return norm


@op("reduce_log_sum")
def reduce_log_sum(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Compute the logarithm of the sum."""
    return _real(x).sum(_axes(x, axes), keepdim=keep_dims).log_()


@op("reduce_log_sum_exp")
def reduce_log_sum_exp(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Compute the logarithm of the sum of exp(x), shifted by the maximum so that nothing overflows."""
    return _real(x).logsumexp(_axes(x, axes), keepdim=keep_dims)


@op("reduce_max", exact=True)
def reduce_max(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Take the largest element."""
    return x.amax(_axes(x, axes), keepdim=keep_dims)


@op("reduce_mean")
def reduce_mean(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Average over the axes; all of them by default."""
    return _real(x).mean(_axes(x, axes), keepdim=keep_dims)


@op("reduce_min", exact=True)
def reduce_min(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Take the smallest element."""
    return x.amin(_axes(x, axes), keepdim=keep_dims)


@op("reduce_prod")
def reduce_prod(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Multiply over the axes."""
    reduced = sorted(axis % x.ndim for axis in _axes(x, axes))
    kept = [axis for axis in range(x.ndim) if axis not in reduced]
    product = x.permute(*kept, *reduced).flatten(len(kept)).prod(-1)
    return (
        product.reshape([1 if axis in reduced else n for axis, n in enumerate(x.shape)]) if keep_dims else product
    )


@op("reduce_sum")
def reduce_sum(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Add up over the axes."""
    return x.sum(_axes(x, axes), keepdim=keep_dims)


@op("reduce_sum_square")
def reduce_sum_square(x: torch.Tensor, axes: Axes = None, keep_dims: bool = False) -> torch.Tensor:
    """Add up the squares."""
    return x.square().sum(_axes(x, axes), keepdim=keep_dims)
