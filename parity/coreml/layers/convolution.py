"""Convolution and deconvolution. Source: NeuralNetwork.proto, ConvolutionLayerParams."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import as_before, as_images, border, pair, read_bias, read_weights
from parity.coreml.ops.conv import pad_spatial, same_padding
from parity.coreml.registry import layer

Pair = tuple[int, int]


@layer("convolution")
def convolution(params: Any, layer: Any) -> Callable[..., torch.Tensor]:
    """Convolve [..., C, H, W]; the weights may come as a second input [C_out, C_in / groups, kh, kw]."""
    kernel = pair(params.kernelSize, 3, "kernelSize")
    stride = pair(params.stride, 1, "stride")
    dilation = pair(params.dilationFactor, 1, "dilationFactor")
    groups = int(params.nGroups) or 1
    channels = int(params.outputChannels)
    if params.WhichOneof("ConvolutionPaddingType") is None and not params.outputShape:
        raise ValueError("the padding is neither `valid` nor `same`")
    if params.isDeconvolution:
        shape = (params.kernelChannels, channels // groups, *kernel)
        return partial(
            _deconvolve,
            weight=read_weights(params.weights, shape, "weights", axis=1),
            bias=read_bias(params, channels),
            stride=stride,
            dilation=dilation,
            groups=groups,
            crop=_crop(params),
        )
    convolve = partial(
        _convolve,
        bias=read_bias(params, channels),
        stride=stride,
        padding=_padding(params, kernel, stride, dilation),
        dilation=dilation,
        groups=groups,
    )
    if len(layer.input) == 2:
        return convolve
    weight = read_weights(params.weights, (channels, params.kernelChannels, *kernel), "weights")
    return partial(convolve, weight=weight.contiguous(memory_format=torch.channels_last))


def _padding(
    params: Any, kernel: Pair, stride: Pair, dilation: Pair
) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """Make the function from (height, width) to the padding (top, bottom, left, right)."""
    if params.WhichOneof("ConvolutionPaddingType") == "same":
        lower = params.same.asymmetryMode == params.same.TOP_LEFT_HEAVY
        return lambda sizes: same_padding(sizes, kernel, stride, dilation, lower=lower)
    amounts = border(params.valid.paddingAmounts)
    return lambda _: amounts


def _convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Pair,
    padding: Callable[[tuple[int, ...]], tuple[int, ...]],
    dilation: Pair,
    groups: int,
) -> torch.Tensor:
    # Channels last is what the CPU kernels compute in; everything that follows keeps it.
    images = as_images(x).contiguous(memory_format=torch.channels_last)
    amounts = padding(tuple(images.shape[2:]))
    symmetric = amounts[::2]
    if symmetric != amounts[1::2]:
        images, symmetric = pad_spatial(images, amounts), (0, 0)
    return as_before(F.conv2d(images, weight, bias, stride, symmetric, dilation, groups), x)


def _crop(params: Any) -> Callable[[tuple[int, ...], tuple[int, ...]], list[int]]:
    """Make the function from (full sizes, input sizes) to what is cut off (top, bottom, left, right).

    A cut below zero adds zeros. `outputShape` decides where it is set; the amounts of `valid` then still
    say on which side, provided that they lead to that shape: coremltools writes both.
    """
    amounts = border(params.valid.paddingAmounts)
    same = params.WhichOneof("ConvolutionPaddingType") == "same"
    lower = same and params.same.asymmetryMode == params.same.TOP_LEFT_HEAVY
    wanted = tuple(int(size) for size in params.outputShape)
    stride = pair(params.stride, 1, "stride")
    if wanted and len(wanted) != 2:
        raise ValueError(f"`outputShape` has {len(wanted)} values; two are defined, height and width")

    def crop(full: tuple[int, ...], sizes: tuple[int, ...]) -> list[int]:
        if not wanted and not same:
            return list(amounts)
        cuts: list[int] = []
        for axis in (0, 1):
            given = amounts[2 * axis : 2 * axis + 2]
            total = full[axis] - (wanted[axis] if wanted else sizes[axis] * stride[axis])
            if wanted and not same and total == sum(given):
                cuts += given
                continue
            # What is missing is added at the end.
            small = max(total, 0) // 2
            cuts += [total - small, small] if lower and total > 0 else [small, total - small]
        return cuts

    return crop


def _deconvolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Pair,
    dilation: Pair,
    groups: int,
    crop: Callable[[tuple[int, ...], tuple[int, ...]], list[int]],
) -> torch.Tensor:
    # NeuralNetwork.proto says that the dilation is ignored here, but Apple's own shape inference and the converter
    # that writes these layers count with it.
    images = as_images(x)
    full = F.conv_transpose2d(images, weight, None, stride, groups=groups, dilation=dilation)
    cuts = crop(tuple(full.shape[2:]), tuple(images.shape[2:]))
    y = pad_spatial(full, tuple(-cut for cut in cuts))
    if bias is not None:
        y = y.add_(bias.reshape(-1, 1, 1))
    return as_before(y, x)
