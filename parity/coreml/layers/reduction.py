"""Reductions and rankings. Source: NeuralNetwork.proto, reduce, reduceL1 to reduceLogSumExp, argMax, topK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from parity.coreml.registry import layer

_Axes = tuple[int, ...]
_Reduction = Callable[[torch.Tensor, _Axes, bool], torch.Tensor]


def _product(x: torch.Tensor, axes: _Axes, keep: bool) -> torch.Tensor:
    # From the last axis on, so that the numbers of the others still hold.
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, _Reduction] = {
    "reduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "reduceProd": _product,
    "reduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "reduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "reduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt_(),
    "reduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "reduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log_(),
    "reduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
}
# The same under the names of the first generation; its LOGSUM is another function, the sum of the logarithms.
_OLD_NAMES = {
    "SUM": "reduceSum",
    "AVG": "reduceMean",
    "PROD": "reduceProd",
    "SUMSQUARE": "reduceSumSquare",
    "L1": "reduceL1",
    "L2": "reduceL2",
    "MAX": "reduceMax",
    "MIN": "reduceMin",
}
_OLD_AXES: dict[str, _Axes] = {"CHW": (-3, -2, -1), "HW": (-2, -1), "C": (-3,), "H": (-2,), "W": (-1,)}


def _register(kind: str, function: _Reduction) -> None:
    @layer(kind)
    def make(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        keep = bool(params.keepDims)
        axes = () if params.reduceAll else tuple(int(axis) for axis in params.axes)
        return lambda x: function(x, axes or tuple(range(x.ndim)), keep)


for _kind, _function in _REDUCTIONS.items():
    _register(_kind, _function)


@layer("reduce")
def reduce(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Reduce over channels, height or width and keep them as axes of size 1."""
    axes = _OLD_AXES[params.ReduceAxis.Name(params.axis)]
    mode = params.ReduceOperation.Name(params.mode)
    epsilon = params.epsilon or 1e-6
    if mode == "LOGSUM":
        return lambda x: (x + epsilon).log_().sum(axes, keepdim=True)
    if mode == "ARGMAX":
        if len(axes) > 1:
            raise ValueError("ARGMAX reduces one axis: C, H or W")
        return lambda x: x.argmax(axes[0], keepdim=True).float()
    function = _REDUCTIONS[_OLD_NAMES[mode]]
    return lambda x: function(x, axes, True)


@layer("argMax")
def arg_max(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give the index of the largest element along an axis."""
    axis, keep = int(params.axis), not params.removeDim
    return lambda x: x.argmax(axis, keepdim=keep).float()


@layer("argMin")
def arg_min(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give the index of the smallest element along an axis."""
    axis, keep = int(params.axis), not params.removeDim
    return lambda x: x.argmin(axis, keepdim=keep).float()


@layer("topK")
def top_k(params: Any, layer: Any) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Give the K largest or smallest elements along an axis, in order, and their indices."""
    axis, largest, fixed = int(params.axis), not params.useBottomK, int(params.K)

    def run(x: torch.Tensor, k: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        count = fixed if k is None else int(k.item())
        # A stable sort, so that of equals the first comes first.
        values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count).clone(), indices.narrow(axis, 0, count).float()

    return run


@layer("argSort")
def arg_sort(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give the indices that would sort an axis; of equals the first comes first."""
    axis, descending = int(params.axis), bool(params.descending)
    return lambda x: torch.sort(x, dim=axis, descending=descending, stable=True).indices.float()


@layer("cumSum")
def cumulative_sum(params: Any) -> Callable[..., torch.Tensor]:
    """Sum along an axis up to each element; `reverse` from the other end, `excludeFinalSum` without it."""
    fixed = int(params.axis)

    def run(x: torch.Tensor, axis: torch.Tensor | None = None) -> torch.Tensor:
        along = fixed if axis is None else int(axis.item())
        x = x.flip(along) if params.reverse else x
        total = x.cumsum(along)
        if params.excludeFinalSum:
            total = torch.cat(
                [torch.zeros_like(x.narrow(along, 0, 1)), total.narrow(along, 0, x.shape[along] - 1)], along
            )
        return total.flip(along) if params.reverse else total

    return run
