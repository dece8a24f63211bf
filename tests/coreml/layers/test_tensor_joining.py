from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run


@pytest.mark.parametrize("axis", [-3, -1, 0, 1])
def test_concat_nd(axis: int) -> None:
    shape = [2, 3, 4]
    shape[axis] = 5
    a, b = normal(2, 3, 4), normal(*shape, seed=1)

    close(run(lambda n: n.add_concat_nd("c", ["a", "b"], "y", axis), a=a, b=b), np.concatenate([a, b], axis))


@pytest.mark.parametrize("axis", [0, -2])
def test_interleaved_concat(axis: int) -> None:
    a, b = [[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]

    found = run(lambda n: n.add_concat_nd("c", ["a", "b"], "y", axis, interleave=True), a=a, b=b)

    close(found, [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]])


@pytest.mark.parametrize("axis", [-4, -1, 0, 2, 3])
def test_stack(axis: int) -> None:
    a, b = normal(2, 3, 4), normal(2, 3, 4, seed=1)

    close(run(lambda n: n.add_stack("s", ["a", "b"], "y", axis=axis), a=a, b=b), np.stack([a, b], axis))


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("size", [6, 7, 8])
def test_split_evenly(axis: int, size: int) -> None:
    x = normal(*((size, 2) if axis == 0 else (2, size)))
    names = ("p", "q", "r")

    found = run(lambda b: b.add_split_nd("s", "x", list(names), axis=axis, num_splits=3), outputs=names, x=x)

    for one, expected in zip(found, np.array_split(x, 3, axis), strict=True):
        close(one, expected)


def test_split_by_sizes() -> None:
    x = normal(5, 3, 4)

    p, q = run(lambda b: b.add_split_nd("s", "x", ["p", "q"], axis=-3, split_sizes=[3, 2]), outputs=("p", "q"), x=x)

    close(p, x[:3])
    close(q, x[3:])


def test_split_into_another_number_of_parts_than_there_are_outputs_is_refused() -> None:
    def add(b: Any) -> None:
        b.add_split_nd("s", "x", ["p", "q"], axis=0, num_splits=2)
        b.nn_spec.layers[0].splitND.numSplits = 3

    with pytest.raises(CoreMLError, match=r"the file names 2 output\(s\), the layer gives 3"):
        run(add, outputs=("p", "q"), x=normal(6))


@pytest.mark.parametrize("reps", [(1, 2, 6), (6,)])
def test_tile(reps: tuple[int, ...]) -> None:
    x = normal(2, 4, 2)

    close(run(lambda b: b.add_tile("t", "x", "y", reps=list(reps)), x=x), np.tile(x, reps))
    close(run(lambda b: b.add_tile("t", ["x", "r"], "y"), x=x, r=reps), np.tile(x, reps))


@pytest.mark.parametrize("second_input", [False, True])
@pytest.mark.parametrize(
    ("shape", "amounts"), [((20, 10), [0, 1, 4, 0]), ((2, 3, 5), [0, 0, 3, 4, 0, 9]), ((3,), [2, 1])]
)
def test_constant_pad(shape: tuple[int, ...], amounts: list[int], second_input: bool) -> None:
    x = normal(*shape)
    more = {"p": amounts} if second_input else {}

    def add(b: Any) -> None:
        b.add_constant_pad("c", ["x", *more], "y", value=2.5, pad_to_given_output_size_mode=False,
                           pad_amounts=[] if second_input else amounts)  # fmt: skip

    close(run(add, x=x, **more), np.pad(x, np.reshape(amounts, (-1, 2)), constant_values=2.5))


@pytest.mark.parametrize(
    ("shape", "amounts", "pads"),
    [
        ((20, 10), [0, 21, 14, 0], [(0, 1), (4, 0)]),
        ((20, 10, 5), [0, 0, 17, 0, 0, 14], [(0, 0), (7, 0), (0, 9)]),
        ((4, 4), [2, 0, 0, 4], [(0, 0), (0, 0)]),
    ],
)
def test_constant_pad_to_a_size(shape: Any, amounts: list[int], pads: Any) -> None:
    x = normal(*shape)

    found = run(
        lambda b: b.add_constant_pad("c", ["x"], "y", pad_to_given_output_size_mode=True, pad_amounts=amounts), x=x
    )

    close(found, np.pad(x, pads))


def test_constant_pad_wants_two_amounts_per_axis() -> None:
    with pytest.raises(CoreMLError, match="2 amounts of padding for 2 axes"):
        run(lambda b: b.add_constant_pad("c", ["x"], "y", pad_amounts=[1, 1]), x=normal(2, 2))


@pytest.mark.parametrize("flags", [[True, False, True], [False, False, False]])
def test_reverse(flags: list[bool]) -> None:
    x = normal(2, 3, 4)

    found = run(lambda b: b.add_reverse("r", "x", "y", reverse_dim=flags), x=x)

    close(found, np.flip(x, [axis for axis, flag in enumerate(flags) if flag]))


def test_reverse_sequence() -> None:
    x = np.arange(12).reshape(2, 3, 2)

    found = run(lambda b: b.add_reverse_sequence("r", ["x", "n"], "y", batch_axis=0, seq_axis=1), x=x, n=[2, 3])
    across = run(lambda b: b.add_reverse_sequence("r", ["x", "n"], "y", batch_axis=0, seq_axis=-1), x=x, n=[2, 0])

    close(found, [[[2, 3], [0, 1], [4, 5]], [[10, 11], [8, 9], [6, 7]]])
    close(across, [[[1, 0], [3, 2], [5, 4]], x[1]])


@pytest.mark.parametrize(("axis", "size", "step"), [(0, 2, 1), (1, 3, 2), (-1, 4, 1)])
def test_sliding_windows(axis: int, size: int, step: int) -> None:
    x = normal(4, 7, 5)
    count = (x.shape[axis] - size) // step + 1
    expected = np.stack([x.take(range(i * step, i * step + size), axis) for i in range(count)], axis % 3)

    found = run(lambda b: b.add_sliding_windows("w", "x", "y", axis, size, step), x=x)

    close(found, expected)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("second_input", [False, True])
def test_one_hot(axis: int, second_input: bool) -> None:
    x = np.array([[2, 0, -1], [3, 4, 1]])
    expected = np.moveaxis(np.where(x[..., None] == np.arange(4), 5.0, -1.0), -1, axis)
    more = {"n": [4.0]} if second_input else {}

    def add(b: Any) -> None:
        size = None if second_input else 4
        b.add_one_hot("o", ["x", *more], "y", one_hot_vector_size=size, axis=axis, on_value=5, off_value=-1)

    close(run(add, x=x, **more), expected)
