"""Whether two values are one: up to layout and rounding, channel by channel."""

from __future__ import annotations

import pytest
import torch

from parity.diagnosis.agreement import Expected, agrees, layouts, rounding
from parity.diagnosis.align import stand_in

VALUE = torch.randn(1, 6, 12, 10, generator=torch.Generator().manual_seed(0))


def expected(precision: str) -> Expected:
    return Expected(VALUE, rounding(precision)(VALUE))


@pytest.mark.parametrize(
    ("precision", "relative", "same"),
    [
        ("fp32", 1e-6, True),
        ("fp32", 1e-3, False),
        ("fp16", 1e-3, True),
        ("fp16", 5e-2, False),
    ],
)
def test_what_a_precision_allows(precision: str, relative: float, same: bool) -> None:
    noise = torch.randn(VALUE.shape, generator=torch.Generator().manual_seed(1))

    assert agrees(VALUE + relative * noise, expected(precision), precision) is same


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_one_channel_is_enough_to_disagree(precision: str) -> None:
    other = VALUE.clone()
    other[:, 3] += 0.05

    assert not agrees(other, expected(precision), precision)


def test_a_value_that_is_not_finite_disagrees() -> None:
    other = VALUE.clone()
    other[0, 0, 0, 0] = torch.nan

    assert not agrees(other, expected("fp32"), "fp32")


def test_infinities_on_both_sides_agree() -> None:
    both = VALUE.clone()
    both[0, 0, 0, 0] = torch.inf

    assert agrees(both.clone(), Expected(both, both), "fp32")


def test_rounding_to_fp16_does_not_overflow() -> None:
    rounded = rounding("fp16")(torch.tensor([1e6, 1.0 + 2**-12]))

    assert rounded.tolist() == [65504.0, 1.0]


def test_channels_may_stand_last() -> None:
    (first, *_) = layouts(VALUE.permute(0, 2, 3, 1), VALUE.shape)

    assert torch.equal(first, VALUE)


def test_axes_of_one_do_not_count() -> None:
    assert [torch.equal(layout, VALUE) for layout in layouts(VALUE[None], VALUE.shape)] == [True]


def test_exchanged_axes_of_one_size_are_no_layout() -> None:
    square = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    assert not any(torch.equal(layout, square) for layout in layouts(square.transpose(2, 3), square.shape))


def test_another_number_of_pixels_may_stand_in_but_not_another_number_of_channels() -> None:
    assert stand_in(VALUE[..., 1:], VALUE) is not None
    assert stand_in(VALUE[:, 1:], VALUE) is None
