"""Parts of matrices set to zero. Source: NeuralNetwork.proto, matrixBandPart, lower- and upperTriangular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.registry import layer

_Function = Callable[[torch.Tensor], torch.Tensor]


@layer("lowerTriangular")
def lower_triangular(params: Any) -> _Function:
    """Keep what is not above the k-th diagonal of the last two axes."""
    diagonal = int(params.k)
    return lambda x: x.tril(diagonal)


@layer("upperTriangular")
def upper_triangular(params: Any) -> _Function:
    """Keep what is not below the k-th diagonal of the last two axes."""
    diagonal = int(params.k)
    return lambda x: x.triu(diagonal)


@layer("matrixBandPart")
def matrix_band_part(params: Any) -> _Function:
    """Keep a band around the diagonal of the last two axes; below zero a side is kept whole."""
    lower, upper = int(params.numLower), int(params.numUpper)

    def run(x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[-2:]
        return x.triu(-lower if lower >= 0 else -rows).tril(upper if upper >= 0 else columns)

    return run
