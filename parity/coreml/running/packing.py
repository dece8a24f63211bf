"""Convolutions and products whose weights lie as the CPU reads them, brought there once and not in every run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

# A product of fewer multiplications takes less time than oneDNN takes to look its kernel up, some 20 us.
_FEW = 1 << 18


class _Plain(threading.local):
    on = False


_plain = _Plain()


@contextmanager
def plain_weights() -> Iterator[None]:
    """Compute with PyTorch's public functions and weights as they are in the file, inside, in this thread.

    A compiler knows these functions, and lays weights out by itself.
    """
    before, _plain.on = _plain.on, True
    try:
        yield
    finally:
        _plain.on = before


class _Weights:
    """Hold weights as they are, packed, or both.

    Several threads may predict at once: one of them packs, the others wait for it.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = tuple(weight.shape)
        self._weight: torch.Tensor | None = weight
        self._packed: torch.Tensor | None = None
        self._packing = threading.Lock()

    def weight(self) -> torch.Tensor:
        """Return the weights as they are."""
        with self._packing:
            return self._plain()

    def unpacked(self) -> torch.Tensor:
        """Return the weights as they are, and keep them so: for a compiler that holds them too."""
        with self._packing:
            self._weight, self._packed = self._plain(), None
            return self._weight

    def _plain(self) -> torch.Tensor:
        if self._weight is not None:
            return self._weight
        assert self._packed is not None
        return self._packed.to_dense()


class PackedWeights(_Weights):
    """Hold the weights [C_out, C_in / groups, kh, kw] of a convolution; the first use packs them, for its size."""

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
        if _plain.on:
            return F.conv2d(x, self.unpacked(), bias, strides, padding, dilations, groups)
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


class PackedMatrix(_Weights):
    """Hold the weights [C_out, C_in] of a product; the first use packs them.

    Those of few multiplications stay beside it as they are: which of the two serves follows from the sizes alone,
    and not from what was computed before.
    """

    def multiply(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Compute x @ weight.T + bias; x [..., C_in], bias [C_out]."""
        filters, channels = self.shape
        if x.shape[-1] != channels:
            raise ValueError(f"{x.shape[-1]} channels come in, and the weight [C_out, C_in] takes {channels}")
        if _plain.on:
            return F.linear(x, self.unpacked().to(x.dtype), bias)
        few = x.numel() * filters < _FEW
        if few or x.dtype is not torch.float32 or not _has_onednn():
            return F.linear(x, self.weight().to(x.dtype), bias)
        packed = self._packed
        if packed is None:
            packed = self._pack(x.numel() // channels)
        onednn: Any = torch.ops.mkldnn
        result: torch.Tensor = onednn._linear_pointwise(x.contiguous(), packed, bias, "none", [], "")
        return result

    def _pack(self, rows: int) -> torch.Tensor:
        with self._packing:
            if self._packed is None and self._weight is not None:
                onednn: Any = torch.ops.mkldnn
                self._packed = onednn._reorder_linear_weight(self._weight.contiguous(), rows)
                if self._weight.numel() >= _FEW:
                    self._weight = None
            assert self._packed is not None
            return self._packed


def gain(weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[float, float]:
    """Return what sums of products with weights [C_out, ...] are at most: factor times the largest, plus offset."""
    factor = float(weight.abs().flatten(1).sum(1).amax()) if weight.numel() else 0.0
    return factor, float(bias.abs().amax()) if bias is not None and bias.numel() else 0.0


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
        if _plain.on:
            return F.conv2d(x, self.matrix.unpacked()[:, :, None, None], self.bias)
        places = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        return self.matrix.multiply(places, self.bias).permute(0, 3, 1, 2)

    def gain(self) -> tuple[float, float]:
        """Return by how much a result is at most larger than the input: factor and offset."""
        return gain(self.matrix.weight(), self.bias)

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
        if _plain.on:  # the compiler chooses how channels lie
            return self._convolve(x)
        # Channels last is what the CPU kernels compute in; everything elementwise that follows keeps it.
        return self._convolve(x.contiguous(memory_format=torch.channels_last))

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        return self.weights.convolve(x, self.bias, self.strides, self.padding, self.dilations, self.groups)

    def gain(self) -> tuple[float, float]:
        """Return by how much a result is at most larger than the input: factor and offset."""
        return gain(self.weights.weight(), self.bias)

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
