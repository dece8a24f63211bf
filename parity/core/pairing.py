"""Which of these are those: rows and columns of a table of distances, paired one to one."""

from __future__ import annotations

import numpy as np

# Of the largest distance: what decides between columns that are as near.
_NOTHING = 1e-12


def pair(apart: np.ndarray) -> list[int]:
    """Give every row a column of its own, at the least sum of distances; apart: [rows, columns], no fewer columns.

    Where several columns are as near, a row takes that of its own place.
    """
    from scipy.optimize import linear_sum_assignment

    distances = np.nan_to_num(apart, nan=np.inf, posinf=np.inf)
    finite = distances[np.isfinite(distances)]
    largest = float(finite.max(initial=0.0)) or 1.0
    # An infinite distance is one that is only taken where nothing else is left.
    cost = np.where(np.isfinite(distances), distances, largest * len(distances) * 2)
    cost[np.arange(len(cost)), np.arange(len(cost))] -= _NOTHING * largest
    columns: list[int] = linear_sum_assignment(cost)[1].tolist()
    return columns
