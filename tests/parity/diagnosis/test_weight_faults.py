"""Laws of what is measured of weights: the grid that they lie on, and the epsilon that was folded into them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.diagnosis.batch_norm import fitted_epsilon
from parity.diagnosis.weight_faults import permutation, steps_of_grid

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(2, 8))
def test_numbers_on_a_grid_are_known_whatever_the_scale_of_each_channel(seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    highest = 2 ** (bits - 1) - 1
    whole = random.integers(-highest, highest + 1, (6, 4, 3, 3)).astype(np.float64)
    whole[:, 0, 0, 0] = highest

    steps = steps_of_grid(whole * random.uniform(0.001, 3, (6, 1, 1, 1)))

    assert 0 < steps <= highest


@given(SEEDS)
def test_numbers_on_no_grid_are_none(seed: int) -> None:
    assert steps_of_grid(np.random.default_rng(seed).normal(size=(8, 4, 3, 3))) == 0


def test_so_few_numbers_that_chance_lays_them_on_a_grid_say_nothing() -> None:
    assert steps_of_grid(np.ones((16, 4))) == 0


@given(SEEDS, st.sampled_from([0.0, 1e-7, 1e-5, 3e-4, 1e-3, 2e-2]))
def test_an_epsilon_that_was_folded_in_is_measured(seed: int, epsilon: float) -> None:
    random = np.random.default_rng(seed)
    gamma, variance = random.normal(size=24), random.uniform(0.001, 2, 24)

    fitted = fitted_epsilon(gamma / np.sqrt(variance + epsilon), gamma, variance, 1e-5)

    assert fitted == pytest.approx(epsilon, rel=1e-3, abs=1e-9)


@given(SEEDS, st.sampled_from([(64,), (64, 1), (16, 3, 3), (12, 5)]), st.sampled_from([np.float32, np.float16]))
def test_slices_that_changed_places_are_found_in_either_precision(
    seed: int, shape: tuple[int, ...], dtype: type[np.floating]
) -> None:
    random = np.random.default_rng(seed)
    wanted = random.uniform(0.5, 1.5, shape)
    order = random.permutation(shape[0])
    # Two that are equal are no two places.
    wanted[order[1]] = wanted[order[0]]
    array = wanted[order].astype(dtype).astype(np.float64)

    found = permutation(array, wanted, 0, 1e-3)

    assert found is not None
    assert sorted(found) == list(range(shape[0]))
    np.testing.assert_allclose(wanted[found], array, atol=2e-3)


@given(SEEDS)
def test_what_is_where_it_was_is_not_said_to_have_moved(seed: int) -> None:
    wanted = np.ones(32)
    one, other = np.random.default_rng(seed).choice(32, 2, replace=False)
    wanted[one] = 2.0
    array = wanted.copy()
    array[[one, other]] = array[[other, one]]

    found = permutation(array, wanted, 0, 1e-3)

    assert found is not None
    assert {place for place, source in enumerate(found) if place != source} == {one, other}


@given(SEEDS, st.sampled_from([(64,), (16, 3, 3)]))
def test_other_numbers_are_no_permutation(seed: int, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(seed)

    assert permutation(random.uniform(0.5, 1.5, shape), random.uniform(0.5, 1.5, shape), 0, 1e-3) is None
