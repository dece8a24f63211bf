"""By how much is the candidate right less often than the reference: exact bounds of a loss from paired images.

The statistic is Tango's score (Statistics in Medicine 17, 1998, 891-908). What it is worth is computed and not
taken from the normal distribution, which passes too often where few images differ: the tables that speak for a
smaller loss at least as clearly are added up (Hsueh, Liu and Chen, Biometrics 57, 2001, 478-483). How often the two
differ at all is not known, so the worst case counts, over all values that the images leave credible (Berger and
Boos, Journal of the American Statistical Association 89, 1994, 1012-1016).

`first` and `second` are the numbers of images that only the reference and only the candidate gets right, and the
loss is (first - second) / total.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# What of `alpha` is spent on the range of how often the two differ. Berger and Boos take 0.001 for 0.05.
_SPENT = 1 / 50
# What is left out at either end of a sum, and is added to what it comes to.
_TAIL = 1e-9
# Bounds of a loss are as fine as this.
_FINE = 1e-6


def tango(first: Any, second: Any, total: int, loss: float) -> Any:
    """Return Tango's score of tables against a loss, between -1 and 1; below zero they speak for a smaller one.

    Where a loss of zero meets images that never differ, the score is zero.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    variance = total * (2 * only_candidate(first, second, total, loss) + loss * (1 - loss))
    apart = first - second - total * loss
    return np.divide(apart, np.sqrt(variance), out=np.zeros_like(apart), where=variance > 0)


def only_candidate(first: Any, second: Any, total: int, loss: float) -> Any:
    """Return the most likely share of images that only the candidate gets right, where the loss is as given."""
    # What makes the likelihood largest solves 2n q^2 + b q + c = 0.
    b = (2 * total - first + second) * loss - first - second
    c = -second * loss * (1 - loss)
    root = np.sqrt(np.maximum(b * b - 8 * total * c, 0))
    # The share of either side alone is at least zero.
    return np.maximum((root - b) / (4 * total), max(0.0, -loss))


def p_value(first: int, second: int, total: int, loss: float, spent: float = 0.001, values: int = 41) -> float:
    """Return how probable tables like this one are at most where the true loss is `loss` or more.

    values: of how often the two differ that are looked at. spent: the probability that the true one lies outside of
    their range, which is added; with 0 the range is everything.
    """
    from scipy.special import bdtr
    from scipy.stats import binom

    low, high = _credible(first + second, total, spent)
    differing = np.clip(np.linspace(low, high, values), abs(loss), 1.0)[:, None]
    ones, others = (differing + loss) / 2, (differing - loss) / 2
    start, end = binom.ppf(_TAIL, total, others.min()), binom.ppf(1 - _TAIL, total, others.max())
    seconds = np.arange(int(max(start, 0)), int(min(end, total)) + 1)
    most = _largest(seconds, total, loss, float(tango(first, second, total, loss)))
    # Of the images that the candidate alone does not get right, so many are the reference's alone.
    left = np.divide(ones, 1 - others, out=np.ones_like(ones), where=others < 1)
    below = np.where(most < 0, 0.0, bdtr(np.maximum(most, 0), total - seconds, np.clip(left, 0, 1)))
    sums = (binom.pmf(seconds, total, others) * below).sum(axis=1)
    return min(float(sums.max()) + spent + 2 * _TAIL, 1.0)


def is_below(first: int, second: int, total: int, loss: float, alpha: float) -> bool:
    """Say whether the images show that the loss is smaller than this; wrongly so in a share `alpha` at most."""
    return p_value(first, second, total, loss, alpha * _SPENT) <= alpha


def upper_bound(first: int, second: int, total: int, alpha: float, margin: float | None = None) -> float:
    """Return the smallest loss that the images speak against; a true loss is above it in a share `alpha` at most.

    margin: a loss on the right side of which the bound is to be: below it where `is_below` says so.
    """
    low = (first - second) / total
    high = low + math.sqrt(first + second + 9) / total
    if margin is not None and low < margin:
        low, high = (low, margin) if is_below(first, second, total, margin, alpha) else (margin, max(margin, high))
    while high < 1 and not is_below(first, second, total, high, alpha):
        low, high = high, 2 * high - (first - second) / total
    high = min(high, 1.0)
    while high - low > _FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if is_below(first, second, total, middle, alpha) else (middle, high)
    return high


def lower_bound(first: int, second: int, total: int, alpha: float, margin: float | None = None) -> float:
    """Return the largest loss that the images speak against from below, as `upper_bound` does from above."""
    return -upper_bound(second, first, total, alpha, None if margin is None else -margin)


def images_needed(first: int, second: int, total: int, margin: float, alpha: float, power: float) -> int | None:
    """Return how many images show on which side of the margin the loss is, in a share `power` of such runs.

    That takes the loss, and how often the two differ, to be what these images show (the normal approximation of
    Nam, Biometrics 53, 1997, 1422-1430). None where the loss that they show is the margin itself.
    """
    from scipy.stats import norm

    loss = (first - second) / total
    if math.isclose(loss, margin, abs_tol=_FINE):
        return None
    at_margin = 2 * float(only_candidate(first, second, total, margin)) + margin * (1 - margin)
    as_seen = (first + second) / total - loss**2
    spread = norm.ppf(1 - alpha) * math.sqrt(at_margin) + norm.ppf(power) * math.sqrt(as_seen)
    # Fewer images decide nothing even where the two never differ.
    fewest = math.log(alpha * (1 - _SPENT)) / math.log1p(-margin) if loss < margin else 0.0
    return max(math.ceil((float(spread) / (margin - loss)) ** 2), math.ceil(fewest), total + 1)


def _credible(count: int, total: int, spent: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson; the true share is outside in `spent` of all cases at most."""
    from scipy.special import betaincinv

    if not spent:
        return 0.0, 1.0
    low = betaincinv(count, total - count + 1, spent / 2) if count else 0.0
    high = betaincinv(count + 1, total - count, 1 - spent / 2) if count < total else 1.0
    return float(low), float(high)


def _largest(seconds: np.ndarray, total: int, loss: float, score: float) -> np.ndarray:
    """Return for each `second` the largest `first` whose score is no larger; -1 where there is none."""
    low, high = np.full_like(seconds, -1), total - seconds
    while (low < high).any():
        middle = (low + high + 1) // 2
        small = tango(middle, seconds, total, loss) <= score + 1e-9
        low, high = np.where(small, middle, low), np.where(small, high, middle - 1)
    return low
