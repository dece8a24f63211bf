"""Draws from distributions. Source: NeuralNetwork.proto, randomNormalLike to categoricalDistribution.

They draw as the operations of ML Programs do, also where the seed is below zero, which is coremltools' default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from parity.coreml.layers.tensor_shape import integers
from parity.coreml.ops.random import random_bernoulli, random_categorical, random_normal, random_uniform
from parity.coreml.program import Value
from parity.coreml.registry import layer

# From a shape.
_Draw = Callable[[tuple[int, ...]], torch.Tensor]


def _normal(params: Any) -> _Draw:
    return partial(random_normal, mean=params.mean, stddev=params.stdDev, seed=params.seed)


def _uniform(params: Any) -> _Draw:
    if params.minVal > params.maxVal:
        raise ValueError(f"`minVal` is {params.minVal:g}, more than `maxVal`, {params.maxVal:g}")
    numbers = (Value("drawn", "fp32"),)
    return partial(random_uniform, low=params.minVal, high=params.maxVal, seed=params.seed, outputs=numbers)


def _bernoulli(params: Any) -> _Draw:
    if not 0 <= params.prob <= 1:
        raise ValueError(f"`prob` is {params.prob:g}; a probability is 0 to 1")
    return partial(random_bernoulli, prob=params.prob, seed=params.seed)


def _register(kind: str, distribution: Callable[[Any], _Draw]) -> None:
    @layer(f"random{kind}Like")
    def like(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        draw = distribution(params)
        return lambda x: draw(tuple(x.shape))

    @layer(f"random{kind}Static")
    def static(params: Any) -> Callable[[], torch.Tensor]:
        draw, shape = distribution(params), tuple(int(size) for size in params.outputShape)
        return lambda: draw(shape)

    @layer(f"random{kind}Dynamic")
    def dynamic(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        draw = distribution(params)
        return lambda shape: draw(tuple(integers(shape)))


for _kind, _distribution in {"Normal": _normal, "Uniform": _uniform, "Bernoulli": _bernoulli}.items():
    _register(_kind, _distribution)


@layer("categoricalDistribution")
def categorical_distribution(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Draw class indices [..., numSamples] by the logits or the probabilities [..., classes]."""
    count = int(params.numSamples)
    if count < 1:
        raise ValueError(f"`numSamples` is {count}; it has to be at least 1")
    # Zero means not set.
    epsilon, temperature = params.eps or 1e-10, params.temperature or 1.0

    def run(x: torch.Tensor) -> torch.Tensor:
        logits = x if params.isLogits else (x + epsilon).log_()
        return random_categorical(logits / temperature, "logits", count, params.seed).float()

    return run
