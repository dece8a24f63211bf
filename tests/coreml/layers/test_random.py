from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from tests.coreml.networks import Model, run, specify

_SHAPE = (4, 50, 50)
_SETTINGS: dict[str, dict[str, float]] = {
    "normal": {"mean": 3.0, "stddev": 0.5},
    "uniform": {"minval": -2.0, "maxval": 5.0},
    "bernoulli": {"prob": 0.3},
}
_DISTRIBUTIONS: dict[str, Any] = {
    "normal": stats.norm(3.0, 0.5),
    "uniform": stats.uniform(-2.0, 7.0),
    "bernoulli": stats.bernoulli(0.3),
}
_FORMS = ("like", "static", "dynamic")


def _draw(distribution: str, form: str, seed: int = 5, **settings: float) -> np.ndarray:
    """Draw numbers of the shape _SHAPE."""
    settings = {**_SETTINGS[distribution], **settings}

    def add(b: Any) -> None:
        make = getattr(b, f"add_random_{distribution}_{form}")
        if form == "like":
            make("r", "x", "y", seed=seed, **settings)
        elif form == "static":
            make("r", "y", output_shape=list(_SHAPE), seed=seed, **settings)
        else:
            make("r", ["x"], "y", seed=seed, **settings)

    x = np.zeros(_SHAPE if form == "like" else 1) if form != "dynamic" else _SHAPE
    found = Evaluator(Model(specify(add, {"x": np.shape(x)}))).predict({"x": x})["y"]
    assert found.shape == _SHAPE
    return np.asarray(found)


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("distribution", _SETTINGS)
def test_the_numbers_are_distributed_as_asked(distribution: str, form: str) -> None:
    found, wanted = _draw(distribution, form).ravel(), _DISTRIBUTIONS[distribution]

    # 10,000 numbers: within four standard errors.
    assert abs(found.mean() - wanted.mean()) < 4 * wanted.std() / 100
    assert found.std() == pytest.approx(wanted.std(), rel=0.04)
    if distribution == "bernoulli":
        assert set(found) == {0, 1}
    else:
        assert stats.kstest(found, wanted.cdf).pvalue > 1e-3


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("distribution", _SETTINGS)
def test_the_seed_decides(distribution: str, form: str) -> None:
    once = _draw(distribution, form, seed=7)

    np.testing.assert_array_equal(_draw(distribution, form, seed=7), once)
    assert (_draw(distribution, form, seed=8) != once).any()


def test_without_a_seed_every_prediction_differs() -> None:
    network = Evaluator(Model(specify(lambda b: b.add_random_uniform_like("r", "x", "y"), {"x": (50,)})))

    first, second = (network.predict({"x": np.zeros(50)})["y"] for _ in range(2))

    assert (first != second).any()


def test_the_same_seed_in_every_prediction() -> None:
    network = Evaluator(Model(specify(lambda b: b.add_random_normal_like("r", "x", "y", 0, 1, 3), {"x": (50,)})))

    first, second = (network.predict({"x": np.zeros(50)})["y"] for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_the_extremes() -> None:
    assert (_draw("bernoulli", "like", prob=1.0) == 1).all()
    assert (_draw("bernoulli", "like", prob=0.0) == 0).all()
    assert (_draw("normal", "like", mean=2.5, stddev=0.0) == 2.5).all()
    assert (_draw("uniform", "like", minval=2.5, maxval=2.5) == 2.5).all()
    assert (_draw("uniform", "like", minval=1.0, maxval=1.0000001) < 1.0000001).all()


def _categorical(x: Any, **settings: Any) -> np.ndarray:
    count = settings.pop("num_samples", 40_000)
    return np.asarray(run(lambda b: b.add_categorical_distribution("c", "x", "y", count, seed=11, **settings), x=x))


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"is_logits": False}, lambda p: p),
        ({"is_logits": False, "temperature": 2.0}, np.sqrt),
        ({"is_logits": True}, np.exp),
        ({"is_logits": True, "temperature": 0.5}, lambda x: np.exp(2 * x)),
        ({"is_logits": True, "temperature": 0.0}, np.exp),  # not set
    ],
)
def test_classes_come_as_often_as_they_should(settings: Any, weights: Callable[[Any], Any]) -> None:
    x = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])

    found = _categorical(x, **settings)

    assert found.shape == (2, 40_000)
    shares = weights(x) / weights(x).sum(-1, keepdims=True)
    for drawn, share in zip(found, shares, strict=True):
        np.testing.assert_allclose(np.bincount(drawn.astype(int), minlength=3) / 40_000, share, atol=0.01)


def test_an_epsilon_gives_what_is_impossible_a_chance() -> None:
    found = _categorical(np.array([1.0, 0.0]), is_logits=False, eps=1.0)

    assert found.mean() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4, 3)])
def test_the_last_axis_becomes_the_samples(shape: tuple[int, ...]) -> None:
    assert _categorical(np.zeros(shape), num_samples=5).shape == (*shape[:-1], 5)


@pytest.mark.parametrize(
    ("distribution", "settings", "text"),
    [
        ("uniform", {"minval": 2.0, "maxval": 1.0}, "`minVal` is 2, more than `maxVal`, 1"),
        ("bernoulli", {"prob": 1.5}, "`prob` is 1.5; a probability is 0 to 1"),
        ("bernoulli", {"prob": -0.5}, "`prob` is -0.5; a probability is 0 to 1"),
    ],
)
@pytest.mark.parametrize("form", _FORMS)
def test_what_no_distribution_has_is_refused(
    distribution: str, form: str, settings: dict[str, float], text: str
) -> None:
    with pytest.raises(CoreMLError, match=text):
        _draw(distribution, form, **settings)


def test_no_samples_are_refused() -> None:
    with pytest.raises(CoreMLError, match="`numSamples` is 0; it has to be at least 1"):
        _categorical(np.zeros(3), num_samples=0)
