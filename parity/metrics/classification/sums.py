"""What the sum in PyTorch's own softmax loses, over very many classes."""

from __future__ import annotations

import numpy as np

from parity.core.noise import SOFTMAX_LOSS


def summed_exactly(reference: np.ndarray) -> np.ndarray:
    """Undo what the sum in PyTorch's own softmax lost: float64 [images, classes], each row divided by its sum.

    All classes of an image are divided by one sum, which should be theirs. In fp32 it is not where thousands of
    small numbers go into one large one: over 100,000 classes PyTorch and ONNX Runtime lose up to 1e-3 of it, and
    onnx.reference, which adds up in pairs, nothing. What is off by more is no sum of a softmax, and stays.
    """
    rows = np.asarray(reference, dtype=np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    return np.where(np.abs(sums - 1) <= SOFTMAX_LOSS, rows / np.where(sums > 0, sums, 1.0), rows)
