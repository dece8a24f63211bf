"""How much alike two weights are, whatever their size."""

from __future__ import annotations

import numpy as np


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine of the angle between two arrays."""
    a, b = one.astype(np.float64).reshape(-1), other.astype(np.float64).reshape(-1)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 and np.isfinite(size) else 0.0


def direction(array: np.ndarray) -> np.ndarray:
    """Return an array as a vector of length 1, float32 [n]; zeros of what has no direction.

    The product of two of these is their likeness.
    """
    flat = array.astype(np.float64).reshape(-1)
    size = float(np.linalg.norm(flat))
    known = size > 0 and np.isfinite(size)
    return (flat / size if known else np.zeros_like(flat)).astype(np.float32)


def distance(one: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far an array is from another of its shape, as a share of that one's size."""
    if not np.isfinite(one).all():
        return float("inf")
    return float(np.linalg.norm(one - wanted) / (np.linalg.norm(wanted) + 1e-30))
