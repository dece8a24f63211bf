"""Two-dimensional convolutions whose weights lie as the CPU reads them, brought there once and not in every run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F


class PackedWeights:
    """Hold the weights [C_out, C_in / groups, kh, kw] of a convolution; the first use packs them, for its size."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight
        self._packed = False

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
        if not _has_onednn():
            if not self._packed:
                self._weight, self._packed = self._weight.contiguous(memory_format=torch.channels_last), True
            return F.conv2d(x, self._weight, bias, strides, padding, dilations, groups)
        onednn: Any = torch.ops.mkldnn
        if not self._packed:
            self._weight = onednn._reorder_convolution_weight(
                self._weight, padding, strides, dilations, groups, x.shape
            )
            self._packed = True
        result: torch.Tensor = onednn._convolution_pointwise(
            x, self._weight, bias, padding, strides, dilations, groups, "none", [], ""
        )
        return result


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
