from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, compare_with_folded, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _channel(values: np.ndarray, rank: int) -> np.ndarray:
    return values.astype(np.float64).reshape(1, -1, *(1,) * (rank - 2))


@pytest.mark.parametrize("spatial", [(5,), (4, 5), (2, 3, 4)])
def test_batch_norm_uses_the_given_statistics(spatial: tuple[int, ...]) -> None:
    x, mean, beta = _normal(2, 3, *spatial), _normal(3), _normal(3)
    variance, gamma = _normal(3) ** 2, _normal(3)
    rank = x.ndim

    plain = (x - _channel(mean, rank)) / np.sqrt(_channel(variance, rank) + 1e-5)
    np.testing.assert_allclose(call("batch_norm", x=x, mean=mean, variance=variance), plain, rtol=1e-4, atol=1e-5)

    found = call("batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=0.1)
    scaled = (x - _channel(mean, rank)) / np.sqrt(_channel(variance, rank) + 0.1)
    wanted = scaled * _channel(gamma, rank) + _channel(beta, rank)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spatial", [(5,), (4, 5), (1, 1)])
def test_instance_norm_uses_each_channels_own_statistics(spatial: tuple[int, ...]) -> None:
    x, gamma, beta = _normal(2, 3, *spatial), _normal(3), _normal(3)
    axes = tuple(range(2, x.ndim))
    plain = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)

    found = call("instance_norm", x=x, gamma=gamma, beta=beta, epsilon=1e-3)

    np.testing.assert_allclose(call("instance_norm", x=x, epsilon=1e-3), plain, rtol=1e-4, atol=1e-5)
    wanted = plain * _channel(gamma, x.ndim) + _channel(beta, x.ndim)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_l2_norm_divides_by_the_length_over_three_axes() -> None:
    x = np.full((2, 3, 1, 2, 2), 3, np.float32)
    x[1] = 0

    found = call("l2_norm", x=x, epsilon=1.0)

    # Four threes make 36, and epsilon joins them below the root.
    np.testing.assert_allclose(found[0], 3 / np.sqrt(37), rtol=1e-6)
    np.testing.assert_array_equal(found[1], 0)


@given(st.data())
def test_layer_norm_takes_any_axes(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=4)))
    chosen = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    signed = tuple(axis - len(shape) if data.draw(st.booleans()) else axis for axis in chosen)
    affine = data.draw(st.booleans())
    x = _normal(*shape)
    ordered = tuple(sorted(chosen))
    gamma, beta = (_normal(*(shape[axis] for axis in ordered)) for _ in range(2))

    found = call("layer_norm", x=x, axes=signed, epsilon=1e-2, **({"gamma": gamma, "beta": beta} if affine else {}))

    wanted = (x - x.mean(ordered, keepdims=True)) / np.sqrt(x.var(ordered, keepdims=True) + 1e-2)
    if affine:
        aligned = [shape[axis] if axis in ordered else 1 for axis in range(len(shape))]
        wanted = wanted * gamma.reshape(aligned) + beta.reshape(aligned)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_layer_norm_without_axes_takes_all() -> None:
    x = _normal(2, 3)

    np.testing.assert_allclose(
        call("layer_norm", x=x), (x - x.mean()) / np.sqrt(x.var() + 1e-5), rtol=1e-4, atol=1e-6
    )


def test_local_response_norm_sums_over_neighbouring_channels() -> None:
    x = np.float32([1, 2, 3, 4]).reshape(1, 4, 1, 1)

    found = call("local_response_norm", x=x, size=3, alpha=0.6, beta=2.0, k=1.5)

    sums = np.array([1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16])
    np.testing.assert_allclose(found.reshape(-1), [1, 2, 3, 4] / (1.5 + 0.6 / 3 * sums) ** 2, rtol=1e-5)


def test_local_response_norm_of_rank_3_gives_apples_recorded_numbers() -> None:
    x = np.float32([[[1, -7], [5, -6], [-3, -5]]])

    found = call("local_response_norm", x=x, size=2)

    recorded = [[0.99996257, -6.98716545], [4.99531746, -5.99191284], [-2.99898791, -4.99531746]]
    np.testing.assert_allclose(found[0], recorded, rtol=1e-6)


def test_local_response_norm_has_apples_defaults() -> None:
    x = np.float32([10, 20]).reshape(1, 2, 1, 1)

    found = call("local_response_norm", x=x, size=1)

    np.testing.assert_allclose(found.reshape(-1), [10, 20] / (1 + 1e-4 * np.array([100, 400])) ** 0.75, rtol=1e-6)


def test_both_that_coremltools_folds_agree() -> None:
    x, gamma, beta = _normal(2, 3, 4, 5), _normal(4, 5), _normal(4, 5)

    def body(x: Any) -> list[Any]:
        return [
            Builder.l2_norm(x=x, epsilon=np.float32(0.1)),
            Builder.layer_norm(x=x, axes=[2, 3], gamma=gamma, beta=beta, epsilon=np.float32(0.1)),
            Builder.layer_norm(x=x, axes=[1], epsilon=np.float32(0.1)),
        ]

    compare_with_folded(body, x, rtol=1e-4, atol=1e-5)


def test_fp16_sums_in_more_than_fp16() -> None:
    # The squares overflow fp16, the result does not: Core ML rounds what an operation gives, not its way there.
    x = np.full((1, 1, 2, 2), 1000, np.float32)

    found = run(lambda x: Builder.l2_norm(x=x), x, precision="fp16")[0]

    np.testing.assert_array_equal(found, np.full_like(x, 0.5))
