"""Pairings, against all that there are."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parity.core.pairing import pair


@given(
    st.tuples(st.integers(1, 4), st.integers(0, 2)).flatmap(
        lambda shape: arrays(float, (shape[0], shape[0] + shape[1]), elements=st.integers(0, 9).map(float))
    )
)
def test_no_other_pairing_is_nearer(apart: np.ndarray) -> None:
    rows = range(len(apart))
    columns = pair(apart)

    assert len(set(columns)) == len(columns)
    every = (
        sum(apart[row, one[row]] for row in rows)
        for one in itertools.permutations(range(apart.shape[1]), len(apart))
    )
    assert sum(apart[row, columns[row]] for row in rows) == min(every)


def test_what_is_as_near_keeps_its_place() -> None:
    assert pair(np.zeros((5, 7))) == [0, 1, 2, 3, 4]
    assert pair(np.array([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0], [9.0, 9.0, 0.0]])) == [0, 1, 2]


def test_what_is_infinitely_far_is_taken_last() -> None:
    assert pair(np.array([[np.inf, 1.0], [2.0, np.nan]])) == [1, 0]
    assert pair(np.array([[np.inf, 1.0], [np.inf, 2.0]])) == [1, 0]
