"""What rounding costs one image: as far as the rounded module is from the reference on it, draw by draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conversion.deployed import answer_singly, deployed_module
from parity.backends.own_cost import own_cost
from parity.core.rounding import fp16_answers
from tests.parity import sensitive

PIXELS = np.stack([np.asarray(sensitive.picture(number)) for number in (10, 11, 46)])
MODULE = deployed_module(sensitive.sensitive())
EXACT = answer_singly(MODULE, PIXELS)


@pytest.mark.parametrize("draw", [0, 1, 5])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_cost_of_an_image_is_how_far_its_rounded_answer_is_off(place: int, draw: int) -> None:
    rounded = fp16_answers(MODULE, PIXELS, draw)

    assert own_cost(MODULE, "fp16", PIXELS, EXACT)(place, draw) == np.abs(rounded - EXACT)[place].max()


def test_a_bright_picture_costs_this_network_more() -> None:
    cost = own_cost(MODULE, "fp16", PIXELS, EXACT)

    dark, *bright = [max(cost(place, draw) for draw in range(8)) for place in range(3)]

    assert dark < 2e-3 < 5e-3 < min(bright)


def test_in_fp32_the_module_itself_is_compared() -> None:
    # Of compressed weights, which are the module's own here.
    faulty = deployed_module(sensitive.sensitive(0.2))
    apart = np.abs(answer_singly(faulty, PIXELS) - EXACT).max(axis=1)

    cost = own_cost(faulty, "fp32", PIXELS, EXACT)

    assert [cost(place, 0) for place in range(3)] == pytest.approx(apart.tolist())
    assert cost(1, 0) == cost(1, 1)


def test_what_overflows_costs_more_than_anything() -> None:
    huge = deployed_module(sensitive.sensitive())
    with torch.no_grad():
        for parameter in huge.parameters():
            parameter.mul_(1e6)

    assert own_cost(huge, "fp16", PIXELS, EXACT)(1, 0) == np.inf


def test_how_far_is_as_the_metric_says() -> None:
    cost = own_cost(MODULE, "fp16", PIXELS, EXACT, lambda one, other: np.array([0.25]))

    assert cost(0, 0) == 0.25
