from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run


@given(st.integers(1, 5).flatmap(lambda rank: st.permutations(range(rank))))
def test_transpose(axes: list[int]) -> None:
    x = normal(*range(2, 2 + len(axes)))

    close(run(lambda b: b.add_transpose("t", axes, "x", "y"), x=x), x.transpose(axes))


def test_transpose_of_fewer_axes_leaves_the_leading_ones() -> None:
    x = normal(2, 3, 4, 5)

    close(run(lambda b: b.add_transpose("t", [2, 0, 1], "x", "y"), x=x), x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [([0, 1], (1, 1, 10, 5)), ([0, 2], (1, 10, 1, 5)), ([-2, -1], (10, 5, 1, 1)), ([-1, 0], (1, 10, 5, 1))],
)
def test_expand_dims(axes: list[int], shape: tuple[int, ...]) -> None:
    x = normal(10, 5)

    close(run(lambda b: b.add_expand_dims("e", "x", "y", axes), x=x), x.reshape(shape))


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((1, 1, 10, 5), [0, 1], (10, 5)),
        ((1, 10, 5, 1), [0, 3], (10, 5)),
        ((10, 5, 1, 1), [-2, -1], (10, 5)),
        ((1,), [0], (1,)),
        ((1, 4, 1), None, (4,)),
        ((1, 1), None, (1,)),
    ],
)
def test_squeeze(shape: tuple[int, ...], axes: list[int] | None, expected: tuple[int, ...]) -> None:
    x = normal(*shape)

    found = run(lambda b: b.add_squeeze("s", "x", "y", axes=axes, squeeze_all=axes is None), x=x)

    close(found, x.reshape(expected))


def test_squeeze_of_an_axis_with_elements_is_refused() -> None:
    with pytest.raises(CoreMLError, match="axis 1 has the size 3; only axes of size 1 can be removed"):
        run(lambda b: b.add_squeeze("s", "x", "y", axes=[1]), x=normal(1, 3))


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((3,), -1, (1, 3)),
        ((3,), 1, (3, 1)),
        ((4, 3), -1, (4, 3)),
        ((5, 2), 0, (1, 10)),
        ((5, 5, 3), -2, (5, 15)),
        ((2, 3, 2), -1, (6, 2)),
    ],
)
def test_flatten_to_2d(shape: tuple[int, ...], axis: int, expected: tuple[int, ...]) -> None:
    x = normal(*shape)

    close(run(lambda b: b.add_flatten_to_2d("f", "x", "y", axis=axis), x=x), x.reshape(expected))


def test_reshape_static_dynamic_and_like() -> None:
    x, like = normal(4, 6), normal(2, 3, 4)

    close(run(lambda b: b.add_reshape_static("r", "x", "y", [2, -1, 4]), x=x), x.reshape(2, 3, 4))
    close(run(lambda b: b.add_reshape_dynamic("r", ["x", "s"], "y"), x=x, s=[3, -1]), x.reshape(3, 8))
    close(run(lambda b: b.add_reshape_like("r", ["x", "l"], "y"), x=x, l=like), x.reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("shape", "target", "expected"),
    [((20, 10), (5, -1), (5, 40)), ((20, 10, 5), (0, 2, 25), (20, 2, 25)), ((10, 3, 5), (25, 0, -1), (25, 3, 2))],
)
def test_rank_preserving_reshape(shape: Any, target: Any, expected: Any) -> None:
    x = normal(*shape)

    close(run(lambda b: b.add_rank_preserving_reshape("r", "x", "y", target), x=x), x.reshape(expected))


def test_rank_preserving_reshape_preserves_the_rank() -> None:
    with pytest.raises(CoreMLError, match=r"`targetShape` is \[6\], the input has 2 axes"):
        run(lambda b: b.add_rank_preserving_reshape("r", "x", "y", (6,)), x=normal(2, 3))


def test_get_shape() -> None:
    close(run(lambda b: b.add_get_shape("g", "x", "y"), x=normal(2, 3, 4)), [2, 3, 4])


def test_broadcast_to() -> None:
    x, like = normal(3, 1), normal(2, 3, 4)
    expected = np.broadcast_to(x, (2, 3, 4))

    close(run(lambda b: b.add_broadcast_to_static("b", "x", "y", (2, 3, 4)), x=x), expected)
    close(run(lambda b: b.add_broadcast_to_dynamic("b", ["x", "s"], "y"), x=x, s=[2, 3, 4]), expected)
    close(run(lambda b: b.add_broadcast_to_like("b", ["x", "l"], "y"), x=x, l=like), expected)


def test_what_was_broadcast_is_not_overwritten() -> None:
    x = normal(3, 1)

    def add(b: Any) -> None:
        b.add_broadcast_to_static("b", "x", "w", (3, 2))
        b.add_unary("u", "w", "y", "exp")

    close(run(add, x=x), np.exp(np.broadcast_to(x, (3, 2))))
