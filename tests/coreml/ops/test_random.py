from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.coreml.programs import Builder, call, evaluator, run

_MANY = (200, 250)


def _values(kind: str, **arguments: Any) -> np.ndarray:
    """Draw in a program of one operation, whose output type the kernel may need."""

    def body(x: Any) -> list[Any]:
        return [Builder.identity(x=x), getattr(Builder, kind)(**arguments)]

    return run(body, np.zeros(1))[1]


def test_bernoulli_draws_ones_with_the_probability() -> None:
    drawn = call("random_bernoulli", shape=_MANY, prob=0.3, seed=1)

    assert set(np.unique(drawn)) == {0, 1}
    assert drawn.shape == _MANY
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    assert call("random_bernoulli", shape=_MANY, seed=1).mean() == pytest.approx(0.5, abs=0.01)
    assert call("random_bernoulli", shape=(9,), prob=0.0, seed=1).max() == 0
    assert call("random_bernoulli", shape=(9,), prob=1.0, seed=1).min() == 1


def test_normal_has_its_moments() -> None:
    drawn = call("random_normal", shape=_MANY, mean=3.0, stddev=2.0, seed=1)

    assert drawn.shape == _MANY
    standard = (drawn.astype(np.float64) - 3) / 2
    assert [(standard**power).mean() for power in (1, 2, 3, 4)] == pytest.approx([0, 1, 0, 3], abs=0.1)
    plain = call("random_normal", shape=_MANY, seed=1)
    assert (plain.mean(), plain.std()) == pytest.approx((0, 1), abs=0.02)


def test_uniform_has_its_moments_and_bounds() -> None:
    drawn = _values("random_uniform", shape=_MANY, low=-2.0, high=6.0, seed=1).astype(np.float64)

    assert drawn.min() >= -2
    assert drawn.max() < 6
    assert (drawn.mean(), drawn.std()) == pytest.approx((2, 8 / 12**0.5), abs=0.05)
    plain = _values("random_uniform", shape=_MANY, seed=1)
    assert (plain.min(), plain.max()) == pytest.approx((0, 1), abs=0.01)


def test_uniform_excludes_the_upper_end_also_after_rounding() -> None:
    # Of fp16 only 1024 and 1025 are left in this interval, and half of what is drawn is nearer to 1026.
    def body(x: Any) -> list[Any]:
        ends = {"low": np.float16(1024), "high": np.float16(1026)}
        return [Builder.identity(x=x), Builder.random_uniform(shape=_MANY, seed=1, **ends)]

    assert set(np.unique(run(body, np.zeros(1), precision="fp16")[1])) == {1024, 1025}


def test_uniform_over_no_interval_is_its_end() -> None:
    assert np.unique(_values("random_uniform", shape=(3, 4), low=2.5, high=2.5)).tolist() == [2.5]


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical_draws_each_row_from_its_own_distribution(mode: str) -> None:
    probabilities = np.array([[[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]])
    with np.errstate(divide="ignore"):
        x = np.float32(probabilities if mode == "probs" else np.log(probabilities))

    drawn = call("random_categorical", x=x, mode=mode, size=20_000, seed=1)

    assert drawn.shape == (1, 2, 20_000)
    shares = [np.bincount(row.astype(int), minlength=3) / 20_000 for row in drawn[0]]
    np.testing.assert_allclose(shares, probabilities[0], atol=0.015)


def test_categorical_draws_once_from_logits_by_default() -> None:
    assert call("random_categorical", x=np.float32([[0, 60], [60, 0]])).tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("random_bernoulli", {"shape": (50,), "prob": 0.5}),
        ("random_categorical", {"x": np.zeros((1, 50), np.float32), "size": 50}),
        ("random_normal", {"shape": (50,)}),
    ],
)
def test_a_seed_repeats_and_its_absence_does_not(kind: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    seeded = [call(kind, **arguments, seed=seed) for seed in (5, 5, 6)]
    free = [call(kind, **arguments) for _ in range(2)]
    torch.manual_seed(0)

    np.testing.assert_array_equal(seeded[0], seeded[1])
    assert (seeded[0] != seeded[2]).any()
    assert (free[0] != free[1]).any()
    # PyTorch's own seed is the one that repeats predictions without a seed, and the seeded draws leave it alone.
    np.testing.assert_array_equal(call(kind, **arguments), free[0])


def test_every_prediction_of_a_model_draws_the_same_from_a_seed() -> None:
    def body(x: Any, shape: Any) -> list[Any]:
        return [
            Builder.add(x=x, y=Builder.random_uniform(shape=shape, seed=3)),
            Builder.random_normal(shape=shape, seed=3),
            Builder.random_bernoulli(shape=[40], seed=3),
            Builder.random_categorical(x=x, size=40, seed=3),
            Builder.random_uniform(shape=shape),
        ]

    model = evaluator(body, np.zeros(4), np.int32([4]))
    names = [feature.name for feature in model.description.output]
    fed = dict(zip([f.name for f in model.description.input], [np.zeros(4), [4]], strict=True))

    first, second = model.predict(fed), model.predict(fed)

    for name in names[:4]:
        np.testing.assert_array_equal(first[name], second[name])
    assert (first[names[4]] != second[names[4]]).any()
