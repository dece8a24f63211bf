"""Joining, splitting, repeating and padding along any axis. Source: NeuralNetwork.proto, concatND and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.tensor_shape import integers
from parity.coreml.registry import layer

_Joining = Callable[..., torch.Tensor]


@layer("concatND")
def concat_nd(params: Any) -> _Joining:
    """Join the inputs along an axis, one after the other or interleaved element by element."""
    axis = int(params.axis)
    if not params.interleave:
        # A single number is joined as a vector of one.
        return lambda *inputs: torch.cat([x if x.ndim else x[None] for x in inputs], axis)

    def interleave(*inputs: torch.Tensor) -> torch.Tensor:
        at = axis % inputs[0].ndim
        return torch.stack(inputs, at + 1).flatten(at, at + 1)

    return interleave


@layer("stack")
def stack(params: Any) -> _Joining:
    """Join the inputs along a new axis."""
    axis = int(params.axis)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        # coremltools stores a constant number as a vector of one: among numbers it is one.
        number = any(x.ndim == 0 for x in inputs)
        return torch.stack([x.reshape(()) if number and x.shape == (1,) else x for x in inputs], axis)

    return run


@layer("splitND", view=True)
def split_nd(params: Any, layer: Any) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Split an axis into the given sizes, or evenly: what is over goes to the first parts, one element each."""
    axis = int(params.axis)
    sizes = [int(size) for size in params.splitSizes]
    count = int(params.numSplits) or len(layer.output)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x.split(sizes, axis) if sizes else x.tensor_split(count, axis))

    return run


@layer("tile")
def tile(params: Any) -> _Joining:
    """Repeat along each axis as often as `reps`, or the second input, says."""
    fixed = [int(count) for count in params.reps]
    return lambda x, reps=None: torch.tile(x, fixed if reps is None else integers(reps))


@layer("constantPad")
def constant_pad(params: Any) -> _Joining:
    """Pad each axis with a constant, by amounts (before, after) or up to a given size."""
    fixed = [int(amount) for amount in params.padAmounts]
    value, to_size = params.value, bool(params.padToGivenOutputSizeMode)

    def run(x: torch.Tensor, amounts: torch.Tensor | None = None) -> torch.Tensor:
        pads = fixed if amounts is None else integers(amounts)
        if len(pads) != 2 * x.ndim:
            raise ValueError(f"{len(pads)} amounts of padding for {x.ndim} axes; two per axis are defined")
        if to_size:
            pads = [max(0, pad - x.shape[i // 2]) if pad else 0 for i, pad in enumerate(pads)]
        backwards = [side for i in reversed(range(x.ndim)) for side in pads[2 * i : 2 * i + 2]]
        return F.pad(x, backwards, value=value)

    return run


@layer("reverse")
def reverse(params: Any) -> _Joining:
    """Reverse the axes whose flag is set."""
    axes = [axis for axis, flag in enumerate(params.reverseDim) if flag]
    return lambda x: x.flip(axes)


@layer("reverseSeq")
def reverse_sequence(params: Any) -> _Joining:
    """Reverse the beginning of each sequence, as many elements as the second input says."""
    batch, sequence = int(params.batchAxis), int(params.sequenceAxis)

    def run(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        y = x.movedim((batch, sequence), (0, 1)).clone()
        for row, length in zip(y, integers(lengths), strict=True):
            row[:length] = row[:length].flip(0)
        return y.movedim((0, 1), (batch, sequence))

    return run


@layer("slidingWindows")
def sliding_windows(params: Any) -> _Joining:
    """Give all windows along an axis: [.., L, ..] becomes [.., count, windowSize, ..]."""
    axis, size, step = int(params.axis), int(params.windowSize), int(params.step)

    def run(x: torch.Tensor) -> torch.Tensor:
        at = axis % x.ndim
        return x.unfold(at, size, step).movedim(-1, at + 1).clone()

    return run


@layer("oneHot")
def one_hot(params: Any) -> _Joining:
    """Give onValue at each index and offValue elsewhere, along a new axis."""
    fixed, axis = int(params.oneHotVectorSize), int(params.axis)
    on, off = params.onValue, params.offValue

    def run(x: torch.Tensor, size: torch.Tensor | None = None) -> torch.Tensor:
        count = fixed if size is None else int(size.item())
        hits = x.unsqueeze(-1) == torch.arange(count, dtype=x.dtype)
        return torch.where(hits, on, off).movedim(-1, axis)

    return run
