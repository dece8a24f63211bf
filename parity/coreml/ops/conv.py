"""Convolutions. Source: coremltools' MIL definitions, family conv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from parity.core.errors import CoreMLError
from parity.coreml.registry import op
from parity.coreml.running.packing import Convolution, Pointwise, gain, make_convolution

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def window_padding(
    pad_type: str,
    pad: tuple[int, ...] | None,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    """Return (before, after) per axis for `pad_type`; `pad` counts only where that is `custom`."""
    if pad_type == "custom":
        return pad or (0,) * (2 * len(sizes))
    if pad_type in ("same", "same_lower"):
        return same_padding(sizes, kernel, strides, dilations, lower=pad_type == "same_lower")
    return (0,) * (2 * len(sizes))


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
    """Pad the spatial axes of [N, C, *spatial]; padding is (before, after) per axis, a negative one crops."""
    if not any(padding):
        return x
    pairs = [padding[i : i + 2] for i in range(0, len(padding), 2)]
    return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)


def _quick(x: torch.Tensor) -> torch.Tensor:
    """Lay out [N, C, H, W] as the CPU kernels compute; everything elementwise that follows keeps it."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@dataclass(frozen=True)
class _GeneralConvolution:
    """Convolve with stored weights and padding that follows from the size of the image, or with other axes."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    options: Mapping[str, Any]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return conv(x, self.weight, self.bias, **self.options)

    def gain(self) -> tuple[float, float]:
        return gain(self.weight, self.bias)


def _prepare_conv(
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Convolution | Pointwise | _GeneralConvolution:
    """Prepare what most convolutions of classifiers are: two axes, padded alike on both sides of each."""
    padding = (pad or (0,) * 4) if pad_type == "custom" else (0,) * 4
    if weight.ndim != 4 or pad_type not in ("custom", "valid") or padding[::2] != padding[1::2]:
        options = {"strides": strides, "pad_type": pad_type, "pad": pad, "dilations": dilations, "groups": groups}
        return _GeneralConvolution(weight, bias, options)
    return make_convolution(weight, bias, strides or (1, 1), padding[::2], dilations or (1, 1), groups)


@op("conv", prepare=_prepare_conv)
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
    sizes = tuple(map(int, x.shape[2:]))  # numbers for a compiler too
    padding = window_padding(pad_type, pad, sizes, tuple(weight.shape[2:]), strides, dilations)
    x = _quick(x)
    symmetric = padding[::2]
    if symmetric != padding[1::2]:
        x, symmetric = pad_spatial(x, padding), (0,) * rank
    return _CONV[rank](x, weight, bias, strides, symmetric, dilations, groups)


@op("conv_quantized")
def conv_quantized(
    x: torch.Tensor,
    weight: torch.Tensor,
    quantization_type: str,
    quant_scale: torch.Tensor,
    quant_bias: torch.Tensor,
    bias: torch.Tensor | None = None,
    nbits: int = 8,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """Convolve with weight * quant_scale + quant_bias; both are one number, or one for each output channel.

    nbits: how many bits of a weight are in use; the weights themselves are bytes.
    """
    if quantization_type != "linear":
        raise CoreMLError(
            f"conv_quantized with quantization_type `{quantization_type}`: Apple defines no parameter for a table; "
            "allowed is linear: convert with weights from constexpr_lut_to_dense"
        )
    along = (-1, *(1,) * (weight.ndim - 1))
    real = weight * quant_scale.reshape(along) + quant_bias.reshape(along)
    shift = None if bias is None else bias.to(real.dtype)
    return conv(x, real, shift, strides, pad_type, pad, dilations, groups)


@op("conv_transpose")
def conv_transpose(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    pad: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    strides: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """Undo the striding of a convolution; x [N, C_in, *spatial], weight [C_in, C_out / groups, *kernel].

    output_shape: the whole shape of the result; says which of the sizes is meant that a convolution makes equal.
    """
    rank = x.ndim - 2
    strides = strides or (1,) * rank
    dilations = dilations or (1,) * rank
    # The whole result first, then what lies outside the output is cut off, and what it lacks is empty.
    full = _CONV_TRANSPOSE[rank](_quick(x), weight, None, strides, 0, 0, groups, dilations)
    crops: list[int] = []
    for axis in range(rank):
        size = full.shape[2 + axis]
        before, after = pad[2 * axis : 2 * axis + 2] if pad_type == "custom" and pad else (0, 0)
        wanted = size - before - after
        if output_shape:
            wanted = output_shape[-rank + axis]
        elif pad_type == "same":
            wanted = x.shape[2 + axis] * strides[axis]
        if pad_type == "same":
            before = max(0, size - wanted) // 2
        crops += [-before, wanted - (size - before)]
    result = pad_spatial(full, tuple(crops))
    return result if bias is None else result.add_(bias.reshape(-1, *(1,) * rank))
