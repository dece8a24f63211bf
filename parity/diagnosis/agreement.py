"""Whether a value of an artefact is the one that PyTorch computes, up to layout and rounding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from parity.core.noise import HALF_LARGEST, OPERATION_FACTOR, OPERATION_FLOORS

if TYPE_CHECKING:
    import torch

# The smallest step of fp16; of fp32 it does not matter.
_STEPS = {"fp32": 1e-30, "fp16": 6e-8}
# A channel of fewer numbers says too little of its own rounding.
_ENOUGH = 32


@dataclass(frozen=True)
class Noise:
    """Hold what rounding costs a value, as a share of its size: in each channel, and in the whole."""

    channels: torch.Tensor
    whole: float


@dataclass
class Expected:
    """Hold what PyTorch makes of the artefact's own inputs.

    rounded: the same in the artefact's precision; without it, `known` is what rounding cost on another image.
    """

    exact: torch.Tensor
    rounded: torch.Tensor | None = None
    known: Noise | None = None

    @cached_property
    def channels(self) -> torch.Tensor:
        """The size of each channel, as a root mean square."""
        return spread(self._real)

    @cached_property
    def size(self) -> float:
        """The size of the whole."""
        return float(self.channels.square().mean().sqrt()) if self.exact.numel() else 0.0

    @cached_property
    def mean(self) -> float:
        """The mean of the whole."""
        return float(self._real.mean())

    @property
    def _real(self) -> torch.Tensor:
        """The numbers as fp32, where they are whole ones."""
        return self.exact if self.exact.is_floating_point() else self.exact.float()

    @cached_property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity in it; a size that overflows looks twice."""
        return math.isfinite(self.size) or bool(self.exact.isfinite().all())

    @cached_property
    def noise(self) -> Noise:
        """What rounding costs."""
        if self.rounded is None or not self.exact.is_floating_point():
            return self.known or Noise(self.exact.new_zeros(()), 0.0)
        lost = spread((self.rounded - self.exact).nan_to_num_(0.0, 0.0, 0.0))
        size = max(self.size, 1e-30) if self.finite else 1.0
        return Noise(lost / size, float(lost.square().mean().sqrt()) / size)


def spread(tensor: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of each channel; of a tensor whose channels are short, that of the whole."""
    axis = channel_axis(tensor.ndim)
    if tensor.ndim >= 2 and tensor.numel() >= _ENOUGH * tensor.shape[axis]:
        over = [a for a in range(tensor.ndim) if a != axis]
        return tensor.square().mean(over).sqrt_()
    return tensor.square().mean().sqrt_()


def channel_axis(rank: int) -> int:
    """Return the axis of the channels: the second of images, the last of tokens."""
    return 1 if rank in (2, 4, 5) else rank - 1


def rounding(precision: str) -> Callable[[Any], Any]:
    """Make the function that rounds a tensor as an operation of that precision would, and leaves all else alone.

    For fp32 it takes two bits off: about what another order of additions comes to.
    """
    import torch

    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def shortened(tensor: torch.Tensor) -> torch.Tensor:
        if precision == "fp16":
            # What overflows is a difference of its own, and must not excuse itself.
            return tensor.clamp(-HALF_LARGEST, HALF_LARGEST).to(torch.float16).to(torch.float32)
        bits = tensor.contiguous().view(torch.int32)
        return bits.add(2).bitwise_and_(~3).view(torch.float32)

    def remembering(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32:
            return value
        if not isinstance(value, torch.nn.Parameter):
            return shortened(value)
        if id(value) not in kept:
            kept[id(value)] = (value, shortened(value.detach()))
        return kept[id(value)][1]

    return remembering


def layouts(value: torch.Tensor, shape: Sequence[int]) -> Iterator[torch.Tensor]:
    """Give the readings of a value in this shape: axes of one come and go, others change places.

    Where the shapes agree as they are there is only one reading: two axes of one size may be a fault if exchanged.
    """
    sizes = [size for size in shape if size != 1]
    own = [size for size in value.shape if size != 1]
    if value.numel() != math.prod(shape):
        return
    if own != sizes and sorted(own) == sorted(sizes) and len(own) <= 4:
        squeezed = value.reshape(own)
        for order in itertools.permutations(range(len(own))):
            if [own[axis] for axis in order] == sizes:
                yield squeezed.permute(order).reshape(tuple(shape))
    yield value.reshape(tuple(shape))


def agrees(value: torch.Tensor, expected: Expected, precision: str) -> bool:
    """Say whether a value, in PyTorch's layout, is what is expected of it."""
    return excess(value, expected, precision) <= 1.0


def excess(value: torch.Tensor, expected: Expected, precision: str) -> float:
    """Return how many times the difference is what rounding allows, in the worst channel.

    Infinity where one of the two has NaN or an infinity that the other has not.
    """
    import torch

    difference = value - expected.exact
    lost = spread(difference)
    whole = float(lost.square().mean().sqrt())
    size = expected.size
    if not math.isfinite(whole) or not expected.finite:
        same = torch.equal(value.isfinite(), expected.exact.isfinite())
        if not same:
            return math.inf
        lost = spread(difference.nan_to_num_(0.0, 0.0, 0.0))
        whole = float(lost.square().mean().sqrt())
        size = float(expected.exact.nan_to_num(0.0, 0.0, 0.0).abs().max())
        return whole / (OPERATION_FLOORS[precision] * size + _STEPS[precision])
    floor, step = OPERATION_FLOORS[precision], _STEPS[precision]
    worst = whole / (OPERATION_FACTOR * expected.noise.whole * size + floor * size + step)
    if lost.ndim:
        allowed = (
            OPERATION_FACTOR * expected.noise.channels * size
            + floor * expected.channels
            + 0.05 * floor * size
            + step
        )
        worst = max(worst, float((lost / allowed).max()))
    return worst
