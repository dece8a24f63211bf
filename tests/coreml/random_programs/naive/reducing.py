"""Twins of what looks along axes: reductions, normalisations, sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.coreml.random_programs.twins import twin_of

_OVER: dict[str, Callable[[Any], Any]] = {
    "reduce_l1_norm": lambda row: np.abs(row).sum(-1),
    "reduce_l2_norm": lambda row: np.sqrt((row * row).sum(-1)),
    "reduce_log_sum": lambda row: np.log(row.sum(-1)),
    "reduce_log_sum_exp": lambda row: np.log(np.exp(row).sum(-1)),
    "reduce_max": lambda row: row.max(-1),
    "reduce_mean": lambda row: row.sum(-1) / row.shape[-1],
    "reduce_min": lambda row: row.min(-1),
    "reduce_prod": lambda row: row.prod(-1),
    "reduce_sum": lambda row: row.sum(-1),
    "reduce_sum_square": lambda row: (row * row).sum(-1),
}


def _rows(x: Any, axes: Any) -> tuple[Any, list[int]]:
    """Return the elements of these axes flattened behind the others, and the axes."""
    chosen = sorted(int(axis) % x.ndim for axis in (range(x.ndim) if axes is None else axes))
    kept = [axis for axis in range(x.ndim) if axis not in chosen]
    return x.transpose(kept + chosen).reshape([x.shape[axis] for axis in kept] + [-1]), chosen


def _reduced(x: Any, axes: Any, keep_dims: bool, over: Callable[[Any], Any]) -> Any:
    rows, chosen = _rows(x, axes)
    result = over(rows)
    return np.reshape(result, [1 if a in chosen else n for a, n in enumerate(x.shape)]) if keep_dims else result


for _kind, _function in _OVER.items():
    twin_of(_kind)(lambda x, axes=None, keep_dims=False, over=_function: _reduced(x, axes, keep_dims, over))


@twin_of("reduce_argmax")
def reduce_argmax(x: Any, axis: int, keep_dims: bool, output_dtype: str = "int32") -> Any:
    return _reduced(x, [axis], keep_dims, lambda row: row.argmax(-1))


@twin_of("reduce_argmin")
def reduce_argmin(x: Any, axis: int, keep_dims: bool, output_dtype: str = "int32") -> Any:
    return _reduced(x, [axis], keep_dims, lambda row: row.argmin(-1))


@twin_of("softmax")
def softmax(x: Any, axis: int) -> Any:
    powers = np.exp(x)
    return powers / powers.sum(axis, keepdims=True)


@twin_of("batch_norm")
def batch_norm(x: Any, mean: Any, variance: Any, epsilon: float, gamma: Any = 1.0, beta: Any = 0.0) -> Any:
    mean, variance, gamma, beta = (
        np.reshape(p, (1, -1) + (1,) * (x.ndim - 2)) for p in (mean, variance, gamma, beta)
    )
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def _normal(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


@twin_of("instance_norm")
def instance_norm(x: Any, epsilon: float, gamma: Any = 1.0, beta: Any = 0.0) -> Any:
    gamma, beta = (np.reshape(p, (1, -1) + (1,) * (x.ndim - 2)) for p in (gamma, beta))
    return _normal(x, tuple(range(2, x.ndim)), epsilon) * gamma + beta


@twin_of("layer_norm")
def layer_norm(x: Any, epsilon: float, axes: Any = None, gamma: Any = 1.0, beta: Any = 0.0) -> Any:
    chosen = tuple(sorted(int(a) % x.ndim for a in (range(x.ndim) if axes is None else axes)))
    shape = [n if a in chosen else 1 for a, n in enumerate(x.shape)]
    gamma, beta = (np.reshape(p, shape) if np.ndim(p) else p for p in (gamma, beta))
    return _normal(x, chosen, epsilon) * gamma + beta


@twin_of("l2_norm")
def l2_norm(x: Any, epsilon: float) -> Any:
    return x / np.sqrt((x * x).sum((-3, -2, -1), keepdims=True) + epsilon)


@twin_of("local_response_norm")
def local_response_norm(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    channels = 0 if x.ndim == 3 else 1
    rows = np.moveaxis(x, channels, 0)
    result = np.empty_like(rows)
    for c in range(len(rows)):
        around = rows[max(0, c - size // 2) : c - size // 2 + size]
        result[c] = rows[c] / (k + alpha / size * (around * around).sum(0)) ** beta
    return np.moveaxis(result, 0, channels)


@twin_of("cumsum")
def cumsum(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    rows = np.moveaxis(x, axis, 0)
    result = np.zeros_like(rows)
    for i in range(len(rows)):
        part = rows[i + exclusive :] if reverse else rows[: i + 1 - exclusive]
        result[i] = part.sum(0)
    return np.moveaxis(result, 0, axis)


def _order(x: Any, axis: int, ascending: bool) -> Any:
    return np.argsort(x if ascending else -x.astype(np.float64), axis=axis, kind="stable")


@twin_of("argsort")
def argsort(x: Any, axis: int, ascending: bool) -> Any:
    return _order(x, axis, ascending)


@twin_of("topk")
def topk(
    x: Any,
    k: int,
    axis: int,
    ascending: bool,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Any:
    first = np.arange(x.shape[axis] if k == -1 else k)
    order = _order(x, axis, ascending).take(first, axis)
    values = np.take_along_axis(x, order, axis)
    return (values, order) if return_indices else values


@twin_of("non_zero")
def non_zero(x: Any) -> Any:
    return np.argwhere(x)


@twin_of("shape")
def shape(x: Any) -> Any:
    return np.array(x.shape)
