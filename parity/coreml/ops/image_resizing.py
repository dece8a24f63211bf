"""Other sizes by interpolation. Source: coremltools' MIL definitions, family image_resizing."""

from __future__ import annotations

import math

import numpy as np
import torch

from parity.core.errors import CoreMLError
from parity.coreml.program import Value
from parity.coreml.registry import op


def _fractions(size: torch.Tensor, target: int, sampling_mode: str) -> tuple[torch.Tensor, int]:
    """Return where the `target` points of an axis are sampled as fractions: numerators, and their one denominator.

    size: the number of elements; a whole one has whole numerators, so that what is compared is exact.
    """
    i = torch.arange(target)
    if sampling_mode == "ALIGN_CORNERS" and target == 1:
        return i + size - 1, 2
    if sampling_mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        return i * (size - 1), max(1, target - 1)
    if sampling_mode == "UNALIGN_CORNERS":
        return (2 * i + 1) * size - target, 2 * target
    if sampling_mode == "OFFSET_CORNERS":
        return (2 * i + 1) * (size - 1).clamp(min=1), 2 * target
    # Apple writes the spacing of DEFAULT as (Xin - Xin / Xout) / (Xout - 1), which is Xin / Xout.
    return i * size, target


def grid(size: torch.Tensor, target: int, sampling_mode: str) -> torch.Tensor:
    """Return where the `target` points of an axis of `size` elements are sampled, in elements.

    size: one number, or [N, 1] for the N axes of the result [N, target].
    """
    numerators, denominator = _fractions(size, target, sampling_mode)
    return torch.minimum((numerators.double() / denominator).clamp(min=0), size - 1)


def repeated_elements(size: int, target: int) -> torch.Tensor:
    """Return which of `size` elements each of `target` repeats: floor(i * size / target), of the exact quotient.

    Source: the grid DEFAULT, i * Xin / Xout. In floats, 55 * (14 / 110) is below 7, and the element before it.
    """
    return torch.arange(target) * size // target


def nearest_elements(size: int, target: int, sampling_mode: str) -> torch.Tensor:
    """Return which of `size` elements is nearest to each of the `target` points of a grid."""
    numerators, denominator = _fractions(torch.tensor(size), target, sampling_mode)
    # Apple's recorded numbers for `resize` (iOS17) are the nearest in DEFAULT too: 2 -> 3 takes 0, 1, 1. They leave
    # open what lies half-way; there the element before, as in the operations that `resize` took the place of.
    if sampling_mode == "DEFAULT":
        nearest = -((denominator - 2 * numerators) // (2 * denominator))
    else:
        nearest = (2 * numerators + denominator) // (2 * denominator)
    return nearest.clamp(0, size - 1)


def scaled_size(size: int, factor: float) -> int:
    """Return floor(factor * size), both as float32: 5/3 of 3 is 5 by what coremltools infers, and 4 in double."""
    with np.errstate(over="ignore"):
        return math.floor(np.float32(factor) * np.float32(size))


def _scaled(x: torch.Tensor, axis: int, factor: float, outputs: tuple[Value, ...]) -> int:
    size = x.shape[axis]
    # Before NumPy 2, coremltools multiplied in double: then the file declares that size.
    in_double = math.floor(factor * size)
    declared = outputs[0].shape[axis] if outputs and len(outputs[0].shape) == x.ndim else None
    return in_double if declared == in_double else scaled_size(size, factor)


def _linear(x: torch.Tensor, axis: int, target: int, sampling_mode: str) -> torch.Tensor:
    points = grid(torch.tensor(x.shape[axis]), target, sampling_mode)
    below = points.floor().long()
    above = (below + 1).clamp(max=x.shape[axis] - 1)
    share = (points - below).to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    return torch.lerp(x.index_select(axis, below), x.index_select(axis, above), share)


def _nearest(x: torch.Tensor, axis: int, target: int, sampling_mode: str) -> torch.Tensor:
    return x.index_select(axis, nearest_elements(x.shape[axis], target, sampling_mode))


def _repeated(x: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    return x.index_select(axis, repeated_elements(x.shape[axis], target))


@op("crop", exact=True, view=True)
def crop(x: torch.Tensor, crop_height: tuple[int, ...], crop_width: tuple[int, ...]) -> torch.Tensor:
    """Cut (top, bottom) and (left, right) off the last two axes."""
    h, w = x.shape[-2:]
    return x[..., crop_height[0] : h - crop_height[1], crop_width[0] : w - crop_width[1]]


@op("resize", since="iOS17")
def resize(
    x: torch.Tensor,
    shape: tuple[int, ...],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> torch.Tensor:
    """Resize the last resized_dims axes to the last sizes of `shape`; 0 keeps the size of that axis."""
    interpolate = _linear if interpolation_mode == "LINEAR" else _nearest
    real = x if x.is_floating_point() else x.double()
    for axis in range(-resized_dims, 0):
        real = interpolate(real, axis, shape[axis] or x.shape[axis], sampling_mode)
    return real


@op("resize_bilinear")
def resize_bilinear(
    x: torch.Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> torch.Tensor:
    """Resize the last two axes, linearly between elements."""
    return resize(x, (target_size_height, target_size_width), 2, "LINEAR", sampling_mode)


@op("resize_nearest_neighbor", exact=True)
def resize_nearest_neighbor(x: torch.Tensor, target_size_height: int, target_size_width: int) -> torch.Tensor:
    """Resize the last two axes by repeating or dropping elements."""
    return _repeated(_repeated(x, -2, target_size_height), -1, target_size_width)


@op("upsample_bilinear")
def upsample_bilinear(
    x: torch.Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
    *,
    outputs: tuple[Value, ...] = (),
) -> torch.Tensor:
    """Scale the last two axes, linearly between elements; the sizes are rounded down, then count alone.

    half_pixel_centers: whether pixels are points in their middle; where absent, where corners are not aligned.
    """
    if align_corners and half_pixel_centers:
        raise CoreMLError("upsample_bilinear: align_corners and half_pixel_centers exclude each other; choose one")
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    height = _scaled(x, -2, scale_factor_height, outputs)
    width = _scaled(x, -1, scale_factor_width, outputs)
    return resize_bilinear(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else unaligned)


@op("upsample_nearest_neighbor", exact=True)
def upsample_nearest_neighbor(
    x: torch.Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    *,
    outputs: tuple[Value, ...] = (),
) -> torch.Tensor:
    """Scale the last two axes by repeating or dropping elements; the sizes are rounded down, then count alone."""
    height = _scaled(x, -2, scale_factor_height, outputs)
    width = _scaled(x, -1, scale_factor_width, outputs)
    return resize_nearest_neighbor(x, height, width)
