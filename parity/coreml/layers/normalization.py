"""Normalisation. Source: NeuralNetwork.proto, batchnorm, mvn, l2normalize, lrn and layerNormalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.weights import as_before, as_images, read_weights
from parity.coreml.registry import Prepared, layer

_SPATIAL = (-2, -1)
_IMAGE = (-3, -2, -1)


@layer("batchnorm")
def batchnorm(params: Any) -> Prepared | Callable[[torch.Tensor], torch.Tensor]:
    """Normalise each channel (axis -3) by stored moments, by the batch's own, or by each instance's own."""
    shape = (int(params.channels),)
    gamma = read_weights(params.gamma, shape, "gamma")
    beta = read_weights(params.beta, shape, "beta")
    epsilon = params.epsilon or 1e-5
    if not params.computeMeanVar:
        mean = read_weights(params.mean, shape, "mean")
        variance = read_weights(params.variance, shape, "variance")

        def stored(x: torch.Tensor) -> torch.Tensor:
            y = F.batch_norm(as_images(x), mean, variance, gamma, beta, eps=epsilon)
            return as_before(y, x)

        return Prepared(stored, role="batch_norm")
    alone = bool(params.instanceNormalization)
    scale, shift = gamma[:, None, None], beta[:, None, None]

    def computed(x: torch.Tensor) -> torch.Tensor:
        axes = _SPATIAL if alone else (*range(x.ndim - 3), *_SPATIAL)
        return torch.addcmul(shift, _standardise(x, axes, epsilon), scale)

    return computed


def _standardise(x: torch.Tensor, axes: tuple[int, ...], epsilon: float) -> torch.Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


@layer("mvn")
def mvn(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Subtract the mean of each channel or of the whole image, and divide by the standard deviation if asked to."""
    axes = _IMAGE if params.acrossChannels else _SPATIAL
    epsilon = params.epsilon or 1e-6
    if not params.normalizeVariance:
        return lambda x: x - x.mean(axes, keepdim=True)
    return lambda x: _standardise(x, axes, epsilon)


@layer("l2normalize")
def l2_normalize(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Divide each image [C, H, W] by the root of its sum of squares."""
    epsilon = params.epsilon or 1e-6
    return lambda x: x / (x.square().sum(_IMAGE, keepdim=True) + epsilon).sqrt()


@layer("lrn")
def lrn(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Divide by a power of the mean square over `localSize` neighbouring channels."""
    size = int(params.localSize)
    if size < 1:
        raise ValueError("`localSize` is 0; it counts the channels of the window and is at least 1")
    alpha, beta, k = params.alpha, params.beta, params.k or 1.0

    def run(x: torch.Tensor) -> torch.Tensor:
        return as_before(F.local_response_norm(as_images(x), size, alpha, beta, k), x)

    return run


@layer("layerNormalization")
def layer_normalization(params: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalise over the last axes, those of `normalizedShape`, then scale and shift elementwise."""
    shape = tuple(int(size) for size in params.normalizedShape)
    gamma = read_weights(params.gamma, shape, "gamma")
    beta = read_weights(params.beta, shape, "beta")
    return lambda x: F.layer_norm(x, shape, gamma, beta, params.eps)
