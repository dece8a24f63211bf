"""Other sizes by interpolation. Source: coremltools' MIL definitions, family image_resizing."""

from __future__ import annotations

import torch

from parity.coreml.registry import op
from parity.errors import CoreMLError


def grid(size: torch.Tensor, target: int, sampling_mode: str) -> torch.Tensor:
    """Return where the `target` points of an axis of `size` elements are sampled, in elements.

    size: one number, or [N, 1] for the N axes of the result [N, target].
    """
    i = torch.arange(target, dtype=torch.float64)
    if sampling_mode == "ALIGN_CORNERS" and target == 1:
        points = i + (size - 1) / 2
    elif sampling_mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = i * ((size - 1) / max(1, target - 1))
    elif sampling_mode == "UNALIGN_CORNERS":
        points = (i + 0.5) * (size / target) - 0.5
    elif sampling_mode == "OFFSET_CORNERS":
        points = (i + 0.5) * ((size - 1).clamp(min=1) / target)
    else:
        # Apple writes the spacing of DEFAULT as (Xin - Xin / Xout) / (Xout - 1), which is Xin / Xout.
        points = i * (size / target)
    return torch.minimum(points.clamp(min=0), size - 1)


def _points(x: torch.Tensor, axis: int, target: int, sampling_mode: str) -> torch.Tensor:
    return grid(torch.tensor(x.shape[axis], dtype=torch.float64), target, sampling_mode)


def _linear(x: torch.Tensor, axis: int, target: int, sampling_mode: str) -> torch.Tensor:
    points = _points(x, axis, target, sampling_mode)
    below = points.floor().long()
    above = (below + 1).clamp(max=x.shape[axis] - 1)
    share = (points - below).to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    return torch.lerp(x.index_select(axis, below), x.index_select(axis, above), share)


def _nearest(x: torch.Tensor, axis: int, target: int, sampling_mode: str) -> torch.Tensor:
    points = _points(x, axis, target, sampling_mode)
    # Apple's recorded numbers for `resize` (iOS17) are the nearest in DEFAULT too: 2 -> 3 takes 0, 1, 1. They leave
    # open what lies half-way; there the element before, as in the operations that `resize` took the place of.
    index = (points - 0.5).ceil() if sampling_mode == "DEFAULT" else (points + 0.5).floor()
    return x.index_select(axis, index.long())


def _repeated(x: torch.Tensor, axis: int, target: int) -> torch.Tensor:
    # In the operations before `resize`, a target pixel begins at its point.
    return x.index_select(axis, _points(x, axis, target, "DEFAULT").floor().long())


def _scaled(x: torch.Tensor, axis: int, factor: float) -> int:
    return int(factor * x.shape[axis])


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
) -> torch.Tensor:
    """Scale the last two axes, linearly between elements; the sizes are rounded down, then count alone.

    half_pixel_centers: whether pixels are points in their middle; where absent, where corners are not aligned.
    """
    if align_corners and half_pixel_centers:
        raise CoreMLError("upsample_bilinear: align_corners and half_pixel_centers exclude each other; choose one")
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    height, width = _scaled(x, -2, scale_factor_height), _scaled(x, -1, scale_factor_width)
    return resize_bilinear(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else unaligned)


@op("upsample_nearest_neighbor", exact=True)
def upsample_nearest_neighbor(
    x: torch.Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> torch.Tensor:
    """Scale the last two axes by repeating or dropping elements; the sizes are rounded down, then count alone."""
    return resize_nearest_neighbor(x, _scaled(x, -2, scale_factor_height), _scaled(x, -1, scale_factor_width))
