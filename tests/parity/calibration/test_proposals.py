"""From noise to a proposal: the bound of a quantile against SciPy, the floor, the cap, what enters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from parity.calibration.noise import Noise
from parity.calibration.proposals import (
    Proposal,
    check_quantile,
    coverage,
    images_needed,
    propose,
    rank_of_bound,
    rounded_up,
)
from parity.core.errors import ParityError

LEG = Proposal("tiny", "onnx", "onnxruntime", "fp32")
HALF = Proposal("tiny", "mlprogram", "coreml-evaluator", "fp16")
WIDE = np.ones(8)

quantiles = st.floats(0.01, 0.9999)


# The bound of a quantile


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), quantiles, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_bound_is_sure_enough_and_no_smaller_one_is(images: int, quantile: float, confidence: float) -> None:
    rank = rank_of_bound(images, quantile, confidence)

    # Value k is not below the quantile if at most k - 1 values are.
    sure = binom.cdf(np.arange(images), images, quantile)
    near = 1e-9  # where the sum falls on the confidence itself, either is right
    if rank is None:
        assert sure[-1] < confidence + near
    else:
        assert sure[rank - 1] >= confidence - near
        assert rank == 1 or sure[rank - 2] < confidence + near


@settings(max_examples=60, deadline=None)
@given(quantiles, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_images_needed_are_the_fewest_that_give_a_bound(quantile: float, confidence: float) -> None:
    needed = images_needed(quantile, confidence)

    assert 1 - quantile**needed >= confidence - 1e-9
    assert needed == 1 or 1 - quantile ** (needed - 1) < confidence + 1e-9


# Tables of order statistics, of tolerance intervals that know no distribution (one side, 95 %).
@pytest.mark.parametrize(
    ("quantile", "needed"), [(0.5, 5), (0.75, 11), (0.9, 29), (0.95, 59), (0.99, 299), (0.999, 2995)]
)
def test_as_many_images_as_the_tables_say(quantile: float, needed: int) -> None:
    assert images_needed(quantile) == needed
    assert rank_of_bound(needed, quantile) == needed
    assert rank_of_bound(needed - 1, quantile) is None


def test_with_more_images_the_bound_is_not_the_largest() -> None:
    assert rank_of_bound(93, 0.95) == 92
    assert rank_of_bound(92, 0.95) == 92


def test_a_bound_from_random_samples_covers_the_quantile_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    rank = rank_of_bound(100, 0.9)
    assert rank is not None

    bounds = np.sort(random.exponential(size=(4000, 100)), axis=1)[:, rank - 1]

    covered = float((bounds >= -np.log(0.1)).mean())
    assert 0.945 < covered < 0.985


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5, 1.5, float("nan"), 1 - 1e-16])
def test_what_is_no_quantile(quantile: float) -> None:
    with pytest.raises(ParityError, match="a quantile is a share of the images between 0 and 1"):
        check_quantile(quantile)


def test_few_images_are_said_to_be_few() -> None:
    told = coverage(8, 0.999)

    assert "from 8 image(s) the 0.999 quantile cannot be told" in told
    assert "with a probability of 0.8%" in told
    assert "2,995 images would give it with 95% confidence" in told


def test_enough_images_are_said_to_be_enough() -> None:
    assert coverage(2995, 0.999).endswith("of 2,995 images, bounded with 95% confidence by value 2,995 of 2,995")


# Rounding


@pytest.mark.parametrize(
    ("number", "shown"), [(0.00123, 0.0013), (0.0012, 0.0012), (1.2000001e-7, 1.3e-7), (0.0991, 0.1), (0.5, 0.5)]
)
def test_two_digits_upwards(number: float, shown: float) -> None:
    assert rounded_up(number) == pytest.approx(shown, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-12, 0.9))
def test_rounding_never_goes_below(number: float) -> None:
    assert number <= rounded_up(number) <= 1.1 * number
    assert float(f"{rounded_up(number):g}") == rounded_up(number)


# What is proposed


def test_of_each_image_the_largest_source_counts() -> None:
    first = Noise("first", (1e-6, 4e-6, 2e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6))
    second = Noise("second", (2e-6, 1e-6, 5e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6))

    found = propose(LEG, [first, second], WIDE, 0.999)
    median = propose(LEG, [first, second], WIDE, 0.5)

    # Of the eight largest (1 1 1 1 1 2 4 5 millionths), the seventh bounds the median: 1 - 9/256 = 96.5 %.
    assert (found.noise, found.decided_by, found.tolerance) == (5e-6, "second", 1.5e-5)
    assert (median.noise, median.decided_by, median.tolerance) == (4e-6, "first", 1.2e-5)
    assert (found.state, found.images, found.sources) == ("proposed", 8, ("first", "second"))


def test_what_has_a_trouble_does_not_enter() -> None:
    calm, fault = Noise("calm", (1e-6,) * 8), Noise("fault", (0.5,) * 8, "a fault, and no noise")
    absent = Noise("absent", (), "cannot be measured: no")

    found = propose(LEG, [calm, fault, absent], WIDE, 0.999)

    assert (found.tolerance, found.sources) == (3e-6, ("calm",))
    assert found.left_out == {"fault": "a fault, and no noise", "absent": "cannot be measured: no"}


@pytest.mark.parametrize(("leg", "floor"), [(LEG, 1.8e-7), (HALF, 1.5e-3)])
def test_no_proposal_below_three_steps_of_the_numbers(leg: Proposal, floor: float) -> None:
    found = propose(leg, [Noise("none", (0.0,) * 8)], WIDE, 0.999)

    # Below 1, floats of 24 and of 11 bits stand 2**-24 and 2**-11 apart.
    assert found.tolerance == floor
    assert found.decided_by == f"one step of {leg.precision}"


@pytest.mark.parametrize(("leg", "noise", "cap"), [(LEG, 4e-4, "0.001"), (HALF, 0.02, "0.05")])
def test_above_the_cap_nothing_is_proposed(leg: Proposal, noise: float, cap: str) -> None:
    found = propose(leg, [Noise("loud", (0.0, noise))], np.ones(2), 0.999)

    assert (found.state, found.tolerance, found.ties) == ("withheld", None, None)
    assert found.noise == noise
    assert f"{3 * noise:g} would follow from loud; above {cap} it would hide faults" in found.reason


@pytest.mark.parametrize(("leg", "noise"), [(LEG, 3e-4), (HALF, 0.016)])
def test_below_the_cap_something_is(leg: Proposal, noise: float) -> None:
    assert propose(leg, [Noise("loud", (noise,))], WIDE, 0.999).tolerance == pytest.approx(3 * noise)


def test_ties_are_images_whose_label_the_proposal_does_not_judge() -> None:
    noise = Noise("noise", (1e-5,) * 4)

    # Twice 3e-5.
    found = propose(LEG, [noise], np.array([1e-6, 5.9e-5, 6.1e-5, 0.9]), 0.999)

    assert found.ties == 0.5
