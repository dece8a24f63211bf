"""Matrix products. Source: coremltools' MIL definitions, family linear."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F

from parity.coreml.registry import op
from parity.coreml.running.packing import PackedMatrix, fits_matrix, gain


def _alike(*values: torch.Tensor) -> list[torch.Tensor]:
    """Bring tensors to the type that holds them all: from iOS17 on, weights may differ in type from the input."""
    widest = reduce(torch.promote_types, [value.dtype for value in values])
    return [value.to(widest) for value in values]


@dataclass(frozen=True)
class _Linear:
    matrix: PackedMatrix
    bias: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # Integers become what the weight is.
        return self.matrix.multiply(x if x.is_floating_point() else x.float(), self.bias)

    def gain(self) -> tuple[float, float]:
        """Return by how much a result is at most larger than the input: factor and offset."""
        return gain(self.matrix.weight(), self.bias)


def _prepare_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> _Linear | None:
    """Prepare what nearly every product is: of numbers that are computed with weights that are known, in fp32."""
    if not fits_matrix(weight, bias):
        return None
    return _Linear(PackedMatrix(weight), bias)


@op("linear", prepare=_prepare_linear)
def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute x @ weight.T + bias; x [..., D_in], weight [D_out, D_in], bias [D_out]."""
    return F.linear(*(_alike(x, weight) if bias is None else _alike(x, weight, bias)))


@op("matmul")
def matmul(x: torch.Tensor, y: torch.Tensor, transpose_x: bool = False, transpose_y: bool = False) -> torch.Tensor:
    """Multiply matrices, with NumPy's broadcasting of the leading axes; transposing leaves vectors alone."""
    x, y = _alike(x, y)
    return torch.matmul(x.mT if transpose_x and x.ndim > 1 else x, y.mT if transpose_y and y.ndim > 1 else y)


# An axis of one element is broadcast, in torch's einsum as in Apple's text.
@op("einsum")
def einsum(values: list[torch.Tensor], equation: str) -> torch.Tensor:
    """Multiply two tensors in Einstein's notation, as in `nchw,nwhu->nchu`."""
    return torch.einsum(equation, *values)
