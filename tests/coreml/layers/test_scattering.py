from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.coreml.networks import close, positive, run

MODES: dict[str, Callable[[float, float], float]] = {
    "UPDATE": lambda old, new: new,
    "ADD": lambda old, new: old + new,
    "SUB": lambda old, new: old - new,
    "MUL": lambda old, new: old * new,
    "DIV": lambda old, new: old / new,
    "MAX": max,
    "MIN": min,
}
_X = positive(4, 3, 5)
_INDICES = np.array([[2, 0], [2, -1]])  # one place twice, and one from the end


@pytest.mark.parametrize("axis", [0, -2])
@pytest.mark.parametrize("mode", MODES)
def test_scatter(mode: str, axis: int) -> None:
    at = axis % 3
    updates = positive(*_X.shape[:at], 2, 2, *_X.shape[at + 1 :], seed=1)
    expected = _X.copy()
    for place in np.ndindex(*updates.shape):
        to = (*place[:at], int(_INDICES[place[at : at + 2]]), *place[at + 2 :])
        expected[to] = MODES[mode](expected[to], updates[place])

    found = run(lambda b: b.add_scatter("s", ["x", "i", "u"], "y", axis, mode), x=_X, i=_INDICES, u=updates)

    close(found, expected)


@pytest.mark.parametrize("mode", MODES)
def test_scatter_nd(mode: str) -> None:
    points = np.array([[2, 0], [2, 0], [0, -1]])
    updates = positive(3, 5, seed=1)
    expected = _X.copy()
    for (i, j), update in zip(points, updates, strict=True):
        for k in range(5):
            expected[i, j, k] = MODES[mode](expected[i, j, k], update[k])

    found = run(lambda b: b.add_scatter_nd("s", ["x", "p", "u"], "y", mode), x=_X, p=points, u=updates)

    close(found, expected)


def test_scatter_nd_of_single_elements() -> None:
    found = run(lambda b: b.add_scatter_nd("s", ["x", "p", "u"], "y"), x=[[1, 2], [3, 4]], p=[[1, 0]], u=[9])

    close(found, [[1, 2], [9, 4]])


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("mode", MODES)
def test_scatter_along_axis(mode: str, axis: int) -> None:
    shape = list(_X.shape)
    shape[axis] = 2
    indices = np.random.default_rng(2).integers(-_X.shape[axis], _X.shape[axis], shape)
    updates = positive(*shape, seed=1)
    expected = _X.copy()
    for place in np.ndindex(*shape):
        to = list(place)
        to[axis] = int(indices[place])
        expected[tuple(to)] = MODES[mode](expected[tuple(to)], updates[place])

    found = run(
        lambda b: b.add_scatter_along_axis("s", ["x", "i", "u"], "y", axis, mode), x=_X, i=indices, u=updates
    )

    close(found, expected)
