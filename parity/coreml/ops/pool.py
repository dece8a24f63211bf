"""Pooling. Source: coremltools' MIL definitions, family pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from parity.coreml.ops.conv import pad_spatial, window_padding
from parity.coreml.registry import op

_MAX_POOL: Mapping[int, Callable[..., torch.Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: Mapping[int, Callable[..., torch.Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _paddings(
    x: torch.Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pad_type: str,
    pad: tuple[int, ...] | None,
    ceil_mode: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding, and the padding that also reaches as far as the last window of ceil_mode."""
    sizes = tuple(map(int, x.shape[2:]))  # numbers for a compiler too
    padding = window_padding(pad_type, pad, sizes, kernel_sizes, strides, (1,) * len(sizes))
    if not ceil_mode:
        return padding, padding
    reaching: list[int] = []
    for axis, (size, kernel, stride) in enumerate(zip(sizes, kernel_sizes, strides, strict=True)):
        before, after = padding[2 * axis : 2 * axis + 2]
        count = -(-(size + before + after - kernel) // stride) + 1
        # Apple drops a last window that begins beyond the data only where there is padding; PyTorch always.
        if before + after > 0 and (count - 1) * stride >= size + before:
            count -= 1
        reaching += [before, max(after, (count - 1) * stride + kernel - size - before)]
    return padding, tuple(reaching)


def _native(padding: tuple[int, ...], reaching: tuple[int, ...], kernel_sizes: tuple[int, ...]) -> bool:
    """Tell whether torch's pooling does this padding itself: symmetric, at most half a window, none beyond."""
    return all(
        before == after and 2 * before <= kernel and far - after < kernel
        for before, after, far, kernel in zip(
            padding[::2], padding[1::2], reaching[1::2], kernel_sizes, strict=True
        )
    )


@op("avg_pool")
def avg_pool(
    x: torch.Tensor,
    kernel_sizes: tuple[int, ...],
    pad_type: str,
    strides: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Average over windows of [N, C, *spatial].

    What ceil_mode adds at the end counts as padding. Apple's text says "same as PyTorch's ceil mode", where it
    never counts, but its runtime divides by the whole window (apple/coremltools#2772, measured on macOS).
    """
    rank = x.ndim - 2
    strides = strides or (1,) * rank
    padding, reaching = _paddings(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    native = _native(padding, reaching, kernel_sizes)
    if native and exclude_padding_from_average:
        return _AVG_POOL[rank](x, kernel_sizes, strides, padding[::2], ceil_mode, False)
    if native and padding == reaching:
        return _AVG_POOL[rank](x, kernel_sizes, strides, padding[::2], False, True)
    total = _AVG_POOL[rank](pad_spatial(x, reaching), kernel_sizes, strides)
    if not exclude_padding_from_average:
        return total
    counted = pad_spatial(x.new_ones(1, 1, *x.shape[2:]), reaching)
    return total / _AVG_POOL[rank](counted, kernel_sizes, strides)


@op("l2_pool")
def l2_pool(
    x: torch.Tensor,
    kernel_sizes: tuple[int, ...],
    pad_type: str,
    strides: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Compute the square root of the sum of squares over windows of [N, C, *spatial]; one or two spatial axes."""
    rank = x.ndim - 2
    strides = strides or (1,) * rank
    _, reaching = _paddings(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean = _AVG_POOL[rank](pad_spatial(x, reaching).square(), kernel_sizes, strides)
    return mean.mul_(torch.Size(kernel_sizes).numel()).sqrt_()


@op("max_pool", exact=True)
def max_pool(
    x: torch.Tensor,
    kernel_sizes: tuple[int, ...],
    pad_type: str,
    strides: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Take the largest element of windows of [N, C, *spatial]; padding is never it."""
    rank = x.ndim - 2
    strides = strides or (1,) * rank
    padding, reaching = _paddings(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if _native(padding, reaching, kernel_sizes):
        return _MAX_POOL[rank](x, kernel_sizes, strides, padding[::2], ceil_mode=ceil_mode)
    return _MAX_POOL[rank](pad_spatial(x, reaching, -torch.inf), kernel_sizes, strides)
