"""Counts of differences by size: where a value falls, that parts add up, what is refused."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from parity.core.distribution import EDGES, Distribution
from parity.core.errors import ParityError

shares = st.floats(0, 1)


def test_there_are_ten_bins_a_decade_from_a_billionth_to_one() -> None:
    assert len(EDGES) == 91
    assert EDGES[0] == 1e-9
    assert EDGES[10] == 1e-8
    assert EDGES[80] == 0.1
    assert EDGES[-1] == 1.0
    assert EDGES[1] == 1.25893e-9
    assert np.allclose(EDGES, np.logspace(-9, 0, 91), rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "bin_"),
    [
        (0.0, 0),
        (5e-324, 0),
        (9.9e-10, 0),
        (1e-9, 1),
        (1.2e-9, 1),
        (1.3e-9, 2),
        (1e-8, 11),
        (0.1, 81),
        (0.99, 90),
        (1.0, 90),
        (1.5, 90),
    ],
)
def test_a_value_falls_into_its_bin(value: float, bin_: int) -> None:
    counts = Distribution().add([value]).counts

    assert [place for place, count in enumerate(counts) if count] == [bin_]


@given(st.lists(shares, max_size=20), st.lists(shares, max_size=20))
@settings(max_examples=50)
def test_parts_add_up_in_any_order(first: list[float], second: list[float]) -> None:
    whole = Distribution().add(first + second)

    assert Distribution().add(second).merge(Distribution().add(first)) == whole
    assert Distribution().add(first).add(second) == whole
    assert whole.total == len(first) + len(second)


@given(st.lists(shares, max_size=20))
@settings(max_examples=50)
def test_the_counts_are_those_of_a_count_by_hand(values: list[float]) -> None:
    bounds = [0.0, *EDGES[:-1], math.inf]
    expected = [sum(low <= value < high for value in values) for low, high in pairwise(bounds)]

    assert list(Distribution().add(values).counts) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_what_is_no_difference_is_refused(value: float) -> None:
    with pytest.raises(ParityError, match="finite values from 0"):
        Distribution().add([0.5, value])


@pytest.mark.parametrize(
    ("edges", "counts"),
    [((0.0, 1.0), (1, 2)), (EDGES, (1, 2)), (EDGES, (-1, *(0,) * 90)), (EDGES, ()), ((), ())],
)
def test_other_bins_are_refused(edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(ParityError, match=r"10 bins a decade from 1e-09 to 1"):
        Distribution(edges, counts)


def test_it_reads_back_from_json_as_it_was() -> None:
    adapter = TypeAdapter(Distribution)
    found = Distribution().add([0.0, 0.25, 3e-5])

    assert adapter.validate_json(adapter.dump_json(found)) == found
    with pytest.raises((ValidationError, ParityError)):
        adapter.validate_python({**asdict(found), "edges": [0.0, 1.0]})
