"""Weights of NeuralNetwork layers: WeightParams in its four storage forms, and the fields that layers share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def read_weights(weights: Any, shape: Sequence[int], what: str, axes: Sequence[int] = (0,)) -> torch.Tensor:
    """Read a WeightParams message into a float32 tensor.

    what: the field, for errors. axes: the axes of the output channels, which linear quantization counts by: one, or
        that of the groups before that of the channels in a group.
    Raises ValueError where the number of values is not that of the shape.
    """
    sizes = tuple(int(size) for size in shape)
    count = math.prod(sizes)
    quantized = weights.rawValue or weights.int8RawValue
    if quantized:
        flat = _integers(weights, count, what)
    elif weights.float16Value:
        flat = np.frombuffer(weights.float16Value, np.float16).astype(np.float32)
    else:
        flat = np.array(weights.floatValue, np.float32)
    if flat.size != count:
        raise ValueError(f"`{what}` holds {flat.size} value(s), the shape {list(sizes)} takes {count}")
    values = flat.reshape(sizes)
    if quantized:
        values = _dequantized(weights, values, what, axes)
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def read_bias(layer: Any, channels: int) -> torch.Tensor | None:
    """Read the field `bias` of a layer where its flag `hasBias` is set."""
    return read_weights(layer.bias, (channels,), "bias") if layer.hasBias else None


def _integers(weights: Any, count: int, what: str) -> np.ndarray:
    if weights.int8RawValue:
        return np.frombuffer(weights.int8RawValue, np.int8)
    bits = int(weights.quantization.numberOfBits)
    if not 1 <= bits <= 8:
        raise ValueError(f"`{what}` is quantized to {bits} bit(s); 1 to 8 are defined")
    raw = np.frombuffer(weights.rawValue, np.uint8)
    if bits == 8:
        return raw
    if raw.size * 8 < count * bits:
        raise ValueError(f"`{what}` holds {raw.size} byte(s), {count} value(s) of {bits} bit(s) take more")
    # Values stand one after the other, across bytes, each with its highest bit first.
    single = np.unpackbits(raw)[: count * bits].reshape(count, bits)
    numbers: np.ndarray = single @ (1 << np.arange(bits)[::-1]).astype(np.uint8)
    return numbers


def _dequantized(weights: Any, values: np.ndarray, what: str, axes: Sequence[int]) -> np.ndarray:
    quantization = weights.quantization
    kind = quantization.WhichOneof("QuantizationType")
    if kind == "lookupTableQuantization":
        table = np.array(quantization.lookupTableQuantization.floatValue, np.float32)
        if table.size <= int(values.max(initial=0)):
            raise ValueError(f"`{what}` has a look-up table of {table.size} values, and the index {values.max()}")
        looked_up: np.ndarray = table[values]
        return looked_up
    if kind != "linearQuantization":
        raise ValueError(f"`{what}` is quantized, but the file says neither by which scale nor by which table")
    linear = quantization.linearQuantization
    scaled: np.ndarray = values * _per_channel(linear.scale, values.shape, f"{what}'s scale", axes)
    if len(linear.bias):
        scaled = scaled + _per_channel(linear.bias, values.shape, f"{what}'s bias", axes)
    return scaled


def _per_channel(numbers: Sequence[float], shape: tuple[int, ...], what: str, axes: Sequence[int]) -> np.ndarray:
    array = np.array(numbers, np.float32)
    if array.size == 1:
        return array.reshape(())
    # For a grouped deconvolution coremltools writes as many as a group has channels.
    for counted in (axes, axes[-1:]):
        if array.size == math.prod(shape[axis] for axis in counted):
            return array.reshape([size if axis in counted else 1 for axis, size in enumerate(shape)])
    # coremltools quantizes loadConstant's data and the like as a vector: each value has a scale of its own.
    if array.size == math.prod(shape):
        return array.reshape(shape)
    channels = math.prod(shape[axis] for axis in axes)
    raise ValueError(f"{what} has {array.size} values; allowed are 1 or {channels}, one per channel")


def pair(numbers: Sequence[int], default: int, what: str) -> tuple[int, int]:
    """Return a field of two numbers, [H, W], or its default where the file leaves it out."""
    if not len(numbers):
        return default, default
    if len(numbers) != 2:
        raise ValueError(f"`{what}` has {len(numbers)} values; two are defined, height and width")
    return int(numbers[0]), int(numbers[1])


def triple(params: Any, name: str) -> tuple[int, int, int]:
    """Return the three fields of a layer on volumes that begin with `name`: depth, height and width."""
    depth, height, width = (int(getattr(params, name + axis)) for axis in ("Depth", "Height", "Width"))
    if min(depth, height, width) < 1:
        raise ValueError(f"`{name}` is {[depth, height, width]}, (depth, height, width); each is at least 1")
    return depth, height, width


def custom_padding(params: Any) -> tuple[int, ...]:
    """Return a volume's padding as (front, back, top, bottom, left, right)."""
    names = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    return tuple(int(getattr(params, f"customPadding{name}")) for name in names)


def border(amounts: Any) -> tuple[int, int, int, int]:
    """Return a BorderAmounts message as (top, bottom, left, right)."""
    edges = amounts.borderAmounts
    if not len(edges):
        return 0, 0, 0, 0
    if len(edges) != 2:
        raise ValueError(f"`borderAmounts` has {len(edges)} entries; two are defined, height and width")
    height, width = edges
    return (
        int(height.startEdgeSize),
        int(height.endEdgeSize),
        int(width.startEdgeSize),
        int(width.endEdgeSize),
    )


def as_images(x: torch.Tensor, rank: int = 4) -> torch.Tensor:
    """View [..., C, H, W] as [N, C, H, W], the form that the spatial kernels take and keep channels last in.

    rank: 5 for [..., C, D, H, W].
    """
    if x.ndim == rank:
        return x
    # Only this keeps the stride of a batch of one, which torch reads the memory format from.
    return x.squeeze(0) if x.ndim == rank + 1 and x.shape[0] == 1 else x.reshape(-1, *x.shape[1 - rank :])


def as_before(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """View the images [N, C', H', W'], or volumes, with the leading axes of x, from which they were computed."""
    if x.ndim == y.ndim:
        return y
    if x.ndim == y.ndim + 1 and x.shape[0] == 1:
        return y.unsqueeze(0)
    return y.reshape(*x.shape[: 1 - y.ndim], *y.shape[1:])
