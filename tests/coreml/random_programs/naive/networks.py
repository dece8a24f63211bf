"""Twins of what networks are made of: products, convolutions, pooling, resizing, attention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tests.coreml.random_programs.twins import twin_of

Sizes = Sequence[int]


@twin_of("linear")
def linear(x: Any, weight: Any, bias: Any = 0.0) -> Any:
    return (x[..., None, :] * weight).sum(-1) + bias


@twin_of("matmul")
def matmul(x: Any, y: Any, transpose_x: bool, transpose_y: bool) -> Any:
    x = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    y = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    rows, columns = x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    product = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    product = product[..., 0, :] if x.ndim == 1 else product
    return product[..., 0] if y.ndim == 1 else product


@twin_of("einsum")
def einsum(values: Sequence[Any], equation: str) -> Any:
    return np.einsum(equation, *values)


def _around(sizes: Sizes, reach: Sizes, strides: Sizes, pad_type: str, pad: Sizes) -> list[tuple[int, int]]:
    """Return how much is padded before and after each axis; reach: what a window covers."""
    if pad_type == "custom":
        return [(int(pad[2 * i]), int(pad[2 * i + 1])) for i in range(len(sizes))]
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    padding = []
    for n, r, s in zip(sizes, reach, strides, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * s + r - n)
        half = total // 2
        padding.append((half, total - half) if pad_type == "same" else (total - half, half))
    return padding


def _padded(x: Any, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    """Pad the last axes."""
    whole = [(0, 0)] * (x.ndim - len(padding)) + [(max(0, b), max(0, a)) for b, a in padding]
    return np.pad(x, whole, constant_values=value)


def _windows(x: Any, kernel: Sizes, strides: Sizes, dilations: Sizes) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Go through the places of a window, each with the elements that lie there in all windows."""
    counts = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    for place in itertools.product(*(range(k) for k in kernel)):
        cuts = [
            slice(p * d, p * d + (c - 1) * s + 1, s)
            for p, d, c, s in zip(place, dilations, counts, strides, strict=True)
        ]
        yield place, x[(slice(None), slice(None), *cuts)]


@twin_of("conv")
def conv(
    x: Any, weight: Any, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: int, bias: Any = None
) -> Any:
    kernel = weight.shape[2:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x = _padded(x, _around(x.shape[2:], reach, strides, pad_type, pad))
    parts = []
    for group, filters in enumerate(np.split(weight, groups)):
        first = group * weight.shape[1]
        mine = x[:, first : first + weight.shape[1]]
        windows = _windows(mine, kernel, strides, dilations)
        parts.append(
            sum(np.einsum("nc...,oc->no...", part, filters[(slice(None), slice(None), *p)]) for p, part in windows)
        )
    result = np.concatenate(parts, 1)
    return result if bias is None else result + np.reshape(bias, (-1,) + (1,) * len(kernel))


@twin_of("conv_transpose")
def conv_transpose(
    x: Any,
    weight: Any,
    pad_type: str,
    strides: Any,
    dilations: Any,
    groups: int,
    pad: Any = None,
    bias: Any = None,
    output_shape: Any = None,
) -> Any:
    kernel, sizes = weight.shape[2:], x.shape[2:]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(sizes, strides, kernel, dilations, strict=True)]
    outputs = weight.shape[1]
    result = np.zeros((len(x), groups * outputs, *full))
    each = x.shape[1] // groups
    for group in range(groups):
        mine, filters = x[:, group * each :][:, :each], weight[group * each :][:each]
        for place in itertools.product(*(range(k) for k in kernel)):
            cuts = [
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(place, dilations, sizes, strides, strict=True)
            ]
            spread = np.einsum("nc...,co->no...", mine, filters[(slice(None), slice(None), *place)])
            result[(slice(None), slice(group * outputs, (group + 1) * outputs), *cuts)] += spread
    wanted = [n * s for n, s in zip(sizes, strides, strict=True)] if pad_type == "same" else None
    for axis in range(len(kernel)):
        before, after = (int(p) for p in pad[2 * axis : 2 * axis + 2]) if pad_type == "custom" else (0, 0)
        if wanted:
            # An odd element is cut off at the end; what lacks is empty.
            before = max(0, full[axis] - wanted[axis]) // 2
            after = full[axis] - before - wanted[axis]
        rows = np.moveaxis(result, axis + 2, 0)
        rows = rows[before : len(rows) - max(0, after)]
        rows = np.concatenate([rows, np.zeros((max(0, -after), *rows.shape[1:]))])
        result = np.moveaxis(rows, 0, axis + 2)
    return result if bias is None else result + np.reshape(bias, (-1,) + (1,) * len(kernel))


