"""Sampling images at points of their own. Source: coremltools' MIL definitions, family image_resizing."""

from __future__ import annotations

from collections.abc import Callable

import torch

from parity.coreml.ops.image_resizing import grid
from parity.coreml.registry import op


def _sample(
    x: torch.Tensor,
    image: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    *,
    nearest: bool = False,
    outside: float | None = None,
) -> torch.Tensor:
    """Take values of [B, C, H, W] at points between its pixels: [N, C, h, w].

    image [N]: which of the B to take from; rows, columns: [N, h, w] in pixels, or what broadcasts to that.
    outside: what lies beyond the image; where None, its edge goes on.
    """
    height, width = x.shape[-2:]

    def take(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        inner_row, inner_column = row.clamp(0, height - 1), column.clamp(0, width - 1)
        # A coordinate that is no number has no pixel; interpolating by it makes the result none either.
        values = x[image[:, None, None], :, inner_row.nan_to_num().long(), inner_column.nan_to_num().long()]
        if outside is not None:
            within = (inner_row == row) & (inner_column == column)
            values = torch.where(within[..., None], values, outside)
        return values

    # Halves to the even neighbour, as in PyTorch's grid_sample, which converters write as `resample`.
    if nearest:
        return take(rows.round(), columns.round()).movedim(-1, 1)
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).to(x.dtype)[..., None], (columns - left).to(x.dtype)[..., None]
    upper = torch.lerp(take(top, left), take(top, left + 1), right)
    lower = torch.lerp(take(top + 1, left), take(top + 1, left + 1), right)
    return torch.lerp(upper, lower, down).movedim(-1, 1)


def _mirror(points: torch.Tensor, first: float, last: float) -> torch.Tensor:
    """Fold points back into first..last, as often as it takes."""
    if first == last:
        return torch.full_like(points, first)
    return last - first - ((points - first) % (2 * (last - first)) - (last - first)).abs() + first


_PIXELS: dict[str, Callable[[torch.Tensor, int, bool], torch.Tensor]] = {
    "unnormalized": lambda points, size, aligned: points,
    "normalized_minus_one_to_one": lambda points, size, aligned: (
        (points + 1) * ((size - 1) / 2) if aligned else ((points + 1) * size - 1) / 2
    ),
    "normalized_zero_to_one": lambda points, size, aligned: points * (size - 1) if aligned else points * size - 0.5,
}


@op("resample")
def resample(
    x: torch.Tensor,
    coordinates: torch.Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> torch.Tensor:
    """Sample images [B, C, H, W] at coordinates [B, h, w, 2], each (x, y).

    align_corners: the ends of normalised coordinates are the middles of the corner pixels, not their edges.
    """
    points = coordinates.double()
    height, width = x.shape[-2:]
    pixels = _PIXELS[coordinates_mode.lower()]
    places = [pixels(points[..., 1], height, align_corners), pixels(points[..., 0], width, align_corners)]
    mode = padding_mode.lower()
    if mode in ("reflection", "symmetric"):
        # A reflection leaves the edge itself out, a symmetric one repeats it: its mirror stands at the pixel's end.
        edge = 0.5 if mode == "symmetric" else 0.0
        places = [_mirror(p, -edge, n - 1 + edge) for p, n in zip(places, (height, width), strict=True)]
    return _sample(
        x,
        torch.arange(len(x)),
        *places,
        nearest=sampling_mode.lower() == "nearest",
        outside=padding_value if mode == "constant" else None,
    )


def _ticks(count: int, aligned: bool) -> torch.Tensor:
    """Return the coordinates of `count` pixels in -1..1; a single one stands in the middle."""
    edge = (count - 1) / count if not aligned else float(count > 1)
    return torch.linspace(-edge, edge, count, dtype=torch.float64)


@op("affine")
def affine(
    x: torch.Tensor,
    transform_matrix: torch.Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> torch.Tensor:
    """Sample images [B, C, H, W] where a matrix [B or 1, 6] sends the pixels of the output, in -1..1 across.

    A row [a0, a1, a2, b0, b1, b2] sends (x, y) to (a0 x + a1 y + a2, b0 x + b1 y + b2).
    """
    down, across = _ticks(output_height, align_corners), _ticks(output_width, align_corners)
    pixels = torch.cartesian_prod(down, across).flip(1)
    matrices = transform_matrix.double().reshape(-1, 2, 3)
    sent = (pixels @ matrices[:, :, :2].mT + matrices[:, None, :, 2]).reshape(-1, output_height, output_width, 2)
    points = sent.expand(len(x), -1, -1, -1)
    return resample(x, points, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


@op("crop_resize", since="iOS17")
def crop_resize(
    x: torch.Tensor,
    boxes: torch.Tensor,
    box_indices: torch.Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> torch.Tensor:
    """Cut boxes [N, 4] out of images [B, C, H, W] and resize each: [N, C, target_height, target_width].

    box_indices [N]: the image of each box, in order where absent. A box's ends are pixels, both inside the box.
    A box that ends before it starts is turned round. A point outside the image has pad_value; of the mode
    UNALIGN_CORNERS it is mirrored at the image's edge pixel, as Apple's test of that mode shows.
    """
    ends = boxes.double()
    if box_coordinate_mode.endswith("WIDTH_FIRST"):
        ends = ends[:, [1, 0, 3, 2]]
    if box_coordinate_mode.startswith("CENTER"):
        ends = torch.cat([ends[:, :2] - ends[:, 2:] / 2, ends[:, :2] + ends[:, 2:] / 2], 1)
    places = []
    for axis, target in enumerate((target_height, target_width)):
        last = x.shape[2 + axis] - 1
        start, end = ends[:, axis::2, None].unbind(1)
        factor = spatial_scale * (last if normalized_coordinates else 1)
        start, length = start * factor, (end - start) * factor
        points = start + length.sign() * grid(length.abs() + 1, target, sampling_mode)
        places.append(_mirror(points, 0, last) if sampling_mode == "UNALIGN_CORNERS" else points)
    rows, columns = places[0][:, :, None], places[1][:, None, :]
    image = torch.arange(len(boxes)) if box_indices is None else box_indices.long()
    inside = (rows >= 0) & (rows <= x.shape[2] - 1) & (columns >= 0) & (columns <= x.shape[3] - 1)
    return torch.where(inside[:, None], _sample(x, image, rows, columns), pad_value)


@op("crop_resize")
def crop_resize_of_each(
    x: torch.Tensor,
    roi: torch.Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> torch.Tensor:
    """Cut boxes [N, 1, 4, 1, 1] out of each of [B, C, H, W], for [N, B, C, h, w], and resize them.

    roi: [N, 1, 5, 1, 1] where the first number says which image the box is for; the result is [N, 1, C, h, w].
    """
    boxes = roi.reshape(len(roi), -1)
    each = 1 if boxes.shape[1] == 5 else len(x)
    image = boxes[:, 0] if boxes.shape[1] == 5 else torch.arange(len(x)).repeat(len(roi))
    cut = crop_resize(
        x,
        boxes[:, -4:].repeat_interleave(each, 0),
        image,
        target_height,
        target_width,
        normalized_coordinates,
        spatial_scale,
        box_coordinate_mode,
        sampling_mode,
        pad_value,
    )
    return cut.reshape(len(roi), each, *cut.shape[1:])
