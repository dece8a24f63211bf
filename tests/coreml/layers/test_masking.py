from __future__ import annotations

import numpy as np
import pytest

from tests.coreml.networks import close, normal, run

_X = normal(2, 4, 5)


@pytest.mark.parametrize("k", [-2, 0, 3])
def test_triangles(k: int) -> None:
    close(run(lambda b: b.add_lower_triangular("t", "x", "y", k=k), x=_X), np.tril(_X, k))
    close(run(lambda b: b.add_upper_triangular("t", "x", "y", k=k), x=_X), np.triu(_X, k))


@pytest.mark.parametrize("lower", [-1, 0, 2])
@pytest.mark.parametrize("upper", [-1, 0, 1])
def test_band(lower: int, upper: int) -> None:
    row, column = np.indices(_X.shape[-2:])
    band = ((lower < 0) | (row - column <= lower)) & ((upper < 0) | (column - row <= upper))

    found = run(lambda b: b.add_matrix_band_part("m", "x", "y", num_lower=lower, num_upper=upper), x=_X)

    close(found, np.where(band, _X, 0))
