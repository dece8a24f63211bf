"""Spatial pooling. Source: NeuralNetwork.proto, PoolingLayerParams."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import as_before, as_images, border, pair
from parity.coreml.ops.conv import pad_spatial, same_padding
from parity.coreml.registry import layer

Pair = tuple[int, int]
# Padding (top, bottom, left, right), then how much further the last windows reach at the bottom and the right.
Extent = tuple[tuple[int, ...], tuple[int, int]]


@layer("pooling")
def pooling(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pool [..., C, H, W] over windows, or over the whole image."""
    kind = params.PoolingType.Name(params.type)
    if params.globalPooling:
        return lambda x: _globally(x, kind)
    kernel = pair(params.kernelSize, 3, "kernelSize")
    stride = pair(params.stride, 1, "stride")
    extent = _extent(params, kernel, stride)
    exclude = bool(params.avgPoolExcludePadding)

    def pool(x: torch.Tensor) -> torch.Tensor:
        images = as_images(x)
        padding, overshoot = extent((images.shape[-2], images.shape[-1]))
        if kind == "MAX":
            y = _max(images, kernel, stride, padding, overshoot)
        elif kind == "AVERAGE":
            y = _average(images, kernel, stride, padding, overshoot, exclude)
        else:
            y = _sum(pad_spatial(images.square(), _outward(padding, overshoot)), kernel, stride).sqrt_()
        return as_before(y, x)

    return pool


def _globally(x: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "MAX":
        return x.amax((-2, -1), keepdim=True)
    if kind == "AVERAGE":
        return x.mean((-2, -1), keepdim=True)
    return x.square().sum((-2, -1), keepdim=True).sqrt_()


def _extent(params: Any, kernel: Pair, stride: Pair) -> Callable[[Pair], Extent]:
    """Make the function from (height, width) to the padding and the overshoot."""
    mode = params.WhichOneof("PoolingPaddingType")
    if mode == "same":
        lower = params.same.asymmetryMode == params.same.TOP_LEFT_HEAVY
        return lambda sizes: (same_padding(sizes, kernel, stride, (1, 1), lower=lower), (0, 0))
    if mode == "valid":
        amounts = border(params.valid.paddingAmounts)
        return lambda _: (amounts, (0, 0))
    if mode is None:
        raise ValueError("the padding is none of `valid`, `same` and `includeLastPixel`")
    pads = pair(params.includeLastPixel.paddingAmounts, 0, "paddingAmounts")

    def complete(sizes: Pair) -> Extent:
        beyond = [0, 0]
        for axis, (size, k, s, pad) in enumerate(zip(sizes, kernel, stride, pads, strict=True)):
            count = -(-(size + 2 * pad - k) // s) + 1
            # The last window has to begin inside the image or its padding before it.
            if any(pads) and (count - 1) * s >= size + pad:
                count -= 1
            beyond[axis] = max(0, (count - 1) * s + k - size - 2 * pad)
        return (pads[0], pads[0], pads[1], pads[1]), (beyond[0], beyond[1])

    return complete


def _outward(padding: tuple[int, ...], overshoot: Pair) -> tuple[int, ...]:
    top, bottom, left, right = padding
    return top, bottom + overshoot[0], left, right + overshoot[1]


def _plain(kernel: Pair, padding: tuple[int, ...], overshoot: Pair) -> bool:
    """Say whether torch's own padding can do it: the same on both sides, at most half of the kernel."""
    return (
        overshoot == (0, 0)
        and padding[::2] == padding[1::2]
        and all(2 * pad <= k for pad, k in zip(padding[::2], kernel, strict=True))
    )


def _max(x: torch.Tensor, kernel: Pair, stride: Pair, padding: tuple[int, ...], overshoot: Pair) -> torch.Tensor:
    if _plain(kernel, padding, overshoot):
        return F.max_pool2d(x, kernel, stride, padding[::2])
    return F.max_pool2d(pad_spatial(x, _outward(padding, overshoot), -math.inf), kernel, stride)


def _average(
    x: torch.Tensor, kernel: Pair, stride: Pair, padding: tuple[int, ...], overshoot: Pair, exclude: bool
) -> torch.Tensor:
    if _plain(kernel, padding, overshoot):
        return F.avg_pool2d(x, kernel, stride, padding[::2], count_include_pad=not exclude)
    total = _sum(pad_spatial(x, _outward(padding, overshoot)), kernel, stride)
    counted = pad_spatial(torch.ones_like(x[:1, :1]), padding, 0.0 if exclude else 1.0)
    # Beyond the padding there is nothing to count.
    return total / _sum(pad_spatial(counted, _outward((0, 0, 0, 0), overshoot)), kernel, stride)


def _sum(x: torch.Tensor, kernel: Pair, stride: Pair) -> torch.Tensor:
    return F.avg_pool2d(x, kernel, stride, divisor_override=1)
