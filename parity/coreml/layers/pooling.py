"""Spatial pooling. Source: NeuralNetwork.proto, PoolingLayerParams to GlobalPooling3DLayerParams."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import as_before, as_images, border, custom_padding, pair, triple
from parity.coreml.ops.conv import pad_spatial, same_padding
from parity.coreml.registry import Prepared, layer

# Height and width, or depth, height and width.
Sizes = tuple[int, ...]
# Before and after, for each axis.
Sides = tuple[int, ...]

_MAX = {4: F.max_pool2d, 5: F.max_pool3d}
_AVERAGE = {4: F.avg_pool2d, 5: F.avg_pool3d}


@layer("pooling")
def pooling(params: Any) -> Prepared:
    """Pool [..., C, H, W] over windows, or over the whole image."""
    kind = params.PoolingType.Name(params.type)
    if params.globalPooling:
        return Prepared(lambda x: _globally(x, kind, (-2, -1)), role="reduce_mean" if kind == "AVERAGE" else "")
    kernel = pair(params.kernelSize, 3, "kernelSize")
    stride = pair(params.stride, 1, "stride")
    padding_of = _padding(params, kernel, stride)
    exclude = bool(params.avgPoolExcludePadding)

    pool = partial(_pool, kind=kind, kernel=kernel, stride=stride, padding_of=padding_of, exclude=exclude)
    return Prepared(pool, role={"MAX": "max_pool", "AVERAGE": "avg_pool"}.get(kind, ""))


@layer("pooling3d")
def pooling3d(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pool [..., C, D, H, W] over windows."""
    mode = params.Pooling3DPaddingType.Name(params.paddingType)
    kernel, stride = triple(params, "kernel"), triple(params, "stride")
    amounts = custom_padding(params) if mode == "CUSTOM" else (0,) * 6

    def padding_of(sizes: Sizes) -> Sides:
        return same_padding(sizes, kernel, stride, (1, 1, 1), lower=False) if mode == "SAME" else amounts

    return partial(
        _pool,
        kind=params.PoolingType3D.Name(params.type),
        kernel=kernel,
        stride=stride,
        padding_of=padding_of,
        exclude=bool(params.countExcludePadding),
    )


@layer("globalPooling3d")
def global_pooling3d(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pool [..., C, D, H, W] over the whole volume."""
    kind = params.GlobalPoolingType3D.Name(params.type)
    return lambda x: _globally(x, kind, (-3, -2, -1))


def _pool(
    x: torch.Tensor,
    kind: str,
    kernel: Sizes,
    stride: Sizes,
    padding_of: Callable[[Sizes], Sides],
    exclude: bool,
) -> torch.Tensor:
    images = as_images(x, len(kernel) + 2)
    padding = padding_of(tuple(images.shape[2:]))
    if kind == "MAX":
        y = _max(images, kernel, stride, padding)
    elif kind == "AVERAGE":
        y = _average(images, kernel, stride, padding, exclude)
    else:
        y = F.avg_pool2d(pad_spatial(images.square(), padding), kernel, stride, divisor_override=1).sqrt_()
    return as_before(y, x)


def _globally(x: torch.Tensor, kind: str, axes: tuple[int, ...]) -> torch.Tensor:
    if kind == "MAX":
        return x.amax(axes, keepdim=True)
    if kind == "AVERAGE":
        return x.mean(axes, keepdim=True)
    return x.square().sum(axes, keepdim=True).sqrt_()


def _padding(params: Any, kernel: Sizes, stride: Sizes) -> Callable[[Sizes], Sides]:
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

    def complete(sizes: Sizes) -> Sides:
        padding: list[int] = []
        for size, k, s, pad in zip(sizes, kernel, stride, pads, strict=True):
            count = -(-(size + 2 * pad - k) // s) + 1
            # With padding the last window has to begin inside the image or before it.
            if any(pads) and (count - 1) * s >= size + pad:
                count -= 1
            padding += [pad, max(pad, (count - 1) * s + k - size - pad)]
        return tuple(padding)

    return complete


def _plain(kernel: Sizes, padding: Sides) -> bool:
    """Say whether torch's own padding can do it: the same on both sides, at most half of the kernel."""
    halves = all(2 * pad <= k for pad, k in zip(padding[::2], kernel, strict=True))
    return halves and padding[::2] == padding[1::2]


def _max(x: torch.Tensor, kernel: Sizes, stride: Sizes, padding: Sides) -> torch.Tensor:
    pool = _MAX[x.ndim]
    if _plain(kernel, padding):
        return pool(x, kernel, stride, padding[::2])
    return pool(pad_spatial(x, padding, -math.inf), kernel, stride)


def _average(x: torch.Tensor, kernel: Sizes, stride: Sizes, padding: Sides, exclude: bool) -> torch.Tensor:
    pool = _AVERAGE[x.ndim]
    if _plain(kernel, padding):
        return pool(x, kernel, stride, padding[::2], count_include_pad=not exclude)
    mean = pool(pad_spatial(x, padding), kernel, stride)
    if not exclude:
        return mean
    # What part of each window is image.
    return mean / pool(pad_spatial(torch.ones_like(x[:1, :1]), padding), kernel, stride)
