from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, positive, run

_GAMMA, _BETA, _MEAN, _VARIANCE = normal(3, seed=1), normal(3, seed=2), normal(3, seed=3), positive(3, seed=4)
_SHAPES = [(3, 4, 5), (2, 3, 4, 5), (2, 2, 3, 4, 5)]


def _wide(v: np.ndarray) -> np.ndarray:
    return v.reshape(-1, 1, 1)


def _add_batchnorm(b: Any, **settings: Any) -> None:
    b.add_batchnorm("n", 3, _GAMMA, _BETA, _MEAN, _VARIANCE, "x", "y", **settings)


@pytest.mark.parametrize("shape", _SHAPES)
def test_batchnorm_with_stored_moments(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    expected = _wide(_GAMMA) * (x - _wide(_MEAN)) / np.sqrt(_wide(_VARIANCE) + 0.1) + _wide(_BETA)

    close(run(lambda b: _add_batchnorm(b, epsilon=0.1), x=x), expected, 1e-5)


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("shape", _SHAPES)
def test_batchnorm_with_computed_moments(shape: tuple[int, ...], instance: bool) -> None:
    x = 3 * normal(*shape) + 1
    axes = (-2, -1) if instance else tuple(a for a in range(x.ndim) if a != x.ndim - 3)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    expected = _wide(_GAMMA) * (x - mean) / np.sqrt(variance + 0.01) + _wide(_BETA)

    def add(b: Any) -> None:
        _add_batchnorm(b, epsilon=0.01, compute_mean_var=True, instance_normalization=True)
        # The builder refuses to write what the specification allows.
        b.nn_spec.layers[0].batchnorm.instanceNormalization = instance

    close(run(add, x=x), expected, 1e-5)


def test_batchnorms_epsilon_is_1e_5_where_it_is_not_set() -> None:
    def add(b: Any) -> None:
        b.add_batchnorm("n", 1, np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1), "x", "y")
        b.nn_spec.layers[0].batchnorm.ClearField("epsilon")

    close(run(add, x=np.ones((1, 1, 1))), np.full((1, 1, 1), 1e5**0.5), 1e-4)


def test_batchnorm_without_moments_is_refused() -> None:
    def add(b: Any) -> None:
        _add_batchnorm(b)
        b.nn_spec.layers[0].batchnorm.ClearField("variance")

    with pytest.raises(CoreMLError, match=r"`variance` holds 0 value\(s\), the shape \[3\] takes 3"):
        run(add, x=normal(3, 1, 1))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shape", _SHAPES)
def test_mvn(shape: tuple[int, ...], normalize: bool, across: bool) -> None:
    x = 2 * normal(*shape) + 5
    axes = (-3, -2, -1) if across else (-2, -1)
    expected = x - x.mean(axes, keepdims=True)
    if normalize:
        expected = expected / np.sqrt(x.var(axes, keepdims=True) + 0.1)

    found = run(lambda b: b.add_mvn("m", "x", "y", across, normalize, 0.1), x=x)

    close(found, expected, 1e-5)


@pytest.mark.parametrize("shape", _SHAPES)
def test_l2_normalize(shape: tuple[int, ...]) -> None:
    x = normal(*shape)

    found = run(lambda b: b.add_l2_normalize("n", "x", "y", epsilon=0.5), x=x)

    close(found, x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True) + 0.5))


def test_epsilon_is_1e_6_where_mvn_and_l2_normalize_do_not_set_it() -> None:
    def mvn(b: Any) -> None:
        b.add_mvn("m", "x", "y", False, True)
        b.nn_spec.layers[0].mvn.ClearField("epsilon")

    def l2(b: Any) -> None:
        b.add_l2_normalize("n", "x", "y")
        b.nn_spec.layers[0].l2normalize.ClearField("epsilon")

    x = np.array([[[1e-3, -1e-3]]])

    close(run(mvn, x=x), x / np.sqrt(2e-6), 1e-5)
    close(run(l2, x=x), x / np.sqrt(3e-6), 1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(6, 2, 3), (2, 6, 2, 3)])
def test_lrn(shape: tuple[int, ...], size: int) -> None:
    x = normal(*shape)
    squares = np.moveaxis(x.astype(np.float64) ** 2, -3, 0)
    sums = [squares[max(0, c - size // 2) : c + size // 2 + 1].sum(0) for c in range(6)]
    expected = x / (2.0 + 0.3 / size * np.moveaxis(np.stack(sums), 0, -3)) ** 0.75

    close(run(lambda b: b.add_lrn("l", "x", "y", alpha=0.3, beta=0.75, local_size=size, k=2.0), x=x), expected)


def test_lrns_k_is_1_where_it_is_not_set() -> None:
    def add(b: Any) -> None:
        b.add_lrn("l", "x", "y", alpha=1.0, beta=1.0, local_size=1)
        b.nn_spec.layers[0].lrn.ClearField("k")

    close(run(add, x=np.full((1, 1, 1), 3.0)), np.full((1, 1, 1), 0.3))


def test_lrn_without_a_window_is_refused() -> None:
    with pytest.raises(CoreMLError, match="`localSize` is 0"):
        run(lambda b: b.add_lrn("l", "x", "y", alpha=1.0, beta=1.0, local_size=0), x=np.ones((1, 1, 1)))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 5)])
def test_layer_normalization(shape: tuple[int, ...]) -> None:
    x, gamma, beta = normal(2, 3, 4, 5), normal(*shape, seed=1), normal(*shape, seed=2)
    axes = tuple(range(-len(shape), 0))
    expected = gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1) + beta

    found = run(lambda b: b.add_layer_normalization("n", "x", "y", list(shape), gamma, beta, eps=0.1), x=x)

    close(found, expected, 1e-5)
