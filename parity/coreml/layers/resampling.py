"""Resizing of images. Source: NeuralNetwork.proto, the layers upsample, resizeBilinear and cropResize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.weights import pair
from parity.coreml.ops.image_resizing import repeated_elements, scaled_size
from parity.coreml.registry import layer


@layer("upsample")
def upsample(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Enlarge height and width, by the nearest pixel or bilinearly."""
    scales: tuple[float, ...] = tuple(float(s) for s in params.fractionalScalingFactor)
    if len(scales) not in (0, 2):
        raise ValueError(f"`fractionalScalingFactor` has {len(scales)} values; two are defined, height and width")
    scales = scales or pair(params.scalingFactor, 1, "scalingFactor")
    nearest = params.mode == params.NN
    mode = params.LinearUpsampleMode.Name(params.linearUpsampleMode)

    def run(x: torch.Tensor) -> torch.Tensor:
        for axis, scale in zip((-2, -1), scales, strict=True):
            size = x.shape[axis]
            count = scaled_size(size, scale)
            if nearest:
                x = x.index_select(axis, repeated_elements(size, count))
            else:
                x = _interpolate(x, axis, _upsampling_grid(mode, size, count))
        return x

    return run


def _upsampling_grid(mode: str, size: int, count: int) -> torch.Tensor:
    steps = torch.arange(count, dtype=torch.float64)
    if mode == "ALIGN_CORNERS_FALSE":
        spacing = size / count
        grid = (steps + 0.5) * spacing - 0.5
    else:
        span = size - 1 if mode == "ALIGN_CORNERS_TRUE" else size - size / count
        grid = steps * (span / max(count - 1, 1))
    return grid.clamp(0, size - 1)


def _interpolate(x: torch.Tensor, axis: int, grid: torch.Tensor) -> torch.Tensor:
    """Take values at fractional positions along one axis; the positions lie within 0..size - 1."""
    below = grid.floor().long()
    above = (below + 1).clamp_(max=x.shape[axis] - 1)
    weight = (grid - below).to(x.dtype).reshape(-1, *(1,) * (-1 - axis))
    low, high = x.index_select(axis, below), x.index_select(axis, above)
    return torch.lerp(low, high, weight)


@layer("resizeBilinear")
def resize_bilinear(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Resize height and width to `targetSize`."""
    target = pair(params.targetSize, 1, "targetSize")
    mode = params.mode.Method.Name(params.mode.samplingMethod)

    def run(x: torch.Tensor) -> torch.Tensor:
        for axis, count in zip((-2, -1), target, strict=True):
            end = float(x.shape[axis] - 1)
            x = _interpolate(x, axis, _sampling_grid(mode, 0.0, end, count).clamp(0, end))
        return x

    return run


def _sampling_grid(mode: str, start: float, end: float, count: int) -> torch.Tensor:
    """Place `count` points in start..end, as the message SamplingMode says."""
    extent = end - start + 1
    if mode == "STRICT_ALIGN_ENDPOINTS_MODE":
        first, last = 0.0, extent - 1
    elif mode == "ALIGN_ENDPOINTS_MODE":
        first, last = (0.0, extent - 1) if count > 1 else ((extent - 1) / 2, (extent - 1) / 2)
    elif mode == "UPSAMPLE_MODE":
        first, last = 0.0, extent - extent / count
    else:
        spacing = max(1.0, extent - 1) / count
        first = 0.5 * spacing
        last = first + (count - 1) * spacing
    points = torch.linspace(first, last, count, dtype=torch.float64)
    return start + points.clamp(max=max(extent - 1, 0.0))


@layer("cropResize")
def crop_resize(params: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Cut boxes [N, 1, 4, 1, 1] out of all of [1, B, C, H, W], or [N, 1, 5, 1, 1] each out of one; resize them."""
    target = pair(params.targetSize, 1, "targetSize")
    mode = params.mode.Method.Name(params.mode.samplingMethod)
    boxes_as = params.boxIndicesMode.Coordinates.Name(params.boxIndicesMode.boxMode)
    # Not set means that nothing scales the coordinates.
    scale = params.spatialScale or 1.0

    def cut(images: torch.Tensor, box: list[float]) -> torch.Tensor:
        spans = _spans(boxes_as, box)
        for axis, (start, end), count in zip((-2, -1), spans, target, strict=True):
            last = images.shape[axis] - 1
            factor = scale * (last if params.normalizedCoordinates else 1)
            grid = _sampling_grid(mode, start * factor, end * factor, count)
            images = _interpolate(images, axis, grid.clamp(0, last))
        return images

    def run(x: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        images = x[0]
        cuts = []
        for box in boxes[:, 0, :, 0, 0].tolist():
            if len(box) == 5:
                cuts.append(cut(images[int(box[0])][None], box[1:]))
            else:
                cuts.append(cut(images, box))
        return torch.stack(cuts)

    return run


def _spans(boxes_as: str, box: list[float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return ((top, bottom), (left, right)) of a box in one of the four forms of BoxCoordinatesMode."""
    if boxes_as.endswith("WIDTH_FIRST"):
        box = [box[1], box[0], box[3], box[2]]
    if boxes_as.startswith("CORNERS"):
        return (box[0], box[2]), (box[1], box[3])
    return (box[0] - box[2] / 2, box[0] + box[2] / 2), (box[1] - box[3] / 2, box[1] + box[3] / 2)
