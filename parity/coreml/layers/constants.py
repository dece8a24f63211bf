"""Values that come from the file or from a rule. Source: NeuralNetwork.proto, loadConstant, fill and range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.layers.tensor_shape import integers
from parity.coreml.layers.weights import read_weights
from parity.coreml.ops.tensor_operation import evenly_spaced
from parity.coreml.registry import layer


# A view, because every run gives the same tensor: nothing may overwrite it.
@layer("loadConstant", view=True)
def load_constant(params: Any) -> Callable[[], torch.Tensor]:
    """Give stored values [C, H, W] as [1, 1, C, H, W]."""
    if len(params.shape) != 3:
        raise ValueError(f"`shape` is {list(params.shape)}; allowed is [C, H, W]")
    values = read_weights(params.data, params.shape, "data")[None, None]
    return lambda: values


@layer("loadConstantND", view=True)
def load_constant_nd(params: Any) -> Callable[[], torch.Tensor]:
    """Give stored values."""
    values = read_weights(params.data, params.shape, "data")
    return lambda: values


@layer("fillStatic")
def fill_static(params: Any) -> Callable[[], torch.Tensor]:
    """Give a tensor of `targetShape` that holds one value."""
    shape = [int(size) for size in params.targetShape]
    return lambda: torch.full(shape, params.value)


@layer("fillDynamic")
def fill_dynamic(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give a tensor of the shape that the input says."""
    return lambda shape: torch.full(integers(shape), params.value)


@layer("fillLike")
def fill_like(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give a tensor of the input's shape."""
    return lambda x: torch.full_like(x, params.value)


@layer("rangeStatic")
def range_static(params: Any) -> Callable[[], torch.Tensor]:
    """Give evenly spaced values from startValue up to, without, endValue."""
    return lambda: _range(params.endValue, params.startValue, params.stepSizeValue)


@layer("rangeDynamic")
def range_dynamic(params: Any) -> Callable[..., torch.Tensor]:
    """Give evenly spaced values; the end is an input, the start and the step may be."""

    def run(end: torch.Tensor, start: torch.Tensor | None = None, step: torch.Tensor | None = None) -> torch.Tensor:
        return _range(
            end.item(),
            params.startValue if start is None else start.item(),
            params.stepSizeValue if step is None else step.item(),
        )

    return run


def _range(end: float, start: float, step: float) -> torch.Tensor:
    return evenly_spaced(start, end, step, "fp32").float()
