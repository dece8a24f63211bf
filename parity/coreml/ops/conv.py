"""Convolutions. Source: coremltools' MIL definitions, family conv."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def same_padding(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    lower: bool,
) -> tuple[int, ...]:
    """Return (before, after) per axis so that the output has ceil(size / stride) elements.

    lower: an odd element of padding goes before the data (`same_lower`), not after it (`same`).
    """
    padding: list[int] = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        padding += [large, small] if lower else [small, large]
    return tuple(padding)


def pad_spatial(x: torch.Tensor, padding: tuple[int, ...], value: float = 0.0) -> torch.Tensor:
    """Pad the spatial axes of [N, C, *spatial]; padding is (before, after) per axis, in the axes' order."""
    if not any(padding):
        return x
    pairs = [padding[i : i + 2] for i in range(0, len(padding), 2)]
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)


@op("conv")
def conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """Convolve [N, C_in, *spatial] with [C_out, C_in / groups, *kernel]; one to three spatial axes."""
    rank = x.ndim - 2
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    padding = (0,) * (2 * rank)
    if pad_type == "custom":
        padding = pad or padding
    elif pad_type in ("same", "same_lower"):
        kernel = tuple(weight.shape[2:])
        padding = same_padding(tuple(x.shape[2:]), kernel, strides, dilations, lower=pad_type == "same_lower")
    if rank == 2 and x.ndim == 4:
        # Channels last is what the CPU kernels compute in; everything elementwise that follows keeps it.
        x = x.contiguous(memory_format=torch.channels_last)
    symmetric = padding[::2]
    if symmetric != padding[1::2]:
        x, symmetric = pad_spatial(x, padding), (0,) * rank
    return _CONV[rank](x, weight, bias, strides, symmetric, dilations, groups)
