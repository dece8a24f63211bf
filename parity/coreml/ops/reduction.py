"""Reductions over axes. Source: coremltools' MIL definitions, family reduction."""

from __future__ import annotations

import torch

from parity.coreml.registry import op


def _axes(x: torch.Tensor, axes: tuple[int, ...] | None) -> list[int]:
    return list(axes) if axes else list(range(x.ndim))


@op("reduce_mean")
def reduce_mean(
    x: torch.Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False
) -> torch.Tensor:
    """Average over the axes; all of them where none are given."""
    return x.mean(_axes(x, axes), keepdim=keep_dims)
