"""Quantisation of activations. Source: coremltools' MIL definitions, family quantization_ops."""

from __future__ import annotations

import torch

from parity.coreml.registry import op

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def along_axis(parameter: torch.Tensor, like: torch.Tensor, axis: int) -> torch.Tensor:
    """Reshape a vector to lie along one axis of another tensor; a scalar stays."""
    return parameter.reshape(-1, *(1,) * (like.ndim - 1 - axis % like.ndim)) if parameter.ndim else parameter


@op("quantize", since="iOS17")
def quantize(
    input: torch.Tensor,  # noqa: A002 - Apple's name
    scale: torch.Tensor,
    output_dtype: str,
    zero_point: torch.Tensor | None = None,
    axis: int = 0,
) -> torch.Tensor:
    """Compute round(input / scale) + zero_point within output_dtype; halves go to the even neighbour.

    scale, zero_point: one number, or one for each element of `axis`.
    """
    steps = (input / along_axis(scale, input, axis)).round_()
    if zero_point is not None:
        steps = steps + along_axis(zero_point, input, axis)
    return steps.clamp(*_RANGES[output_dtype])


@op("dequantize", since="iOS17")
def dequantize(
    input: torch.Tensor,  # noqa: A002 - Apple's name
    scale: torch.Tensor,
    zero_point: torch.Tensor | None = None,
    axis: int = 0,
) -> torch.Tensor:
    """Compute scale * (input - zero_point).

    scale, zero_point: one number, or one for each element of `axis`.
    """
    steps = input if zero_point is None else input - along_axis(zero_point, input, axis)
    return steps * along_axis(scale, input, axis)
