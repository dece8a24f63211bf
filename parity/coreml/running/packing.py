"""Two-dimensional convolutions whose weights lie as the CPU reads them, brought there once and not in every run."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F


class PackedWeights:
    """Hold the weights [C_out, C_in / groups, kh, kw] of a convolution; the first use packs them, for its size.

    Several threads may predict at once: one of them packs, the others wait for it.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight: torch.Tensor | None = weight
        self._packed: torch.Tensor | None = None
        self._packing = threading.Lock()

    def convolve(
        self,
        x: torch.Tensor,
        bias: torch.Tensor | None,
        strides: tuple[int, ...],
        padding: tuple[int, ...],
        dilations: tuple[int, ...],
        groups: int,
    ) -> torch.Tensor:
        """Convolve [N, C_in, H, W], laid out with its channels last."""
        # Read once: what is there is whole, and never changes again.
        weight = self._packed
        if weight is None:
            weight = self._pack(x.shape, strides, padding, dilations, groups)
        if not _has_onednn():
            return F.conv2d(x, weight, bias, strides, padding, dilations, groups)
        onednn: Any = torch.ops.mkldnn
        result: torch.Tensor = onednn._convolution_pointwise(
            x, weight, bias, padding, strides, dilations, groups, "none", [], ""
        )
        return result

    def _pack(self, shape: torch.Size, *options: Any) -> torch.Tensor:
        with self._packing:
            if self._packed is None and self._weight is not None:
                self._packed = pack(self._weight, shape, *options)
                self._weight = None
            assert self._packed is not None
            return self._packed


def pack(
    weight: torch.Tensor,
    shape: torch.Size,
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: int,
) -> torch.Tensor:
    """Lay a weight out as the CPU's kernels read it. shape: that of the images."""
    if not _has_onednn():
        return weight.contiguous(memory_format=torch.channels_last)
    onednn: Any = torch.ops.mkldnn
    packed: torch.Tensor = onednn._reorder_convolution_weight(weight, padding, strides, dilations, groups, shape)
    return packed


@dataclass(frozen=True)
class Convolution:
    """Convolve [N, C_in, H, W]; padding: zeros on both sides of each spatial axis."""

    weights: PackedWeights
    bias: torch.Tensor | None
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, C_out, H', W']."""
        # Channels last is what the CPU kernels compute in; everything elementwise that follows keeps it.
        return self.weights.convolve(
            x.contiguous(memory_format=torch.channels_last),
            self.bias,
            self.strides,
            self.padding,
            self.dilations,
            self.groups,
        )

    def padded(self, zeros: tuple[int, ...]) -> Convolution:
        """Make the convolution that pads by so much more."""
        return replace(self, padding=tuple(own + more for own, more in zip(self.padding, zeros, strict=True)))


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
