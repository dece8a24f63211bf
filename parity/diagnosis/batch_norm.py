"""What a convolution and the batch norm behind it come to as one operation, rightly folded and wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.core.noise import EPSILON_MOST
from parity.formats.graph import Operation


@dataclass(frozen=True)
class Unit:
    """Hold one operation of PyTorch's with weights.

    module: its path; kernel: what it multiplies with, float64; bias: what it adds. norm: the batch norm right
    behind it, as (gamma, beta, mean, variance), with its epsilon; a converter may fold it in.
    kernel_name, bias_name, norm_names: what these are called in the state dictionary.
    scaled: in the place of a norm, all is multiplied by one number and another is added.
    groups: of a transposed convolution, whose kernel is [inputs, outputs / groups, ...]; 0: the first axis of the
    kernel is that of the outputs.
    """

    module: str
    type: str
    kernel: np.ndarray
    bias: np.ndarray | None
    norm: tuple[np.ndarray, ...] = ()
    epsilon: float = 0.0
    kernel_name: str = ""
    bias_name: str = ""
    norm_names: tuple[str, ...] = ()
    groups: int = 0
    scaled: bool = False

    @property
    def outputs(self) -> int:
        """How many output channels there are."""
        first, second = (*self.kernel.shape, 1)[:2]
        return int(second * self.groups if self.groups else first)

    @property
    def axes(self) -> tuple[str, ...]:
        """What the axes of the kernel stand for."""
        first = ("input", "output") if self.groups else ("output", "input")
        return (*first, "row", "column", "plane")[: self.kernel.ndim]

    def spread(self, numbers: np.ndarray) -> np.ndarray:
        """Lay a number for each output channel out as the kernel, to multiply it."""
        after = (1,) * (self.kernel.ndim - 1 - bool(self.groups))
        if not self.groups:
            return numbers.reshape(-1, *after)
        inputs = self.kernel.shape[0]
        spread: np.ndarray = np.repeat(numbers.reshape(self.groups, -1), inputs // self.groups, axis=0)
        return spread.reshape(inputs, -1, *after)

    def summed(self, numbers: np.ndarray) -> np.ndarray:
        """Add the numbers of a kernel's layout up for each output channel."""
        if not self.groups:
            return np.asarray(numbers.reshape(self.outputs, -1).sum(1))
        inputs, outputs = self.kernel.shape[:2]
        grouped = numbers.reshape(self.groups, inputs // self.groups, outputs, -1)
        return np.asarray(grouped.sum((1, 3))).reshape(-1)

    @property
    def scale(self) -> np.ndarray:
        """By what the batch norm multiplies each output channel."""
        gamma, _, _, variance = self.norm
        factors: np.ndarray = gamma / np.sqrt(variance + self.epsilon)
        return factors

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Fold the batch norm into kernel and bias, in float64."""
        _, beta, mean, _ = self.norm
        scale = self.scale
        offset = 0.0 if self.bias is None else self.bias
        return self.kernel * self.spread(scale), (offset - mean) * scale + beta


@dataclass(frozen=True)
class Norm:
    """Hold a normalisation with weights that stands by itself: role -> vector."""

    module: str
    vectors: Mapping[str, np.ndarray]


def laid_out(operation: Operation, place: str, kernel: np.ndarray) -> np.ndarray:
    """Lay PyTorch's kernel out as the operation reads it: transposed where it stands on the right of a product."""
    shape = operation.weights[place].shape
    squeezed = tuple(size for size in shape if size != 1)
    wanted = tuple(size for size in kernel.shape if size != 1)
    if len(wanted) == 2 and (squeezed != wanted or (is_right(operation) and squeezed == wanted[::-1])):
        kernel = kernel.reshape(wanted).T
    return kernel.reshape(shape)


def is_right(operation: Operation) -> bool:
    """Say whether an operation reads its weight as [in, out], on the right of a product; PyTorch has [out, in]."""
    if operation.type == "Gemm":
        return operation.attributes.get("transB", "0") == "0"
    if operation.type == "matmul":
        return operation.attributes.get("transpose_y") != "True"
    return operation.type in ("MatMul", "batchedMatmul")


def channel_scales(operation: Operation, place: str, unit: Unit) -> np.ndarray:
    """Measure by what each output channel of a kernel was multiplied."""
    places = laid_out(operation, place, np.arange(unit.kernel.size).reshape(unit.kernel.shape))
    own = np.empty(unit.kernel.size)
    own[places.reshape(-1)] = operation.weights[place].reshape(-1)
    kernel = unit.kernel.reshape(-1)
    return unit.summed(own * kernel) / (unit.summed(np.square(kernel)) + 1e-30)


def wrong_folds(unit: Unit, scale: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Fold as converters have done it wrongly; scale: by which the artefact did."""
    gamma, beta, mean, variance = unit.norm
    if unit.scaled:
        return
    yield "batch-norm mean and variance swapped", replace(unit, norm=(gamma, beta, variance, np.abs(mean))).folded()
    for name, fresh in fresh_norms(gamma, beta, mean, variance):
        yield name, replace(unit, norm=fresh).folded()
    epsilon = fitted_epsilon(scale, gamma, variance, unit.epsilon)
    # Nobody writes a larger one: what fits so is another fault.
    if epsilon <= EPSILON_MOST and not np.isclose(epsilon, unit.epsilon, rtol=2e-2, atol=0):
        yield (
            f"batch-norm epsilon lost ({epsilon:.4g} for {unit.epsilon:g})",
            replace(unit, epsilon=epsilon).folded(),
        )
    scale = gamma / np.sqrt(variance + unit.epsilon)
    offset = np.zeros_like(mean) if unit.bias is None else unit.bias
    kernel = unit.folded()[0]
    yield "batch norm folded without its bias", (kernel, -mean * scale)
    yield "batch norm folded without its mean", (kernel, beta + 0 * mean)
    yield "batch norm folded without scaling the bias", (kernel, offset + beta - mean * scale)
    yield "batch norm folded into the bias alone", (unit.kernel, unit.folded()[1])
    if unit.groups > 1:
        yield "batch norm folded across the groups of a transposed convolution", _across_groups(unit)


def fresh_norms(
    gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]]:
    """Give a batch norm's vectors as they are where some of them were never loaded."""
    zeros, ones = np.zeros_like(mean), np.ones_like(mean)
    yield "batch-norm statistics not loaded (mean 0, variance 1)", (gamma, beta, zeros, ones)
    yield "batch-norm mean not loaded (0)", (gamma, beta, zeros, variance)
    yield "batch-norm variance not loaded (1)", (gamma, beta, mean, ones)
    yield "batch-norm scale not loaded (1)", (ones, beta, mean, variance)
    yield "batch-norm scale and shift not loaded (1 and 0)", (ones, zeros, mean, variance)
    yield "batch norm not loaded (mean 0, variance 1, scale 1, shift 0)", (ones, zeros, zeros, ones)


def _across_groups(unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Fold as if the first axes of the kernel, exchanged, were the output channels.

    coremltools does so (fuse_conv_batchnorm, seen in 9.0).
    """
    kernel, bias = unit.folded()
    turned = unit.kernel.swapaxes(0, 1)
    wrong = turned.reshape(unit.outputs, -1) * unit.scale[:, None]
    return wrong.reshape(turned.shape).swapaxes(0, 1).reshape(kernel.shape), bias


def fitted_epsilon(scale: np.ndarray, gamma: np.ndarray, variance: np.ndarray, epsilon: float) -> float:
    """Find the epsilon with which gamma / sqrt(variance + epsilon) comes nearest to a scale; at least 0.

    With a = (scale / gamma)^2 it is where a * (variance + epsilon) is 1 in every channel.
    """
    if scale.shape != gamma.shape:
        return epsilon
    a = np.square(scale / np.where(np.abs(gamma) > 1e-12, gamma, np.inf))
    # Channels of small variance tell most: there epsilon counts.
    weight = 1 / np.square(np.maximum(variance + epsilon, 1e-12) * np.maximum(a, 1e-12))
    total = (weight * np.square(a)).sum()
    return float(max((weight * a * (1 - a * variance)).sum() / total, 0.0)) if total > 0 else epsilon
