from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.programs import Builder, call, compare_with_folded, run

_X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
_MODES: dict[str, Callable[[float, float], float]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


@given(
    axis=st.integers(-3, 2),
    shape=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    seed=st.integers(0, 999),
)
def test_gather_takes_from_one_axis(axis: int, shape: tuple[int, ...], seed: int) -> None:
    size = _X.shape[axis]
    indices = np.random.default_rng(seed).integers(-size, size, shape).astype(np.int32)

    found = call("gather", x=_X, indices=np.asarray(indices), axis=axis)

    np.testing.assert_array_equal(found, np.take(_X, indices, axis))


@pytest.mark.parametrize("axis", [1, 2])
def test_gather_takes_indices_of_its_own_for_each_batch(axis: int) -> None:
    indices = np.int32([[[0, 1], [3, 2]], [[1, 1], [0, 0]], [[2, 3], [-1, 0]]])

    found = call("gather", x=_X, indices=indices, axis=axis, batch_dims=1)

    np.testing.assert_array_equal(found, [np.take(_X[n], indices[n], axis - 1) for n in range(3)])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_along_axis_is_numpys(axis: int) -> None:
    shape = list(_X.shape)
    shape[axis] = 2
    indices = np.random.default_rng(0).integers(-3, 3, shape).astype(np.int32)

    found = call("gather_along_axis", x=_X, indices=indices, axis=axis)

    np.testing.assert_array_equal(found, np.take_along_axis(_X, indices, axis))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gather_nd_follows_index_vectors(depth: int) -> None:
    indices = np.random.default_rng(0).integers(-3, 3, (2, 6, depth)).astype(np.int32)

    found = call("gather_nd", x=_X, indices=indices)

    np.testing.assert_array_equal(found, _X[tuple(np.moveaxis(indices, -1, 0))])


def test_gather_nd_takes_indices_of_its_own_for_each_batch() -> None:
    indices = np.random.default_rng(0).integers(0, 4, (3, 2, 2)).astype(np.int32)

    found = call("gather_nd", x=_X, indices=indices, batch_dims=1)

    np.testing.assert_array_equal(found, [_X[n][tuple(indices[n].T)] for n in range(3)])


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", ["iOS15", "iOS17"])
def test_scatter_puts_slices(mode: str, axis: int, opset: str) -> None:
    # In the second a negative index would be out of bounds.
    data, indices = 1 + np.abs(_X), np.int32([2, -1 if opset == "iOS15" else 1, 0])
    updates = np.random.default_rng(0).uniform(1, 9, (*_X.shape[: axis % 3], 3, *_X.shape[axis % 3 + 1 :]))
    updates = updates.astype(np.float32)

    found = call("scatter", opset, data=data, indices=indices, updates=updates, axis=axis, mode=mode)

    wanted = np.moveaxis(data.astype(np.float64), axis, 0)
    for index, update in zip(indices, np.moveaxis(updates, axis, 0), strict=True):
        wanted[index] = np.vectorize(_MODES[mode])(wanted[index], update)
    np.testing.assert_allclose(found, np.moveaxis(wanted, 0, axis), rtol=1e-5)


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_along_axis_puts_each_element(mode: str, axis: int) -> None:
    random = np.random.default_rng(1)
    data = random.uniform(1, 9, (4, 3)).astype(np.float32)
    # Without repetition for `update`, where the order of equals is left open.
    indices = np.argsort(random.normal(size=(4, 3)), axis).astype(np.int32)
    if mode != "update":
        indices = np.minimum(indices, 1)
    updates = random.uniform(1, 9, (4, 3)).astype(np.float32)

    found = call("scatter_along_axis", data=data, indices=indices, updates=updates, axis=axis, mode=mode)

    wanted = data.astype(np.float64)
    for place in itertools.product(range(4), range(3)):
        at = list(place)
        at[axis] = indices[place]
        wanted[tuple(at)] = _MODES[mode](wanted[tuple(at)], updates[place])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("opset", ["iOS15", "iOS17"])
def test_scatter_nd_puts_parts(mode: str, depth: int, opset: str) -> None:
    data = 1 + _X[:, :, 0]
    indices = np.int32([[0, 1], [2, 3], [-1 if opset == "iOS15" else 2, 0]])[:, :depth]
    updates = np.random.default_rng(0).uniform(1, 9, (3, *data.shape[depth:])).astype(np.float32)
    if mode == "update":
        # Two vectors of one number would name the last row twice.
        indices, updates = indices[:2], updates[:2]

    found = call("scatter_nd", opset, data=data, indices=indices, updates=updates, mode=mode)

    wanted = data.astype(np.float64)
    for index, update in zip(indices, updates, strict=True):
        wanted[tuple(index)] = np.vectorize(_MODES[mode])(wanted[tuple(index)], update)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_scattering_adds_unless_told_otherwise() -> None:
    data, at, updates = np.float32([1, 2, 3]), np.int32([1]), np.float32([10])

    assert call("scatter", data=data, indices=at, updates=updates).tolist() == [1, 12, 3]
    assert call("scatter_along_axis", data=data, indices=at, updates=updates).tolist() == [1, 12, 3]
    assert call("scatter_nd", data=data, indices=at[:, None], updates=updates).tolist() == [1, 12, 3]


def test_integers_are_scattered_as_integers() -> None:
    data, at, updates = np.int32([-7, 7]), np.int32([0, 1]), np.int32([2, 2])

    assert call("scatter", data=data, indices=at, updates=updates, mode="div").tolist() == [-3, 3]
    assert call("scatter", data=data, indices=at, updates=updates, mode="mul").tolist() == [-14, 14]


_GATHERING = ("gather", "gather_along_axis", "gather_nd")
_SCATTERING = ("scatter", "scatter_along_axis", "scatter_nd")
_FOUR = np.float32([1, 2, 3, 4])


def at_one_index(kind: str, index: int) -> dict[str, Any]:
    """Return arguments of an operation on an axis of four numbers."""
    indices = np.int32([index])
    others = {"x": _FOUR} if kind in _GATHERING else {"data": _FOUR, "updates": np.float32([10])}
    return {**others, "indices": indices[:, None] if kind.endswith("nd") else indices}


@pytest.mark.parametrize(
    ("kind", "opset", "index", "options"),
    [
        *[(kind, "iOS18", index, {"validate_indices": False}) for kind in _GATHERING for index in (4, -5)],
        *[(kind, "iOS15", index, {}) for kind in _SCATTERING for index in (4, -5)],
        *[(k, "iOS17", index, {"validate_indices": True}) for k in _GATHERING + _SCATTERING for index in (4, -1)],
    ],
)
def test_an_index_beyond_the_axis_is_an_error(kind: str, opset: str, index: int, options: dict[str, Any]) -> None:
    with pytest.raises(CoreMLError, match=rf"index {index} into an axis of 4 element\(s\)"):
        call(kind, opset, **at_one_index(kind, index), **options)


@pytest.mark.parametrize("kind", _SCATTERING)
def test_a_negative_index_counts_from_the_end_up_to_ios16(kind: str) -> None:
    for opset in ("iOS15", "iOS16"):
        assert call(kind, opset, **at_one_index(kind, -1)).tolist() == [1, 2, 3, 14]


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("index", [-1, 4, 2**31 - 1])
@pytest.mark.parametrize("kind", _SCATTERING)
def test_from_ios17_on_what_is_out_of_bounds_is_left_out(kind: str, index: int, mode: str) -> None:
    for opset in ("iOS17", "iOS18"):
        assert call(kind, opset, **at_one_index(kind, index), mode=mode).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_others_are_put_where_some_are_out_of_bounds(axis: int) -> None:
    data, updates = np.zeros((3, 3), np.float32), np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    expected = np.zeros((3, 3), np.float32)
    np.moveaxis(expected, axis, 0)[1] = np.moveaxis(updates, axis, 0)[2]

    result = call("scatter", data=data, indices=np.int32([-1, 3, 1]), updates=updates, axis=axis)
    along = call(
        "scatter_along_axis",
        data=data,
        indices=np.moveaxis(np.int32([[-1] * 3, [3] * 3, [1] * 3]), 0, axis),
        updates=updates,
        axis=axis,
    )

    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(along, expected)


def test_a_vector_is_out_of_bounds_where_one_of_its_indices_is() -> None:
    data, indices = np.zeros((2, 3), np.float32), np.int32([[0, 3], [2, 0], [-1, 1], [1, 2]])

    result = call("scatter_nd", data=data, indices=indices, updates=np.float32([1, 2, 3, 4]))

    assert result.tolist() == [[0, 0, 0], [0, 0, 4]]


def test_gathering_agrees_with_what_coremltools_folds() -> None:
    indices = np.int32([[2, 0], [1, 1]])
    along = np.int32([[[0, 3, 1, 2, 2]]] * 3)

    def body(x: Any) -> list[Any]:
        return [
            Builder.gather(x=x, indices=indices, axis=1),
            Builder.gather_along_axis(x=x, indices=along, axis=1),
        ]

    compare_with_folded(body, _X)


def test_all_run_in_a_program_of_every_opset() -> None:
    def body(x: Any) -> list[Any]:
        return [
            Builder.gather(x=x, indices=np.int32([1, 0]), axis=-1),
            Builder.gather_nd(x=x, indices=np.int32([[1, 0]])),
            Builder.scatter(data=x, indices=np.int32([1]), updates=np.float32([[10, 10]]), mode="add"),
            Builder.scatter_nd(data=x, indices=np.int32([[0, 1]]), updates=np.float32([10]), mode="update"),
        ]

    for target in ("iOS15", "iOS16", "iOS17", "iOS18"):
        found = run(body, np.float32([[1, 2], [3, 4]]), target=target)
        assert [f.tolist() for f in found] == [[[2, 1], [4, 3]], [3], [[1, 2], [13, 14]], [[1, 10], [3, 4]]]


def test_fp16_rounds_what_is_added_up() -> None:
    def body(x: Any) -> Any:
        return Builder.scatter(data=x, indices=np.int32([0, 0]), updates=np.float32([1, 40000]), mode="add")

    assert run(body, np.float32([30000]), precision="fp16")[0].tolist() == [np.inf]
    assert run(body, np.float32([2048 - 40000]), precision="fp16")[0].tolist() == [2048]
