"""Going over rows computes what going over an image computes, and lays it out alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.coreml.ops.few_channels import row_by_row

FUNCTIONS = {"add": torch.add, "sub": torch.sub, "mul": torch.mul}
OVERWRITING = {"add": torch.Tensor.add_, "sub": torch.Tensor.sub_, "mul": torch.Tensor.mul_}
sizes = st.tuples(st.integers(1, 3), st.integers(1, 10), st.integers(0, 5), st.integers(1, 5))


def image(shape: tuple[int, ...], last: bool = True) -> torch.Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return numbers.contiguous(memory_format=torch.channels_last) if last else numbers


@given(st.sampled_from(sorted(FUNCTIONS)), sizes, st.booleans(), st.booleans())
def test_rows_give_what_the_image_gives(name: str, shape: tuple[int, ...], last: bool, four: bool) -> None:
    x = image(shape, last)
    y = torch.arange(1.0, shape[1] + 1).reshape((1, -1, 1, 1) if four else (-1, 1, 1))
    expected = FUNCTIONS[name](x, y)

    result = row_by_row(FUNCTIONS[name])(x, y)

    assert torch.equal(result, expected)
    assert result.stride() == expected.stride()
    assert torch.equal(row_by_row(OVERWRITING[name])(x, y), expected)
    assert torch.equal(x, expected)


@pytest.mark.parametrize(
    ("x", "y", "rows"),
    [
        (image((2, 3, 4, 5)), torch.ones(3, 1, 1), True),
        (image((2, 3, 4, 5)), torch.ones(1, 3, 1, 1), True),
        (image((2, 3, 4, 5), last=False), torch.ones(3, 1, 1), False),
        (image((2, 16, 4, 5)), torch.ones(16, 1, 1), False),
        (image((2, 3, 4, 5)), torch.ones(1), False),
        (image((2, 3, 4, 3)), torch.ones(3), False),
        (image((2, 3, 4, 5)), torch.ones(2, 3, 1, 1), False),
        (image((2, 3, 4, 5)), torch.ones(1, 1, 3, 1, 1), False),
        (torch.ones(3, 4, 5), torch.ones(3, 1, 1), False),
        (torch.tensor(2.0), torch.ones(3, 1, 1), False),
    ],
)
def test_only_images_with_few_channels_last_go_row_by_row(x: torch.Tensor, y: torch.Tensor, rows: bool) -> None:
    seen = []

    def add(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen.append((one.ndim, tuple(other.shape)))
        return one + other

    assert torch.equal(row_by_row(add)(x, y), x + y)
    assert seen == ([(3, (x.shape[3] * 3,))] if rows else [(x.ndim, tuple(y.shape))])
