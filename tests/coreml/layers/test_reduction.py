from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, positive, run

REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "l1": lambda x, axis, keepdims: np.abs(x).sum(axis, keepdims=keepdims),
    "l2": lambda x, axis, keepdims: np.sqrt((x**2).sum(axis, keepdims=keepdims)),
    "sumsquare": lambda x, axis, keepdims: (x**2).sum(axis, keepdims=keepdims),
    "logsum": lambda x, axis, keepdims: np.log(x.sum(axis, keepdims=keepdims)),
    "logsumexp": lambda x, axis, keepdims: np.log(np.exp(x).sum(axis, keepdims=keepdims)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(st.lists(st.integers(-3, 2), min_size=1, max_size=3, unique_by=lambda a: a % 3), st.booleans())
def test_reduction_over_axes(name: str, axes: list[int], keep: bool) -> None:
    x = positive(2, 3, 4)
    expected = REDUCTIONS[name](x, axis=tuple(axes), keepdims=keep)

    found = run(lambda b: getattr(b, f"add_reduce_{name}")("r", "x", "y", axes=axes, keepdims=keep), x=x)

    close(found, np.atleast_1d(expected), 1e-5)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_over_all_axes_ignores_the_named_ones(name: str, keep: bool) -> None:
    x = positive(2, 3)

    def add(b: Any) -> None:
        getattr(b, f"add_reduce_{name}")("r", "x", "y", axes=[0], keepdims=keep, reduce_all=True)

    close(run(add, x=x), np.atleast_1d(REDUCTIONS[name](x, axis=(0, 1), keepdims=keep)), 1e-5)


OLD: dict[str, Callable[..., np.ndarray]] = {
    "sum": np.sum,
    "avg": np.mean,
    "prod": np.prod,
    "logsum": lambda x, axis, keepdims: np.log(x + 0.01).sum(axis, keepdims=keepdims),
    "sumsquare": REDUCTIONS["sumsquare"],
    "L1": REDUCTIONS["l1"],
    "L2": REDUCTIONS["l2"],
    "max": np.max,
    "min": np.min,
}
_AXES = {"CHW": (-3, -2, -1), "HW": (-2, -1), "C": -3, "H": -2, "W": -1}


@pytest.mark.parametrize("axis", _AXES)
@pytest.mark.parametrize("mode", OLD)
def test_reduction_of_the_first_generation(mode: str, axis: str) -> None:
    x = positive(2, 3, 4, 5)

    found = run(lambda b: b.add_reduce("r", "x", "y", axis, mode, epsilon=0.01), x=x)

    close(found, OLD[mode](x, axis=_AXES[axis], keepdims=True), 1e-5)


def test_epsilon_is_1e_6_where_the_sum_of_logarithms_does_not_set_it() -> None:
    def add(b: Any) -> None:
        b.add_reduce("r", "x", "y", "W", "logsum")
        b.nn_spec.layers[0].reduce.ClearField("epsilon")

    close(run(add, x=[[[0.0, 1.0]]]), [[[np.log(1e-6) + np.log(1 + 1e-6)]]])


@pytest.mark.parametrize("axis", ["C", "H", "W"])
def test_argmax_of_the_first_generation(axis: str) -> None:
    x = normal(2, 3, 4, 5)

    expected = np.argmax(x, _AXES[axis], keepdims=True)

    close(run(lambda b: b.add_reduce("r", "x", "y", axis, "argmax"), x=x), expected)


def test_argmax_of_the_first_generation_takes_one_axis() -> None:
    with pytest.raises(CoreMLError, match="ARGMAX reduces one axis: C, H or W"):
        run(lambda b: b.add_reduce("r", "x", "y", "HW", "argmax"), x=normal(1, 2, 2))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axis", [-3, -1, 0, 1])
def test_argmax_and_argmin(axis: int, keep: bool) -> None:
    x = normal(2, 3, 4)
    x[0, 0, 0] = x[0, 0, 1] = 9  # of equals the first

    for name, expected in (("argmax", np.argmax), ("argmin", np.argmin)):
        found = run(lambda b, n=name: getattr(b, f"add_{n}")("a", "x", "y", axis, keepdims=keep), x=x)
        close(found, expected(x, axis, keepdims=keep))


def test_argmax_of_a_vector_is_a_vector() -> None:
    close(run(lambda b: b.add_argmax("a", "x", "y", 0, keepdims=False), x=[1, 7, 3]), [1])


@pytest.mark.parametrize("second_input", [False, True])
@pytest.mark.parametrize("bottom", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k(axis: int, bottom: bool, second_input: bool) -> None:
    x = normal(4, 5, 6)
    order = np.argsort(x if bottom else -x, axis, kind="stable").take([0, 1, 2], axis)
    more = {"k": [3.0]} if second_input else {}

    def add(b: Any) -> None:
        b.add_topk("t", ["x", *more], ["v", "i"], k=0 if second_input else 3, axis=axis, use_bottom_k=bottom)

    values, indices = run(add, outputs=("v", "i"), x=x, **more)

    close(values, np.take_along_axis(x, order, axis))
    close(indices, order)


def test_of_equal_elements_the_first_comes_first() -> None:
    _, indices = run(
        lambda b: b.add_topk("t", ["x"], ["v", "i"], k=3, axis=0), outputs=("v", "i"), x=[2, 5, 5, 1, 5]
    )

    close(indices, [1, 2, 4])


@pytest.mark.parametrize("descending", [False, True])
def test_argsort(descending: bool) -> None:
    x = np.array([[3, 5, 32], [3, 77, 6]])

    found = run(lambda b: b.add_argsort("a", "x", "y", axis=1, descending=descending), x=x)

    close(found, [[2, 1, 0], [1, 2, 0]] if descending else [[0, 1, 2], [0, 2, 1]])


@pytest.mark.parametrize(
    ("exclude", "reverse", "expected"),
    [
        (False, False, [4, 10, 17]),
        (True, False, [0, 4, 10]),
        (False, True, [17, 13, 7]),
        (True, True, [13, 7, 0]),
    ],
)
@pytest.mark.parametrize("second_input", [False, True])
def test_cumulative_sum(exclude: bool, reverse: bool, expected: list[int], second_input: bool) -> None:
    more = {"axis": [1.0]} if second_input else {}

    def add(b: Any) -> None:
        b.add_cumsum("c", ["x", *more], "y", axis=0 if second_input else -1, reverse=reverse, exclusive=exclude)

    close(run(add, x=[[4, 6, 7]], **more), [expected])
