"""Matrix products and look-ups. Source: NeuralNetwork.proto, innerProduct, embedding and batchedMatmul."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import read_bias, read_weights
from parity.coreml.registry import Prepared, layer
from parity.coreml.running.packing import PackedMatrix, gain


# With int8DynamicQuantize a device rounds the input to 8 bits by a rule that the specification leaves open; here
# only the weights are rounded.
@layer("innerProduct")
def inner_product(params: Any) -> Prepared:
    """Multiply by [C_out, C_in]; up to rank 3 the last axis is C_in, from rank 4 on the last three are."""
    channels = int(params.outputChannels)
    matrix = PackedMatrix(read_weights(params.weights, (channels, params.inputChannels), "weights"))
    bias = read_bias(params, channels)

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim < 4:
            return matrix.multiply(x, bias)
        return matrix.multiply(x.flatten(-3), bias)[..., None, None]

    return Prepared(run, role="linear", gain=lambda: gain(matrix.weight(), bias))


@layer("batchedMatmul")
def batched_matmul(params: Any, layer: Any) -> Callable[..., torch.Tensor]:
    """Multiply matrices in the last two axes, or a tensor's last axis by a stored matrix [X1, X2]."""
    if len(layer.input) == 1:
        first, second = int(params.weightMatrixFirstDimension), int(params.weightMatrixSecondDimension)
        # Stored column by column, which is [X2, X1] row by row: what F.linear takes.
        matrix = PackedMatrix(read_weights(params.weights, (second, first), "weights"))
        bias = read_bias(params, second)
        return lambda a: matrix.multiply(a, bias)

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a = a[None] if a.ndim == 1 else a
        b = b[:, None] if b.ndim == 1 else b
        return torch.matmul(a.mT if params.transposeA else a, b.mT if params.transposeB else b)

    return run


@layer("embedding")
def embedding(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Look vectors up by the indices [..., 1, 1, 1]; gives [..., C_out, 1, 1]."""
    channels = int(params.outputChannels)
    look_up = _look_up(params, channels, int(params.inputDim))
    return lambda x: look_up(x[..., 0, 0, 0])[..., None, None]


@layer("embeddingND")
def embedding_nd(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Look vectors up by the indices [..., 1]; gives [..., embeddingSize]."""
    look_up = _look_up(params, int(params.embeddingSize), int(params.vocabSize))
    return lambda x: look_up(x[..., 0])


def _look_up(params: Any, channels: int, words: int) -> Callable[[torch.Tensor], torch.Tensor]:
    table = read_weights(params.weights, (channels, words), "weights").T
    bias = read_bias(params, channels)
    table = (table if bias is None else table + bias).contiguous()
    return lambda indices: F.embedding(indices.long(), table)
