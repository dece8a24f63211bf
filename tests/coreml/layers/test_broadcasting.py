from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from tests.coreml.networks import close, normal, positive, run

ARITHMETIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize("name", ARITHMETIC)
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, max_side=3))
def test_arithmetic_broadcasts_as_numpy_does(name: str, shapes: hnp.BroadcastableShapes) -> None:
    a, b = positive(*shapes.input_shapes[0]) + 0.3, positive(*shapes.input_shapes[1], seed=1)

    found = run(lambda n: getattr(n, f"add_{name}_broadcastable")("o", ["a", "b"], "y"), a=a, b=b)

    close(found, ARITHMETIC[name](a, b))


def test_the_remainder_has_the_sign_of_the_divisor() -> None:
    a, b = np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])

    close(run(lambda n: n.add_mod_broadcastable("m", ["a", "b"], "y"), a=a, b=b), [1, 2, -2, -1])
    close(run(lambda n: n.add_floor_div_broadcastable("m", ["a", "b"], "y"), a=a, b=b), [2, -3, -3, 2])


# By the name of the layer; `_compare` finds the builder's method for it.
COMPARISONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less_than": np.less,
    "less_equal": np.less_equal,
    "greater_than": np.greater,
    "greater_equal": np.greater_equal,
}


def _compare(name: str, alpha: float = 0.0) -> Callable[..., None]:
    def add(n: Any, inputs: list[str]) -> None:
        if name.endswith("_equal") and name != "not_equal":
            method, more = f"add_{name.split('_')[0]}_than", {"use_" + name.replace("_equal", "_than_equal"): True}
        else:
            method, more = f"add_{name}", {}
        getattr(n, method)("c", inputs, "y", alpha=alpha, **more)

    return add


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison(name: str) -> None:
    a, b = np.array([[1.0, 2, 3], [-1, 0, 2.5]]), np.array([1.0, 2.5, 2.5])

    close(run(lambda n: _compare(name)(n, ["a", "b"]), a=a, b=b), COMPARISONS[name](a, b).astype(float))


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_with_a_number(name: str) -> None:
    a = np.array([1.0, 2, 2.5, 3])

    expected = COMPARISONS[name](a, np.array(2.5)).astype(float)
    close(run(lambda n: _compare(name, 2.5)(n, ["a"]), a=a), expected)


LOGICAL = {"AND": np.logical_and, "OR": np.logical_or, "XOR": np.logical_xor}


@pytest.mark.parametrize("mode", LOGICAL)
def test_logical(mode: str) -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([0, -1, 0.5])

    close(run(lambda n: n.add_logical("l", ["a", "b"], "y", mode), a=a, b=b), LOGICAL[mode](a, b).astype(float))


def test_logical_not() -> None:
    close(run(lambda n: n.add_logical("l", ["a"], "y", "NOT"), a=[0, 1, -2]), [1, 0, 0])


def test_where() -> None:
    condition, a, b = np.array([[1.0, 0], [0, -3]]), normal(2, 2), normal(2)

    found = run(lambda n: n.add_where_broadcastable("w", ["c", "a", "b"], "y"), c=condition, a=a, b=b)

    close(found, np.where(condition != 0, a, b))


def test_where_nonzero() -> None:
    x = [[1, 2, 1], [0, 2, 2], [2, 1, 0]]

    close(
        run(lambda n: n.add_where_nonzero("w", "x", "y"), x=x),
        [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 0], [2, 1]],
    )
