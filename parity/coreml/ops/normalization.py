"""Normalisations. Source: coremltools' MIL definitions, family normalization."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from parity.coreml.registry import op


@op("batch_norm")
def batch_norm(
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """Compute gamma * (x - mean) / sqrt(variance + epsilon) + beta per channel of [N, C, *spatial]."""
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@op("instance_norm")
def instance_norm(
    x: torch.Tensor,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """Normalise each channel of each example by its own mean and variance; x [N, C, *spatial]."""
    # As one group per channel: F.instance_norm, meant for training, refuses a single element.
    return torch.group_norm(x, x.shape[1], gamma, beta, epsilon)


@op("l2_norm")
def l2_norm(x: torch.Tensor, epsilon: float = 1e-6) -> torch.Tensor:
    """Divide by sqrt(sum of squares + epsilon), summed over the last three axes."""
    return x / x.square().sum((-3, -2, -1), keepdim=True).add_(epsilon).sqrt_()


@op("layer_norm")
def layer_norm(
    x: torch.Tensor,
    axes: tuple[int, ...] | None = None,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """Normalise over the axes, all of them by default; gamma and beta have the shape of these axes."""
    normalised = sorted(axis % x.ndim for axis in (axes or range(x.ndim)))
    order = [axis for axis in range(x.ndim) if axis not in normalised] + normalised
    shape = [x.shape[axis] for axis in normalised]
    # torch normalises the last axes; for these the order is the identity, and permuting costs nothing.
    result = F.layer_norm(x.permute(order), shape, gamma, beta, epsilon)
    return result.permute([order.index(axis) for axis in range(x.ndim)])


@op("local_response_norm")
def local_response_norm(
    x: torch.Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> torch.Tensor:
    """Divide by (k + alpha / size * sum of squares)^beta, summed over `size` channels around each channel."""
    if x.ndim == 3:
        # Apple's recorded numbers for rank 3 take the first axis for the channels, as the NeuralNetwork layer does.
        return F.local_response_norm(x[None], size, alpha, beta, k)[0]
    return F.local_response_norm(x, size, alpha, beta, k)
