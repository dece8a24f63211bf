"""Normalisations, also of values that hardly vary, and softmax. Core AI has only what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from tests.cross_check.operation import Attributes, Operation, along_axis, numbers, one_tensor

_EPSILONS = st.sampled_from([1e-3, 1e-5, 1e-6])


@st.composite
def _images(draw: st.DrawFn, lowest: int = 3, highest: int = 5) -> dict[str, Any]:
    """Draw values around an offset, some of which vary by less than the root of epsilon."""
    return {
        "shape": draw(st.lists(st.integers(1, 5), min_size=lowest, max_size=highest)),
        "epsilon": draw(_EPSILONS),
        "offset": draw(st.sampled_from([0.0, 1.0, -3.0])),
        "spread": draw(st.sampled_from([1.0, 1.0, 1e-2, 1e-4, 0.0])),
        "affine": draw(st.booleans()),
    }


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, Any]:
    a = draw(_images(lowest=1, highest=4))
    return a | {"axes": list(range(-draw(st.integers(1, len(a["shape"]))), 0))}


def _values(a: Attributes, random: np.random.Generator) -> np.ndarray:
    return (a["offset"] + a["spread"] * random.standard_normal(a["shape"])).astype(np.float32)


def _affine(a: Attributes, shape: tuple[int, ...], random: np.random.Generator) -> dict[str, np.ndarray]:
    ones = {"gamma": np.ones(shape, np.float32), "beta": np.zeros(shape, np.float32)}
    return {name: numbers("normal", shape, random) for name in ones} if a["affine"] else ones


def _row_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": _values(a, random)} | _affine(a, tuple(a["shape"][a["axes"][0] :]), random)


def _image_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": _values(a, random)} | _affine(a, (a["shape"][1],), random)


def _batch_inputs(a: Attributes, random: np.random.Generator) -> dict[str, np.ndarray]:
    channels = a["shape"][1]
    return _image_inputs(a, random) | {
        "mean": (a["offset"] + a["spread"] * random.standard_normal(channels)).astype(np.float32),
        "variance": (np.float32(a["spread"]) ** 2 * random.uniform(0.5, 2, channels)).astype(np.float32),
    }


def _terms(a: Attributes, inputs: Mapping[str, np.ndarray]) -> float:
    """x and its mean, each divided by a deviation that may be next to nothing: what their difference is between."""
    x = inputs["x"].astype(np.float64)
    axes = tuple(a["axes"] if "axes" in a else range(2, x.ndim))
    smallest = np.sqrt(x.var(axis=axes).min() + a["epsilon"])
    return float(np.abs(x).max() * np.abs(inputs["gamma"]).max() / smallest)


def _normalised(c: Any, x: Any, axes: list[int], epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon), as Apple's converter writes it."""
    centered = c.broadcasting_sub(x, c.reduce_mean(x, axes))
    variance = c.reduce_mean(c.broadcasting_mul(centered, centered), axes)
    return c.broadcasting_mul(centered, c.rsqrt(c.broadcasting_add(variance, np.float32(epsilon))))


def _affinely(c: Any, x: Any, gamma: np.ndarray, beta: np.ndarray) -> Any:
    return c.broadcasting_add(c.broadcasting_mul(x, gamma), beta)


def _per_channel(a: Attributes, values: Any) -> Any:
    return values.reshape(1, -1, *(1,) * (len(a["shape"]) - 2))


def _core_instance(c: Any, a: Attributes, x: Any, gamma: np.ndarray, beta: np.ndarray) -> Any:
    normalised = _normalised(c, x, list(range(2, len(a["shape"]))), a["epsilon"])
    return _affinely(c, normalised, _per_channel(a, gamma), _per_channel(a, beta))


def _core_batch(c: Any, a: Attributes, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    deviation = (variance.astype(np.float64) + a["epsilon"]) ** 0.5
    factor = _per_channel(a, (gamma / deviation).astype(np.float32))
    return c.broadcasting_add(
        c.broadcasting_mul(c.broadcasting_sub(x, _per_channel(a, mean)), factor), _per_channel(a, beta)
    )


def _instance(a: Attributes, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    axes = tuple(range(2, x.ndim))
    variance = x.var(axes, correction=0, keepdim=True)
    normalised = (x - x.mean(axes, keepdim=True)) / (variance + a["epsilon"]).sqrt()
    return normalised * _per_channel(a, gamma) + _per_channel(a, beta)


def _l2(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + a["epsilon"]).sqrt()


def _core_l2(c: Any, a: Attributes, x: Any) -> Any:
    total = c.reduce_sum(c.mul(x, x), [-3, -2, -1])
    return c.broadcasting_mul(x, c.rsqrt(c.broadcasting_add(total, np.float32(a["epsilon"]))))


_BOTH = ("gamma", "beta")
OPERATIONS = (
    Operation(
        "layer_norm",
        _rows(),
        _row_inputs,
        lambda b, a, x, gamma, beta: b.layer_norm(
            x=x, axes=a["axes"], gamma=gamma, beta=beta, epsilon=np.float32(a["epsilon"])
        ),
        lambda c, a, x, gamma, beta: _affinely(c, _normalised(c, x, a["axes"], a["epsilon"]), gamma, beta),
        lambda a, x, gamma, beta: F.layer_norm(x, gamma.shape, gamma, beta, a["epsilon"]),
        constants=_BOTH,
        rounding="sum",
        scale=_terms,
    ),
    Operation(
        "instance_norm",
        _images(highest=4),
        _image_inputs,
        lambda b, a, x, gamma, beta: b.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=np.float32(a["epsilon"])),
        _core_instance,
        _instance,
        constants=_BOTH,
        rounding="sum",
        scale=_terms,
    ),
    Operation(
        "batch_norm",
        _images(),
        _batch_inputs,
        lambda b, a, x, gamma, beta, mean, variance: b.batch_norm(
            x=x, gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=np.float32(a["epsilon"])
        ),
        _core_batch,
        lambda a, x, gamma, beta, mean, variance: F.batch_norm(x, mean, variance, gamma, beta, eps=a["epsilon"]),
        constants=(*_BOTH, "mean", "variance"),
        rounding="sum",
        scale=lambda a, inputs: (
            1
            + float(
                np.abs(inputs["x"]).max()
                * np.abs(inputs["gamma"]).max()
                / (inputs["variance"].min() + a["epsilon"]) ** 0.5
            )
        ),
    ),
    Operation(
        "l2_norm",
        _images(),
        lambda a, random: {"x": _values(a, random)},
        lambda b, a, x: b.l2_norm(x=x, epsilon=np.float32(a["epsilon"])),
        _core_l2,
        _l2,
        rounding="sum",
    ),
    Operation(
        "softmax",
        along_axis("normal", "wide", "special"),
        one_tensor,
        lambda b, a, x: b.softmax(x=x, axis=a["axis"]),
        lambda c, a, x: c.softmax(x, np.int32(a["axis"])),
        lambda a, x: torch.softmax(x, a["axis"]),
        rounding="sum",
    ),
)
