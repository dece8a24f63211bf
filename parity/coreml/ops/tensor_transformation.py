"""Other shapes and orders for the same elements. Source: coremltools' MIL definitions, tensor_transformation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op

Mask = tuple[bool, ...] | None


@op("batch_to_space", exact=True, view=True)
def batch_to_space(x: torch.Tensor, block_shape: tuple[int, ...], crops: tuple[int, ...]) -> torch.Tensor:
    """Spread the batch over blocks of [N, C, H, W], then crop (top, bottom, left, right)."""
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(rows, columns, -1, c, h, w).permute(2, 3, 4, 0, 5, 1)
    top, bottom, left, right = crops
    whole = blocks.reshape(n // (rows * columns), c, h * rows, w * columns)
    return whole[:, :, top : h * rows - bottom, left : w * columns - right]


@op("depth_to_space", exact=True, view=True)
def depth_to_space(x: torch.Tensor, block_size: int) -> torch.Tensor:
    """Spread channels over blocks; channel = (row in block * block_size + column in block) * C_out + c."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


@op("expand_dims", exact=True, view=True)
def expand_dims(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Insert axes of one element; the numbers count the axes of the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@op("pixel_shuffle", exact=True, view=True)
def pixel_shuffle(x: torch.Tensor, upscale_factor: int) -> torch.Tensor:
    """Spread channels over blocks; channel = c * block area + position in block."""
    return F.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle", since="iOS16", exact=True, view=True)
def pixel_unshuffle(x: torch.Tensor, downscale_factor: int) -> torch.Tensor:
    """Gather blocks into channels; the reverse of pixel_shuffle."""
    return F.pixel_unshuffle(x, downscale_factor)


@op("reshape", exact=True, view=True)
def reshape(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Give the elements another shape; 0 keeps the size of that axis, -1 is worked out."""
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


@op("reshape", since="iOS17", exact=True, view=True)
def reshape_from_right(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Give the elements another shape; 0 keeps the size of the axis as far from the right, or is 1 beyond it."""
    sizes = (1,) * len(shape) + tuple(x.shape)
    return x.reshape([sizes[i - len(shape)] if size == 0 else size for i, size in enumerate(shape)])


@op("reshape_like", since="iOS16", exact=True, view=True)
def reshape_like(
    x: torch.Tensor,
    ref_tensors: list[torch.Tensor],
    begins: list[torch.Tensor],
    ends: list[torch.Tensor],
    end_masks: list[torch.Tensor],
) -> torch.Tensor:
    """Give the elements the shape that these parts of other tensors' shapes make, one after the other."""
    parts = zip(ref_tensors, begins, ends, end_masks, strict=True)
    sizes = [ref.shape[int(begin) : None if open_end else int(end)] for ref, begin, end, open_end in parts]
    return x.reshape([size for part in sizes for size in part])


@op("reverse", exact=True)
def reverse(x: torch.Tensor, axes: tuple[int, ...] | None = None) -> torch.Tensor:
    """Turn the order of these axes, of all by default."""
    return x.flip(tuple(range(x.ndim)) if axes is None else axes)


@op("reverse_sequence", exact=True)
def reverse_sequence(
    x: torch.Tensor, lengths: torch.Tensor, seq_axis: int = 0, batch_axis: int = 0
) -> torch.Tensor:
    """Turn the order of the first lengths[i] elements of seq_axis, for each i of batch_axis."""
    rows = x.movedim((batch_axis, seq_axis), (0, 1))
    place = torch.arange(rows.shape[1])
    length = lengths[:, None]
    turned = torch.where(place < length, length - 1 - place, place)
    result = rows[torch.arange(rows.shape[0])[:, None], turned]
    return result.movedim((0, 1), (batch_axis, seq_axis))


def _cut(
    x: torch.Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None,
    begin_mask: Mask,
    end_mask: Mask,
    squeeze_mask: Mask,
) -> tuple[torch.Tensor, list[int], list[int]]:
    """Return the view that NumPy's slices select, still ascending, with the axes to turn and those to squeeze.

    torch has no negative steps: the same elements are cut in ascending order, to be turned afterwards.
    """
    turned: list[int] = []
    squeezed = [axis for axis in range(x.ndim) if squeeze_mask and squeeze_mask[axis]]
    for axis, size in enumerate(x.shape):
        first = None if begin_mask and begin_mask[axis] else begin[axis]
        if axis in squeezed:
            x = x.narrow(axis, (first or 0) % size, 1)
            continue
        last = None if end_mask and end_mask[axis] else end[axis]
        places = range(size)[first : last : stride[axis] if stride else 1]
        if places.step < 0:
            turned.append(axis)
            places = places[::-1]
        x = x[(slice(None),) * axis + (slice(places.start, places.stop, places.step),)]
    return x, turned, squeezed


@op("slice_by_index", exact=True, view=True)
def slice_by_index(
    x: torch.Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> torch.Tensor:
    """Slice every axis as NumPy does; a mask opens that end, squeeze_mask takes the element at `begin` alone."""
    part, turned, squeezed = _cut(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    part = part.flip(turned) if turned else part
    return part.squeeze(squeezed) if squeezed else part


@op("slice_by_size", exact=True, view=True)
def slice_by_size(x: torch.Tensor, begin: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Take `size` elements of every axis from `begin` on, all that follow where it is -1."""
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        start = first % x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


@op("slice_update", since="iOS18", exact=True)
def slice_update(
    x: torch.Tensor,
    update: torch.Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: Mask = None,
    end_mask: Mask = None,
    squeeze_mask: Mask = None,
) -> torch.Tensor:
    """Replace what slice_by_index would take."""
    result = x.clone()
    part, turned, _ = _cut(result, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    part.copy_(update.reshape(part.shape).flip(turned))
    return result


@op("sliding_windows", exact=True, view=True)
def sliding_windows(x: torch.Tensor, axis: int, size: int, stride: int = 1) -> torch.Tensor:
    """Replace an axis by two: the windows, and the elements of each."""
    return x.unfold(axis, size, stride).movedim(-1, axis % x.ndim + 1)


@op("space_to_batch", exact=True, view=True)
def space_to_batch(x: torch.Tensor, block_shape: tuple[int, ...], paddings: tuple[int, ...]) -> torch.Tensor:
    """Pad [N, C, H, W] (top, bottom, left, right), then move each position within a block into the batch."""
    top, bottom, left, right = paddings
    n, c, h, w = x.shape
    rows, columns = block_shape
    h, w = (h + top + bottom) // rows, (w + left + right) // columns
    blocks = F.pad(x, (left, right, top, bottom)).reshape(n, c, h, rows, w, columns)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(-1, c, h, w)


@op("space_to_depth", exact=True, view=True)
def space_to_depth(x: torch.Tensor, block_size: int) -> torch.Tensor:
    """Gather blocks into channels; the reverse of depth_to_space."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


@op("squeeze", exact=True, view=True)
def squeeze(x: torch.Tensor, axes: tuple[int, ...] | None = None) -> torch.Tensor:
    """Drop these axes where they have one element, all such axes where none are named."""
    return x.squeeze() if axes is None else x.squeeze(axes)


@op("transpose", exact=True, view=True)
def transpose(x: torch.Tensor, perm: tuple[int, ...]) -> torch.Tensor:
    """Put the axes into another order."""
    return x.permute(perm)
