from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.coreml.programs import Builder, call, compare_with_folded, folded, run

_FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **k: (x * x).sum(**k),
}
# 81 elements up to 2: their product stays within fp32, whatever is drawn.
_positive = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=3), elements=st.floats(0.125, 2, width=32)
)


@pytest.mark.parametrize("kind", _FORMULAS)
@given(x=_positive, keep_dims=st.booleans(), data=st.data())
def test_each_follows_its_formula(kind: str, x: np.ndarray, keep_dims: bool, data: st.DataObject) -> None:
    axes = data.draw(st.none() | st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True).map(tuple))
    signed = None if axes is None else tuple(a - x.ndim if data.draw(st.booleans()) else a for a in axes)

    found = call(kind, x=x, axes=signed, keep_dims=keep_dims)

    wanted = _FORMULAS[kind](x.astype(np.float64), axis=axes, keepdims=keep_dims)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_axes_and_keep_dims_have_apples_defaults() -> None:
    x = np.float32([[1, 2], [3, 4]])

    assert call("reduce_sum", x=x).shape == ()
    assert call("reduce_sum", x=x, axes=(0,)).shape == (2,)
    assert call("reduce_argmax", x=x).tolist() == [1, 1]


def test_log_sum_exp_does_not_overflow_on_the_way() -> None:
    found = call("reduce_log_sum_exp", x=np.float32([1000, 1000]))

    assert found == pytest.approx(1000 + np.log(2))


@pytest.mark.parametrize(("kind", "wanted"), [("reduce_argmax", [[1], [0]]), ("reduce_argmin", [[0], [2]])])
def test_an_index_is_along_one_axis(kind: str, wanted: list[list[int]]) -> None:
    x = np.float32([[1, 3, 2], [6, 5, 4]])

    assert call(kind, x=x, axis=1, keep_dims=True).tolist() == wanted
    assert call(kind, x=x, axis=-1).tolist() == [row[0] for row in wanted]
    assert call(kind, x=x.T.copy(), axis=0).tolist() == [row[0] for row in wanted]


def test_integers_are_reduced_to_integers() -> None:
    x = np.int32([[1, 2], [4, 8]])

    def body(x: Any) -> list[Any]:
        return [getattr(Builder, kind)(x=x, axes=[1]) for kind in _FORMULAS if kind != "reduce_log_sum_exp"]

    found = run(body, x)

    assert {f.dtype for f in found} == {np.dtype(np.int32)}
    wanted = folded(body, x)
    np.testing.assert_array_equal(found, wanted)
    # The mean of 1 and 2 loses its fraction, the root of 80 too.
    assert found[4].tolist() == [1, 6]
    assert found[1].tolist() == [2, 8]


def test_all_agree_with_what_coremltools_folds() -> None:
    x = np.linspace(0.1, 3, 24, dtype=np.float32).reshape(2, 3, 4)

    def body(x: Any) -> list[Any]:
        reduced = [getattr(Builder, kind)(x=x, axes=[0, 2], keep_dims=True) for kind in _FORMULAS]
        return [*reduced, Builder.reduce_argmax(x=x, axis=1), Builder.reduce_argmin(x=x, axis=1)]

    compare_with_folded(body, x, rtol=1e-5)


def test_an_index_is_of_the_type_that_the_program_asks_for() -> None:
    x = np.float32([[1, 3, 2]])

    def body(x: Any) -> Any:
        index = Builder.reduce_argmax(x=x, axis=1, output_dtype="uint16")
        return Builder.cast(x=index, dtype="int32")

    assert run(body, x, target="iOS17")[0].tolist() == [1]


def test_fp16_rounds_the_mean_and_overflows_only_in_the_result() -> None:
    x = np.float32([[60000, 60000], [2048, 2050]])

    def body(x: Any) -> list[Any]:
        return [Builder.reduce_mean(x=x, axes=[1]), Builder.reduce_sum(x=x, axes=[1])]

    mean, total = run(body, x, precision="fp16")

    np.testing.assert_array_equal(mean, [60000, 2048])
    np.testing.assert_array_equal(total, [np.inf, 4096])
