"""What the sum in PyTorch's own softmax loses, over very many classes."""

from __future__ import annotations

import numpy as np

# The most of a sum that fp32 may lose; see summed_exactly.
_LOST = 1e-2


def summed_exactly(reference: np.ndarray) -> np.ndarray:
    """Undo what the sum in PyTorch's own softmax lost: float64 [images, classes], each row divided by its sum.

    All classes of an image are divided by one sum, which should be theirs. In fp32 it is not where thousands of
    small numbers go into one large one: over 100,000 classes PyTorch and ONNX Runtime lose up to 1e-3 of it, and
    onnx.reference, which adds up in pairs, nothing. What is off by more is no sum of a softmax, and stays.
    """
    rows = np.asarray(reference, dtype=np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    return np.where(np.abs(sums - 1) <= _LOST, rows / np.where(sums > 0, sums, 1.0), rows)


def softmax_loss(reference: np.ndarray) -> np.ndarray:
    """Measure what the sum in PyTorch's own softmax lost: float64 [images], the largest |dp| of each row."""
    rows = np.asarray(reference, dtype=np.float64)
    worst: np.ndarray = np.nan_to_num(np.abs(summed_exactly(rows) - rows)).max(axis=1, initial=0.0)
    return worst
