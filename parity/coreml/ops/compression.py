"""Compressed weights. Source: coremltools' MIL definitions, families constexpr_ops (iOS16) and compression (iOS18).

All are worked out once, when the file is read. They may feed one another: a table of quantised numbers, say.
"""

from __future__ import annotations

import torch

from parity.coreml.dtypes import unpack
from parity.coreml.ops.quantization import along_axis
from parity.coreml.registry import op


@op("constexpr_affine_dequantize", since="iOS16", constant=True)
def constexpr_affine_dequantize(
    quantized_data: torch.Tensor, zero_point: torch.Tensor, scale: torch.Tensor, axis: int
) -> torch.Tensor:
    """Compute scale * (quantized_data - zero_point); both are one number, or one for each element of `axis`."""
    steps = quantized_data - along_axis(zero_point, quantized_data, axis)
    return steps * along_axis(scale, quantized_data, axis)


# The declared type of the result does the casting.
@op("constexpr_cast", since="iOS16", view=True, constant=True)
def constexpr_cast(source_val: torch.Tensor, output_dtype: str) -> torch.Tensor:
    """Change the type of every element to output_dtype."""
    return source_val


def _unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    return torch.from_numpy(unpack(packed.numpy(), bits, count))


@op("constexpr_lut_to_dense", since="iOS16", exact=True, constant=True)
def constexpr_packed_lut_to_dense(indices: torch.Tensor, lut: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Look every element up in a table; the indices are packed into bytes, in as few bits as the table needs."""
    bits = (lut.numel() - 1).bit_length()
    return lut[_unpack(indices, bits, torch.Size(shape).numel()).int()].reshape(shape)


@op("constexpr_sparse_to_dense", since="iOS16", exact=True, constant=True)
def constexpr_packed_sparse_to_dense(
    nonzero_data: torch.Tensor, mask: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    """Put the numbers where the mask has a one, and zeros elsewhere; the mask is packed, eight elements a byte."""
    return constexpr_sparse_to_dense(nonzero_data, _unpack(mask, 1, torch.Size(shape).numel()).reshape(shape))


def _spread(blocks: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Repeat the elements of the first axes so that each stands for its block in a tensor of this shape."""
    for axis, size in enumerate(shape):
        if size % blocks.shape[axis]:
            raise ValueError(f"axis {axis} of {size} elements cannot be cut into {blocks.shape[axis]} equal blocks")
        # Broadcasting does what is left, and costs no memory.
        if blocks.shape[axis] > 1:
            blocks = blocks.repeat_interleave(size // blocks.shape[axis], axis)
    return blocks


@op("constexpr_blockwise_shift_scale", since="iOS18", constant=True)
def constexpr_blockwise_shift_scale(
    data: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute scale * (data - offset); scale and offset have one element for each block of the data."""
    steps = data if offset is None else data - _spread(offset, data.shape)
    return steps * _spread(scale, data.shape)


@op("constexpr_lut_to_dense", since="iOS18", exact=True, constant=True)
def constexpr_lut_to_dense(
    indices: torch.Tensor, lut: torch.Tensor, vector_axis: int | None = None
) -> torch.Tensor:
    """Look every element up in the table of its block.

    lut: [*blocks, table length, vector length]; the elements of a vector follow one another on vector_axis.
    """
    length = lut.shape[-1]
    tables = _spread(lut, indices.shape).expand(*indices.shape, *lut.shape[-2:])
    places = indices.long()[..., None, None].expand(*indices.shape, 1, length)
    entries = tables.gather(-2, places).squeeze(-2)
    if vector_axis is None or length == 1:
        return entries.squeeze(-1)
    axis = vector_axis % indices.ndim
    return entries.movedim(-1, axis + 1).flatten(axis, axis + 1)


@op("constexpr_sparse_to_dense", since="iOS18", exact=True, constant=True)
def constexpr_sparse_to_dense(nonzero_data: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Put the numbers, in the order of rows, where the mask has a one, and zeros elsewhere."""
    places = mask != 0
    if int(places.sum()) != nonzero_data.numel():
        raise ValueError(f"the mask has {int(places.sum())} one(s) for {nonzero_data.numel()} number(s)")
    return nonzero_data.new_zeros(mask.shape).masked_scatter_(places, nonzero_data)


@op("constexpr_lut_to_sparse", since="iOS18", exact=True, constant=True)
def constexpr_lut_to_sparse(
    indices_mask: torch.Tensor,
    indices_nonzero_data: torch.Tensor,
    lut: torch.Tensor,
    vector_axis: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look up the elements that are not zero; return their mask, repeated along vector_axis, and their values."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = constexpr_lut_to_dense(indices, lut, vector_axis)
    mask = indices_mask.clone()
    if vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask != 0]


@op("constexpr_sparse_blockwise_shift_scale", since="iOS18", constant=True)
def constexpr_sparse_blockwise_shift_scale(
    data_mask: torch.Tensor, nonzero_data: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift and scale the elements that are not zero, block by block; return the mask, and their values."""
    data = constexpr_sparse_to_dense(nonzero_data, data_mask)
    return data_mask.clone(), constexpr_blockwise_shift_scale(data, scale, offset)[data_mask != 0]
