"""Convolutions and products whose weights lie as the CPU reads them, brought there once and not in every run."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

# A product of fewer multiplications takes less time than oneDNN takes to look its kernel up, some 20 us.
_FEW = 1 << 18


class PackedWeights:
    """Hold the weights [C_out, C_in / groups, kh, kw] of a convolution; the first use packs them, for its size.

    Several threads may predict at once: one of them packs, the others wait for it.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = tuple(weight.shape)
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
        if x.shape[1] != self.shape[1] * groups:
            raise ValueError(
                f"{x.shape[1]} channels come in, and the weight {list(self.shape)} of {groups} group(s) takes "
                f"{self.shape[1] * groups}"
            )
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


class PackedMatrix:
    """Hold the weights [C_out, C_in] of a product; the first use packs them.

    Those of few multiplications stay beside it as they are: which of the two serves follows from the sizes alone,
    and not from what was computed before.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.filters, self.channels = weight.shape
        self._weight: torch.Tensor | None = weight
        self._packed: torch.Tensor | None = None
        self._packing = threading.Lock()

    def multiply(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Compute x @ weight.T + bias; x [..., C_in], bias [C_out]."""
        if x.shape[-1] != self.channels:
            raise ValueError(f"{x.shape[-1]} channels come in, and the weight [C_out, C_in] takes {self.channels}")
        few = x.numel() * self.filters < _FEW
        if few or x.dtype is not torch.float32 or not _has_onednn():
            return F.linear(x, self.weight().to(x.dtype), bias)
        packed = self._packed
        if packed is None:
            packed = self._pack(x.numel() // self.channels)
        onednn: Any = torch.ops.mkldnn
        result: torch.Tensor = onednn._linear_pointwise(x.contiguous(), packed, bias, "none", [], "")
        return result

    def weight(self) -> torch.Tensor:
        """Return the weights [C_out, C_in]."""
        weight = self._weight
        if weight is None:
            assert self._packed is not None
            weight = self._packed.to_dense()
        return weight

    def _pack(self, rows: int) -> torch.Tensor:
        with self._packing:
            if self._packed is None and self._weight is not None:
                onednn: Any = torch.ops.mkldnn
                self._packed = onednn._reorder_linear_weight(self._weight.contiguous(), rows)
                if self._weight.numel() >= _FEW:
                    self._weight = None
            assert self._packed is not None
            return self._packed


def fits_matrix(weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Say whether a PackedMatrix computes with a weight and a bias as F.linear does."""
    if weight.dtype is not torch.float32 or weight.ndim != 2 or not weight.numel():
        return False
    return bias is None or (bias.dtype is torch.float32 and bias.shape == weight.shape[:1])


@dataclass(frozen=True)
class Pointwise:
    """Convolve [N, C_in, H, W] by a kernel of one element, which multiplies a matrix by every place."""

    matrix: PackedMatrix
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, C_out, H, W], laid out with its channels last."""
        places = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        return self.matrix.multiply(places, self.bias).permute(0, 3, 1, 2)

    def padded(self, zeros: tuple[int, ...]) -> Convolution:
        """Make the convolution that puts so many zeros around its input, which the bias alone is added to."""
        weight = self.matrix.weight()[:, :, None, None]
        return Convolution(PackedWeights(weight), self.bias, (1, 1), zeros, (1, 1), 1)


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


def make_convolution(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: int,
) -> Convolution | Pointwise:
    """Make the form of a convolution that computes it soonest; weight [C_out, C_in / groups, kh, kw]."""
    single = weight.shape[2:] == (1, 1) and groups == 1 and set(strides) == {1} and not any(padding)
    if single and fits_matrix(matrix := weight[:, :, 0, 0], bias):
        return Pointwise(PackedMatrix(matrix), bias)
    return Convolution(PackedWeights(weight), bias, strides, padding, dilations, groups)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
