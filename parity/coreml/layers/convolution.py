"""Convolution and deconvolution. Source: NeuralNetwork.proto, convolution and convolution3d."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import (
    as_before,
    as_images,
    border,
    custom_padding,
    pair,
    read_bias,
    read_weights,
    triple,
)
from parity.coreml.ops.conv import pad_spatial, same_padding
from parity.coreml.registry import Prepared, layer
from parity.coreml.running.packing import Convolution, Pointwise, gain, make_convolution

_CONVOLUTIONS = {4: F.conv2d, 5: F.conv3d}
_DECONVOLUTIONS = {4: F.conv_transpose2d, 5: F.conv_transpose3d}


@dataclass(frozen=True)
class _Window:
    """Hold how a kernel moves over the spatial axes, with a number for each.

    same: the padding follows from the sizes, with an odd element of it first where `lower`; else it is `amounts`,
        (before, after) for each axis. A deconvolution cuts off what a convolution pads.
    wanted: the sizes that a deconvolution is to have; empty where the padding says.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    same: bool
    lower: bool
    amounts: tuple[int, ...]
    wanted: tuple[int, ...]


@layer("convolution")
def convolution(params: Any, layer: Any) -> Prepared | Callable[..., torch.Tensor]:
    """Convolve [..., C, H, W]; the weights may come as a second input [C_out, C_in / groups, kh, kw]."""
    mode = params.WhichOneof("ConvolutionPaddingType")
    if mode is None and not params.outputShape:
        raise ValueError("the padding is neither `valid` nor `same`")
    window = _Window(
        kernel=pair(params.kernelSize, 3, "kernelSize"),
        stride=pair(params.stride, 1, "stride"),
        dilation=pair(params.dilationFactor, 1, "dilationFactor"),
        groups=int(params.nGroups) or 1,
        same=mode == "same",
        lower=mode == "same" and params.same.asymmetryMode == params.same.TOP_LEFT_HEAVY,
        amounts=border(params.valid.paddingAmounts),
        wanted=_wanted(params, ("height", "width")),
    )
    channels, kernel_channels = int(params.outputChannels), int(params.kernelChannels)
    if params.isDeconvolution:
        weight = _transposed_weight(params, kernel_channels, channels, window)
        return partial(_deconvolve, weight=weight, bias=read_bias(params, channels), window=window)
    bias = read_bias(params, channels)
    convolve = partial(_convolve, bias=bias, window=window)
    if len(layer.input) == 2:
        return convolve
    weight = _weight(params, (channels, kernel_channels, *window.kernel))
    if window.same or window.amounts[::2] != window.amounts[1::2]:
        weight = weight.contiguous(memory_format=torch.channels_last)
        return Prepared(partial(convolve, weight=weight), role="conv", gain=lambda: gain(weight, bias))
    prepared = make_convolution(
        weight,
        bias,
        window.stride,
        window.amounts[::2],
        window.dilation,
        window.groups,
    )
    return _on_images(prepared)


def _on_images(convolve: Convolution | Pointwise) -> Prepared:
    return Prepared(
        lambda x: as_before(convolve(as_images(x, 4)), x),
        role="conv",
        gain=convolve.gain,
        padded=lambda zeros: _on_images(convolve.padded(zeros)),
    )


@layer("convolution3d")
def convolution3d(params: Any) -> Callable[..., torch.Tensor]:
    """Convolve [..., C, D, H, W]."""
    mode = params.PaddingType.Name(params.paddingType)
    window = _Window(
        kernel=triple(params, "kernel"),
        stride=triple(params, "stride"),
        dilation=triple(params, "dilation"),
        groups=int(params.nGroups) or 1,
        same=mode == "SAME",
        lower=False,
        amounts=custom_padding(params) if mode == "CUSTOM" else (0,) * 6,
        wanted=_wanted(params, ("depth", "height", "width")),
    )
    channels, inputs = int(params.outputChannels), int(params.inputChannels)
    bias = read_bias(params, channels)
    if params.isDeconvolution:
        # The input channels come first: coremltools' builder writes them so, other than the specification says.
        weight = _transposed_weight(params, inputs, channels, window)
        return partial(_deconvolve, weight=weight, bias=bias, window=window)
    weight = _weight(params, (channels, inputs // window.groups, *window.kernel))
    return partial(_convolve, weight=weight, bias=bias, window=window)


def _weight(params: Any, shape: tuple[int, ...]) -> torch.Tensor:
    return read_weights(params.weights, shape, "weights")


def _transposed_weight(params: Any, inputs: int, outputs: int, window: _Window) -> torch.Tensor:
    """Read the weights [C_in, C_out / groups, *kernel] of a deconvolution."""
    groups = window.groups
    if inputs % groups or outputs % groups:
        raise ValueError(f"{inputs} channels in and {outputs} out cannot be divided into {groups} groups")
    shape = (groups, inputs // groups, outputs // groups, *window.kernel)
    return read_weights(params.weights, shape, "weights", axes=(0, 2)).flatten(0, 1)


def _wanted(params: Any, names: tuple[str, ...]) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in params.outputShape)
    if sizes and len(sizes) != len(names):
        raise ValueError(f"`outputShape` has {len(sizes)} values; {len(names)} are defined: {', '.join(names)}")
    return sizes


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: _Window) -> torch.Tensor:
    rank = weight.ndim
    images = as_images(x, rank)
    if rank == 4:
        # Channels last is what the CPU kernels compute in; everything that follows keeps it.
        images = images.contiguous(memory_format=torch.channels_last)
    amounts = window.amounts
    if window.same:
        sizes = tuple(images.shape[2:])
        amounts = same_padding(sizes, window.kernel, window.stride, window.dilation, lower=window.lower)
    symmetric = amounts[::2]
    if symmetric != amounts[1::2]:
        images, symmetric = pad_spatial(images, amounts), (0,) * len(symmetric)
    y = _CONVOLUTIONS[rank](images, weight, bias, window.stride, symmetric, window.dilation, window.groups)
    return as_before(y, x)


def _deconvolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: _Window) -> torch.Tensor:
    # NeuralNetwork.proto says that the dilation is ignored here, but Apple's own shape inference and the converter
    # that writes these layers count with it.
    rank = weight.ndim
    images = as_images(x, rank)
    full = _DECONVOLUTIONS[rank](
        images, weight, None, window.stride, groups=window.groups, dilation=window.dilation
    )
    cuts = _cuts(window, tuple(full.shape[2:]), tuple(images.shape[2:]))
    y = pad_spatial(full, tuple(-cut for cut in cuts))
    if bias is not None:
        y = y.add_(bias.reshape(-1, *(1,) * (rank - 2)))
    return as_before(y, x)


def _cuts(window: _Window, full: tuple[int, ...], sizes: tuple[int, ...]) -> list[int]:
    """Return what is cut off of the full sizes, (before, after) for each axis; below zero it is added as zeros.

    `outputShape` decides where it is set; the amounts then still say on which side, provided that they lead to that
    shape: coremltools writes both.
    """
    if not window.wanted and not window.same:
        return list(window.amounts)
    cuts: list[int] = []
    for axis, (size, n, stride) in enumerate(zip(full, sizes, window.stride, strict=True)):
        sides = window.amounts[2 * axis : 2 * axis + 2]
        total = size - (window.wanted[axis] if window.wanted else n * stride)
        if window.wanted and not window.same and total == sum(sides):
            cuts += sides
            continue
        # What is missing is added at the end.
        small = max(total, 0) // 2
        cuts += [total - small, small] if window.lower and total > 0 else [small, total - small]
    return cuts