def _pooled(x: Any, sizes: Sizes, strides: Any, pad_type: str, pad: Any, ceil_mode: bool, fill: float) -> Any:
    """Return the elements of all windows, [N, C, *windows, elements of a window]."""
    padding = _around(x.shape[2:], sizes, strides, pad_type, pad)
    further = []
    for n, k, s, (before, after) in zip(x.shape[2:], sizes, strides, padding, strict=True):
        count = (n + before + after - k) / s
        count = math.ceil(count) if ceil_mode else math.floor(count)
        # As in PyTorch: no window begins beyond the data and the padding before it, where there is padding.
        if ceil_mode and before + after > 0 and count * s >= n + before:
            count -= 1
        further.append((before, max(after, count * s + k - n - before)))
    one = [1] * len(sizes)
    return np.stack([part for _, part in _windows(_padded(x, further, fill), sizes, strides, one)], -1)


@twin_of("max_pool")
def max_pool(x: Any, kernel_sizes: Any, pad_type: str, strides: Any, pad: Any, ceil_mode: bool) -> Any:
    return _pooled(x, kernel_sizes, strides, pad_type, pad, ceil_mode, -np.inf).max(-1)


@twin_of("avg_pool")
def avg_pool(
    x: Any,
    kernel_sizes: Any,
    pad_type: str,
    strides: Any,
    pad: Any,
    exclude_padding_from_average: bool,
    ceil_mode: bool,
) -> Any:
    elements = _pooled(x, kernel_sizes, strides, pad_type, pad, ceil_mode, np.nan)
    if exclude_padding_from_average:
        return np.nansum(elements, -1) / (~np.isnan(elements)).sum(-1)
    return np.nansum(elements, -1) / elements.shape[-1]


@twin_of("l2_pool")
def l2_pool(x: Any, kernel_sizes: Any, pad_type: str, strides: Any, pad: Any, ceil_mode: bool) -> Any:
    return np.sqrt((_pooled(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0) ** 2).sum(-1))


def _points(size: int, target: int, mode: str) -> Any:
    """Return where an axis is sampled, by the formulae of Apple's text."""
    i = np.arange(target)
    if mode == "ALIGN_CORNERS" and target == 1:
        return np.array([(size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return i * (size - 1) / max(1, target - 1)
    if mode == "UNALIGN_CORNERS":
        return (i + 0.5) * size / target - 0.5
    if mode == "OFFSET_CORNERS":
        return (i + 0.5) * max(1, size - 1) / target
    return i * size / target


def _linearly(x: Any, axis: int, target: int, mode: str) -> Any:
    size = x.shape[axis]
    points = np.clip(_points(size, target, mode), 0, size - 1)
    # A hat at each point: the nearer an element, the more it counts.
    shares = np.maximum(0, 1 - np.abs(points[:, None] - np.arange(size)))
    return np.moveaxis(np.moveaxis(x, axis, -1) @ shares.T, -1, axis)


@twin_of("resize_bilinear")
def resize_bilinear(x: Any, target_size_height: int, target_size_width: int, sampling_mode: str) -> Any:
    return _linearly(_linearly(x, -2, target_size_height, sampling_mode), -1, target_size_width, sampling_mode)


@twin_of("resize")
def resize(x: Any, shape: Any, resized_dims: int, interpolation_mode: str, sampling_mode: str) -> Any:
    for axis in range(-resized_dims, 0):
        x = _linearly(x, axis, int(shape[axis]) or x.shape[axis], sampling_mode)
    return x


@twin_of("upsample_bilinear")
def upsample_bilinear(
    x: Any,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None = None,
) -> Any:
    height, width = int(scale_factor_height * x.shape[-2]), int(scale_factor_width * x.shape[-1])
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    return resize_bilinear(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else unaligned)


@twin_of("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Any, target_size_height: int, target_size_width: int) -> Any:
    for axis, target in ((-2, target_size_height), (-1, target_size_width)):
        x = x.take([i * x.shape[axis] // target for i in range(target)], axis)
    return x


@twin_of("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Any, scale_factor_height: float, scale_factor_width: float) -> Any:
    height, width = int(scale_factor_height * x.shape[-2]), int(scale_factor_width * x.shape[-1])
    return resize_nearest_neighbor(x, height, width)


@twin_of("scaled_dot_product_attention")
def attention(query: Any, key: Any, value: Any, attn_mask: Any = None) -> Any:
    scores = np.einsum("...le,...se->...ls", query, key) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == np.bool_ else scores + attn_mask
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("...ls,...se->...le", powers / powers.sum(-1, keepdims=True), value)
