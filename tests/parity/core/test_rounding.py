"""Rounding by chance: to one of the two numbers of fp16 around a number, the nearer the likelier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conversion import Classifier
from conversion.deployed import deployed_module
from parity.core.rounding import fp16_answers, rounded_by_chance
from tests.parity import tiny

NUMBERS = st.floats(-70_000, 70_000, width=32)


def drawn(exact: np.ndarray, seed: int = 1) -> np.ndarray:
    return rounded_by_chance(torch.from_numpy(exact), torch.Generator().manual_seed(seed)).numpy()


@given(arrays.arrays(np.float32, 20, elements=NUMBERS), st.integers(1, 1_000))
def test_a_number_goes_to_one_of_the_two_of_fp16_around_it(exact: np.ndarray, seed: int) -> None:
    inside = exact[np.abs(exact) < 65_504]
    nearest = inside.astype(np.float16)
    up = np.where(nearest < inside, np.nextafter(nearest, np.float16(np.inf)), nearest).astype(np.float32)
    down = np.where(nearest > inside, np.nextafter(nearest, np.float16(-np.inf)), nearest).astype(np.float32)

    found = drawn(inside, seed)

    assert ((found == up) | (found == down)).all()
    # What fp16 cannot hold stays, and becomes infinite as it does when it is rounded to nearest.
    beyond = exact[np.abs(exact) >= 65_504]
    np.testing.assert_array_equal(drawn(beyond, seed), beyond)


@pytest.mark.parametrize("exact", [1.0001, -1.0001, 3e-6, -3e-6, 6.1e-5, 0.1, 1234.56, -40_000.3])
def test_rounding_by_chance_is_right_on_the_whole(exact: float) -> None:
    many = np.full(40_000, exact, np.float32)
    step = float(np.abs(np.spacing(np.float16(exact))))

    found = drawn(many)

    # The mean of 40,000 draws of one of two numbers is within five of its standard errors, a half of the step each.
    assert abs(found.mean(dtype=np.float64) - float(many[0])) < 5 * 0.5 * step / 200
    assert len(np.unique(found)) == 2


def test_the_same_number_of_a_draw_gives_the_same_answers_and_another_gives_others() -> None:
    classifier, pixels = tiny.tiny(), np.stack([np.asarray(picture) for picture in tiny.pictures()])
    module = deployed_module(classifier)

    nearest, one, again, other = (fp16_answers(module, pixels, draw) for draw in (0, 1, 1, 2))

    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, nearest)
    with torch.no_grad():
        exact = np.stack([module(torch.from_numpy(p.transpose(2, 0, 1)[None]).float())[0].numpy() for p in pixels])
    # Each is a rounding of the same network, none much farther off than another.
    assert 0 < np.abs(one - exact).max() < 10 * np.abs(nearest - exact).max()


def test_a_draw_leaves_the_weights_as_they_are() -> None:
    classifier: Classifier = tiny.tiny()
    module = deployed_module(classifier)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    fp16_answers(module, np.zeros((1, 32, 32, 3), np.uint8), 3)

    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
