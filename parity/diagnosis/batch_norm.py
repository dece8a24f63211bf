"""What a convolution and the batch norm behind it come to as one operation, rightly folded and wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.formats.graph import Operation


@dataclass(frozen=True)
class Unit:
    """Hold one operation of PyTorch's with weights.

    module: its path; kernel: what it multiplies with, float64; bias: what it adds. norm: the batch norm right
    behind it, as (gamma, beta, mean, variance), with its epsilon; a converter may fold it in.
    kernel_name, bias_name, norm_names: what these are called in the state dictionary.
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
        return self.kernel * scale.reshape(-1, *(1,) * (self.kernel.ndim - 1)), (offset - mean) * scale + beta


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
    right = operation.type in ("MatMul", "batchedMatmul") or (
        operation.type == "matmul" and operation.attributes.get("transpose_y") != "True"
    )
    right |= operation.type == "Gemm" and operation.attributes.get("transB", "0") == "0"
    if len(wanted) == 2 and (squeezed != wanted or (right and squeezed == wanted[::-1])):
        kernel = kernel.reshape(wanted).T
    return kernel.reshape(shape)


def channel_scales(operation: Operation, place: str, unit: Unit) -> np.ndarray:
    """Measure by what each output channel of a kernel was multiplied."""
    array = operation.weights[place].astype(np.float64)
    kernel = laid_out(operation, place, unit.kernel)
    axis = next((a for a, size in enumerate(array.shape) if size == unit.kernel.shape[0]), 0)
    over = tuple(a for a in range(array.ndim) if a != axis)
    scale: np.ndarray = (array * kernel).sum(over) / (np.square(kernel).sum(over) + 1e-30)
    return scale


def wrong_folds(unit: Unit, scale: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Fold as converters have done it wrongly; scale: by which the artefact did."""
    gamma, beta, mean, variance = unit.norm
    yield "batch-norm mean and variance swapped", replace(unit, norm=(gamma, beta, variance, np.abs(mean))).folded()
    epsilon = fitted_epsilon(scale, gamma, variance, unit.epsilon)
    if not np.isclose(epsilon, unit.epsilon, rtol=2e-2, atol=0):
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
