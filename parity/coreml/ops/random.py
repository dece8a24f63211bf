"""Random numbers. Source: coremltools' MIL definitions, family random.

With a seed, which is a number from 0 on, an operation gives the same numbers in every prediction. Without one they
come from PyTorch's own generator, so that torch.manual_seed makes predictions repeatable. Core ML's numbers differ:
only the distribution is defined.
"""

from __future__ import annotations

import numpy as np
import torch

from parity.coreml.dtypes import NUMPY
from parity.coreml.program import Value
from parity.coreml.registry import op


def _generator(seed: int) -> torch.Generator | None:
    return torch.Generator().manual_seed(seed) if seed >= 0 else None


@op("random_bernoulli")
def random_bernoulli(shape: tuple[int, ...], prob: float = 0.5, seed: int = -1) -> torch.Tensor:
    """Draw ones with the probability `prob`, else zeros."""
    return torch.full(shape, prob).bernoulli(generator=_generator(seed))


@op("random_categorical")
def random_categorical(x: torch.Tensor, mode: str = "logits", size: int = 1, seed: int = -1) -> torch.Tensor:
    """Draw `size` class numbers, with replacement, from each distribution on the last axis; mode: logits, probs."""
    weights = x.softmax(-1) if mode == "logits" else x
    drawn = weights.reshape(-1, x.shape[-1]).multinomial(size, replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size)


@op("random_normal")
def random_normal(shape: tuple[int, ...], mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> torch.Tensor:
    """Draw from the normal distribution."""
    return torch.randn(shape, generator=_generator(seed)).mul_(stddev).add_(mean)


@op("random_uniform")
def random_uniform(
    shape: tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
    seed: int = -1,
    *,
    outputs: tuple[Value, ...],
) -> torch.Tensor:
    """Draw from low..high, without high."""
    number = NUMPY[outputs[0].dtype].type
    # What lies just below `high` would be rounded to it.
    last = float(np.nextafter(number(high), number(low)))
    drawn = torch.rand(shape, generator=_generator(seed), dtype=torch.float64)
    return drawn.mul_(high - low).add_(low).clamp_(max=last).float()
