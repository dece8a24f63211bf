"""Data reorganisation of the first generation: axes named C, H, W and Seq. Source: NeuralNetwork.proto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import as_before, as_images, border, pair
from parity.coreml.ops.conv import pad_spatial
from parity.coreml.ops.tensor_operation import padded_elements
from parity.coreml.registry import Prepared, layer

_Function = Callable[[torch.Tensor], torch.Tensor]


@layer("flatten", view=True)
def flatten(params: Any) -> _Function:
    """Bring [..., C, H, W] to [..., C * H * W, 1, 1]; in the order H, W, C where the mode is CHANNEL_LAST."""
    last = params.mode == params.CHANNEL_LAST
    return lambda x: (x.movedim(-3, -1) if last else x).flatten(-3)[..., None, None]


@layer("reshape", view=True)
def reshape(params: Any) -> _Function:
    """Give [Seq, B, C, H, W] another C, H and W, and with four numbers another Seq; B stays."""
    target = [int(size) for size in params.targetShape]
    if len(target) not in (3, 4):
        raise ValueError(f"`targetShape` is {target}; allowed are [C, H, W] and [Seq, C, H, W]")
    last = params.mode == params.CHANNEL_LAST

    def run(x: torch.Tensor) -> torch.Tensor:
        *sequence, channels, height, width = target
        image = [height, width, channels] if last else [channels, height, width]
        x = x.movedim(-3, -1) if last else x
        if sequence:
            # B stands between Seq and the image, so it steps aside while the elements are counted off anew.
            y = x.movedim(1, 0).reshape(x.shape[1], *sequence, *image).movedim(0, 1)
        else:
            y = x.reshape(*x.shape[:-3], *image)
        return y.movedim(-1, -3) if last else y

    return run


@layer("permute", view=True)
def permute(params: Any) -> _Function:
    """Reorder the axes Seq, C, H and W of [Seq, B, C, H, W]; B stays at axis 1."""
    order = [int(axis) for axis in params.axis] or [0, 1, 2, 3]
    if sorted(order) != [0, 1, 2, 3]:
        raise ValueError(f"`axis` is {order}, which is no permutation of [0, 1, 2, 3]")
    first, *rest = [axis + (axis > 0) for axis in order]
    return lambda x: x.permute(first, 1, *rest)


@layer("concat")
def concat(params: Any) -> Prepared | Callable[..., torch.Tensor]:
    """Join the inputs along the channels, axis -3, or along the sequence, axis -5."""
    if params.sequenceConcat:
        return lambda *inputs: torch.cat(inputs, -5)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        # As images the tensors keep channels last, which torch.cat does not know of for five axes.
        return as_before(torch.cat([as_images(x) for x in inputs], 1), inputs[0])

    return Prepared(run, role="concat")


@layer("split", view=True)
def split(params: Any) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Split the channels, axis -3, into equal parts."""
    count = int(params.nOutputs)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not count or x.shape[-3] % count:
            raise ValueError(f"{x.shape[-3]} channels cannot be split into {count} equal parts")
        return tuple(x.split(x.shape[-3] // count, -3))

    return run


@layer("sequenceRepeat")
def sequence_repeat(params: Any) -> _Function:
    """Repeat the sequence, axis -5."""
    count = int(params.nRepetitions) or 1
    return lambda x: torch.cat([x] * count, -5)


@layer("slice", view=True)
def slice_(params: Any) -> _Function:
    """Take startIndex:endIndex:stride of the channels, the height or the width."""
    axis = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}[params.SliceAxis.Name(params.axis)]
    if not params.stride:
        raise ValueError("`stride` is 0; it has to be positive")
    part = slice(int(params.startIndex), int(params.endIndex), int(params.stride))
    return lambda x: x.movedim(axis, 0)[part].movedim(0, axis)


@layer("crop", view=True)
def crop(params: Any, layer: Any) -> Callable[..., torch.Tensor]:
    """Cut the borders off, or cut out at an offset what has the height and width of the second input."""
    if len(layer.input) == 1:
        top, bottom, left, right = border(params.cropAmounts)
        return lambda x: x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
    down, across = pair(params.offset, 0, "offset")

    def like(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        height, width = other.shape[-2:]
        return x[..., down : down + height, across : across + width]

    return like


@layer("padding", view=True)
def padding(params: Any) -> Prepared:
    """Pad height and width with a constant, the reflection of the image, or its border; by any amount."""
    amounts = border(params.paddingAmounts)
    kind = params.WhichOneof("PaddingType")
    if kind is None:
        raise ValueError("the padding is none of `constant`, `reflection` and `replication`")
    top, bottom, left, right = amounts

    def run(x: torch.Tensor) -> torch.Tensor:
        images = as_images(x if x.ndim > 2 else x[None])
        if kind == "constant":
            y = pad_spatial(images, amounts, params.constant.value)
        else:
            mode = "reflect" if kind == "reflection" else "replicate"
            y = images.index_select(-2, padded_elements(images.shape[-2], top, bottom, mode))
            y = y.index_select(-1, padded_elements(images.shape[-1], left, right, mode))
        return as_before(y, x) if x.ndim > 2 else y[0, 0]

    plain = kind == "constant" and not params.constant.value and (top, left) == (bottom, right)
    return Prepared(run, role="pad", zeros=(top, left) if plain else None)


@layer("reorganizeData", view=True)
def reorganize_data(params: Any) -> _Function:
    """Move blocks of pixels into the channels, or back."""
    mode, block = params.ReorganizationType.Name(params.mode), int(params.blockSize)
    if block < 2:
        raise ValueError(f"`blockSize` is {block}; it has to be at least 2")
    return lambda x: as_before(_REORGANIZE[mode](as_images(x), block), x)


def _space_to_depth(x: torch.Tensor, block: int) -> torch.Tensor:
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels, height // block, block, width // block, block)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // block, width // block)


def _depth_to_space(x: torch.Tensor, block: int) -> torch.Tensor:
    n, channels, height, width = x.shape
    blocks = x.reshape(n, block, block, channels // block**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * block, width * block)


_REORGANIZE: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "PIXEL_SHUFFLE": F.pixel_shuffle,
}
