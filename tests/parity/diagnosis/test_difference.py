"""Each kind of difference between two values has its name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.diagnosis.difference import describe
from parity.diagnosis.types import Difference


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


EXPECTED = values(2, 5, 9, 9)


def described(value: torch.Tensor, expected: torch.Tensor = EXPECTED) -> Difference:
    return describe(value, expected, 1e-6)


def changed(*places: object) -> torch.Tensor:
    value = EXPECTED.clone()
    value[places] += 1  # type: ignore[index]
    return value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (EXPECTED * torch.nan, "non-finite"),
        (EXPECTED[..., 1:], "shape"),
        (EXPECTED * 3, "scale"),
        (EXPECTED + 3, "offset"),
        (changed(..., 0), "border only"),
        (EXPECTED.roll((1, -1), (2, 3)), "shift"),
        (EXPECTED[:, [1, 0, 2, 3, 4]], "channel permutation"),
        (changed(slice(None), 2), "per-channel offset"),
        (EXPECTED * torch.tensor([1, 1, 2, 1, 1.0])[:, None, None], "per-channel scale"),
        (
            EXPECTED * torch.tensor([1, 1, 2, 1, 1.0])[:, None, None]
            + torch.tensor([0, 0, 1, 0, 0.0])[:, None, None],
            "per-channel affine",
        ),
        (EXPECTED.flip(3), "mirrored"),
        (EXPECTED.transpose(2, 3), "mirrored"),
        (EXPECTED.clamp(-0.5, 0.5), "saturation"),
        (EXPECTED.flatten().roll(40).reshape(EXPECTED.shape), "reordered"),
        ((EXPECTED * 4).round() / 4, "rounded"),
        ((EXPECTED * 16).trunc() / 16, "rounded"),
        # Where nearly all lie beyond a limit it is none.
        (EXPECTED.clamp(2.0, 9.5), "broadband"),
        (values(3, 5, 9, 9)[1:], "broadband"),
    ],
)
def test_each_kind(value: torch.Tensor, kind: str) -> None:
    assert described(value).kind == kind


def test_a_value_that_is_not_cut_off_where_it_should_be() -> None:
    assert described(EXPECTED, EXPECTED.clamp(-0.5, 0.5)).message.startswith(
        "is not cut off where PyTorch does, at -0.5"
    )


def test_the_sides_of_a_border() -> None:
    value = changed(..., 0)
    value[..., 8, :] += 1

    assert "(bottom, left, 1 pixel(s) wide)" in described(value).message


def test_infinities_that_pytorch_has_too_are_no_difference_of_their_own() -> None:
    expected = EXPECTED.clone()
    expected[0, 0, 0, 0] = torch.inf

    assert described(expected, expected).kind != "non-finite"


@given(st.integers(-2, 2), st.integers(-2, 2))
@settings(max_examples=15, deadline=None)
def test_a_shift_is_told_by_how_far(dy: int, dx: int) -> None:
    difference = described(EXPECTED.roll((dy, dx), (2, 3)))

    if (dy, dx) != (0, 0):
        assert (difference.kind, difference.figures["dy"], difference.figures["dx"]) == ("shift", dy, dx)


@given(st.permutations(range(5)))
@settings(max_examples=15, deadline=None)
def test_a_permutation_is_told_by_what_moved(order: list[int]) -> None:
    difference = described(EXPECTED[:, order])
    moved = tuple(i for i, j in enumerate(order) if i != j)

    if moved:
        assert (difference.kind, difference.figures["channels"]) == ("channel permutation", moved)


def test_channels_that_are_dead_hide_no_permutation() -> None:
    expected = EXPECTED.clone()
    expected[:, [1, 3]] = 0

    difference = described(expected[:, [2, 1, 0, 3, 4]], expected)

    assert (difference.kind, difference.figures["channels"]) == ("channel permutation", (0, 2))


@given(st.floats(0.1, 10).filter(lambda scale: abs(scale - 1) > 0.01))
@settings(max_examples=15, deadline=None)
def test_a_scale_is_told_by_its_size(scale: float) -> None:
    difference = described(EXPECTED * scale)

    assert difference.kind == "scale"
    assert difference.figures["scale"] == pytest.approx(scale, rel=1e-5)


def test_tokens_have_their_channels_last() -> None:
    expected = values(2, 16, 6)
    value = expected.clone()
    value[..., 4] += 0.5

    assert describe(value, expected, 1e-6).figures["channels"] == (4,)
