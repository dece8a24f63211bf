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
# Top, bottom, left, right.
Sides = tuple[int, ...]


@layer("pooling")
def pooling(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pool [..., C, H, W] over windows, or over the whole image."""
    kind = params.PoolingType.Name(params.type)
    if params.globalPooling:
        return lambda x: _globally(x, kind)
    kernel = pair(params.kernelSize, 3, "kernelSize")
    stride = pair(params.stride, 1, "stride")
    padding_of = _padding(params, kernel, stride)
    exclude = bool(params.avgPoolExcludePadding)

    def pool(x: torch.Tensor) -> torch.Tensor:
        images = as_images(x)
        padding = padding_of((images.shape[-2], images.shape[-1]))
        if kind == "MAX":
            y = _max(images, kernel, stride, padding)
        elif kind == "AVERAGE":
            y = _average(images, kernel, stride, padding, exclude)
        else:
            y = F.avg_pool2d(pad_spatial(images.square(), padding), kernel, stride, divisor_override=1).sqrt_()
        return as_before(y, x)

    return pool


def _globally(x: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "MAX":
        return x.amax((-2, -1), keepdim=True)
    if kind == "AVERAGE":
        return x.mean((-2, -1), keepdim=True)
    return x.square().sum((-2, -1), keepdim=True).sqrt_()


def _padding(params: Any, kernel: Pair, stride: Pair) -> Callable[[Pair], Sides]:
    """Make the function from (height, width) to the padding.

    Where includeLastPixel lets the last window reach beyond the padding, this too counts as padding: Apple's
    runtime divides an average there by the whole window (apple/coremltools#2772, measured on macOS).
    """
    mode = params.WhichOneof("PoolingPaddingType")
    if mode == "same":
        lower = params.same.asymmetryMode == params.same.TOP_LEFT_HEAVY
        return lambda sizes: same_padding(sizes, kernel, stride, (1, 1), lower=lower)
    if mode == "valid":
        amounts = border(params.valid.paddingAmounts)
        return lambda _: amounts
    if mode is None:
        raise ValueError("the padding is none of `valid`, `same` and `includeLastPixel`")
    pads = pair(params.includeLastPixel.paddingAmounts, 0, "paddingAmounts")

    def complete(sizes: Pair) -> Sides:
        padding: list[int] = []
        for size, k, s, pad in zip(sizes, kernel, stride, pads, strict=True):
            count = -(-(size + 2 * pad - k) // s) + 1
            # With padding the last window has to begin inside the image or before it.
            if any(pads) and (count - 1) * s >= size + pad:
                count -= 1
            padding += [pad, max(pad, (count - 1) * s + k - size - pad)]
        return tuple(padding)

    return complete


def _plain(kernel: Pair, padding: Sides) -> bool:
    """Say whether torch's own padding can do it: the same on both sides, at most half of the kernel."""
    halves = all(2 * pad <= k for pad, k in zip(padding[::2], kernel, strict=True))
    return halves and padding[::2] == padding[1::2]


def _max(x: torch.Tensor, kernel: Pair, stride: Pair, padding: Sides) -> torch.Tensor:
    if _plain(kernel, padding):
        return F.max_pool2d(x, kernel, stride, padding[::2])
    return F.max_pool2d(pad_spatial(x, padding, -math.inf), kernel, stride)


def _average(x: torch.Tensor, kernel: Pair, stride: Pair, padding: Sides, exclude: bool) -> torch.Tensor:
    if _plain(kernel, padding):
        return F.avg_pool2d(x, kernel, stride, padding[::2], count_include_pad=not exclude)
    mean = F.avg_pool2d(pad_spatial(x, padding), kernel, stride)
    if not exclude:
        return mean
    # What part of each window is image.
    return mean / F.avg_pool2d(pad_spatial(torch.ones_like(x[:1, :1]), padding), kernel, stride)
