"""Elementwise layers of the first generation. Source: NeuralNetwork.proto, add to dot, bias and scale."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.weights import read_weights
from parity.coreml.ops.few_channels import row_by_row
from parity.coreml.registry import Prepared, layer

_Binary = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_add, _mul = row_by_row(torch.add), row_by_row(torch.mul)


def two(plain: _Binary, inplace: _Binary, role: str = "") -> Prepared:
    """Make the layer that joins two tensors; in place only where neither broadcasts."""
    plain = row_by_row(plain)
    return Prepared(plain, _into(plain, inplace), role)


def _into(plain: _Binary, inplace: _Binary) -> _Binary:
    return lambda x, y: inplace(x, y) if x.shape == y.shape else plain(x, y)


def _several(plain: _Binary, inplace: _Binary, role: str = "") -> Prepared:
    """Make the layer that joins any number of tensors, one after the other."""
    plain = row_by_row(plain)
    into = _into(plain, inplace)

    def run(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if not others:
            return x.clone()
        return functools.reduce(into, others[1:], plain(x, others[0]))

    return Prepared(run, lambda x, *others: functools.reduce(into, others, x), role)


@layer("add")
def add(params: Any, layer: Any) -> Prepared:
    """Add the inputs, or alpha to the only one."""
    alpha = params.alpha
    if len(layer.input) == 1:
        return Prepared(lambda x: x + alpha, lambda x: x.add_(alpha), "add")
    return _several(torch.add, torch.Tensor.add_, "add")


@layer("multiply")
def multiply(params: Any, layer: Any) -> Prepared:
    """Multiply the inputs, or the only one by alpha."""
    alpha = params.alpha
    if len(layer.input) == 1:
        return Prepared(lambda x: x * alpha, lambda x: x.mul_(alpha), "mul")
    return _several(torch.mul, torch.Tensor.mul_, "mul")


@layer("average")
def average(params: Any) -> Callable[..., torch.Tensor]:
    """Average over the inputs."""
    total = _several(torch.add, torch.Tensor.add_)
    return lambda *inputs: total.run(*inputs).div_(len(inputs))


@layer("max")
def maximum(params: Any) -> Callable[..., torch.Tensor]:
    """Take the largest of the inputs, element by element."""
    return _several(torch.maximum, torch.maximum).run


@layer("min")
def minimum(params: Any) -> Callable[..., torch.Tensor]:
    """Take the smallest of the inputs, element by element."""
    return _several(torch.minimum, torch.minimum).run


@layer("dot")
def dot(params: Any) -> _Binary:
    """Multiply two vectors [..., C, 1, 1] and sum; after normalising them where the cosine is wanted."""
    axes = (-3, -2, -1)

    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x * y).sum(axes, keepdim=True)

    if not params.cosineSimilarity:
        return product
    return lambda x, y: product(x, y) / (product(x, x).sqrt() * product(y, y).sqrt())


def _stored(weights: Any, shape: Any, what: str) -> torch.Tensor:
    """Read values of the shape [1], [C], [1, H, W] or [C, H, W], so that they broadcast over [..., C, H, W]."""
    sizes = [int(size) for size in shape] or [1]
    if len(sizes) not in (1, 3):
        raise ValueError(f"`{what}` has the shape {sizes}; allowed are [1], [C], [1, H, W] and [C, H, W]")
    return read_weights(weights, sizes if len(sizes) == 3 else [*sizes, 1, 1], what)


@layer("bias")
def bias(params: Any) -> Prepared:
    """Add stored values."""
    values = _stored(params.bias, params.shape, "bias")
    return Prepared(lambda x: _add(x, values), role="add")


@layer("scale")
def scale(params: Any) -> Prepared:
    """Multiply by stored values and add stored values."""
    factor = _stored(params.scale, params.shapeScale, "scale")
    if not params.hasBias:
        return Prepared(lambda x: _mul(x, factor), role="mul")
    offset = _stored(params.bias, params.shapeBias, "bias")
    return Prepared(lambda x: _add(_mul(x, factor), offset), role="mul")
