"""The compressed weights of a NeuralNetwork. Source: WeightParams and QuantizationParams of NeuralNetwork.proto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml.reading.files import open_model
from parity.formats.compression import CompressedWeight, granularity
from parity.formats.neuralnetwork.content import network_of
from parity.formats.neuralnetwork.graph import layer_shape

if TYPE_CHECKING:
    from conversion import Artifact


def compressed_weights(artifact: Artifact) -> tuple[CompressedWeight, ...]:
    """Read which weights are compressed, and how, in the order of the file; each is called `layer.field`."""
    weights = []
    for layer in network_of(open_model(artifact.path).specification).layers:
        kind = layer.WhichOneof("layer")
        if kind is None:
            continue
        params = getattr(layer, kind)
        for field, value in params.ListFields():
            if getattr(field.message_type, "name", "") == "WeightParams" and (value.rawValue or value.int8RawValue):
                shape = layer_shape(kind, params, field.name)
                axis = 1 if kind == "convolution" and params.isDeconvolution else 0
                weight = _weight(f"{layer.name}.{field.name}", value, shape, axis)
                weights += [weight] if weight else []
    return tuple(weights)


def _weight(name: str, params: Any, shape: tuple[int, ...], axis: int) -> CompressedWeight | None:
    quantization = params.quantization
    bits = 8 if params.int8RawValue else int(quantization.numberOfBits)
    if not shape or not 1 <= bits <= 8:
        return None
    ones = (1,) * len(shape)
    if quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = np.array(quantization.lookupTableQuantization.floatValue, np.float64).reshape(*ones, -1, 1)
        return CompressedWeight(name, "palette", bits, "per tensor", shape, codebook=table)
    linear = quantization.linearQuantization
    scale, bias = np.array(linear.scale, np.float64), np.array(linear.bias or [0.0], np.float64)
    sides = [-1 if place == axis else 1 for place in range(len(shape))]
    if not {scale.size, bias.size} <= {1, shape[axis]}:
        return None
    scale, bias = scale.reshape(sides), bias.reshape(sides)
    # A number is q * scale + bias, which is (q - zero) * scale.
    zero = np.divide(-bias, scale, np.zeros(np.broadcast_shapes(scale.shape, bias.shape)), where=scale != 0)
    levels = (-128, 127) if params.int8RawValue else (0, 2**bits - 1)
    return CompressedWeight(
        name, "linear", bits, granularity(scale.shape, shape), shape, scale=scale, zero=zero, levels=levels
    )
