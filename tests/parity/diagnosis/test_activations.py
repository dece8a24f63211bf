"""Functions of one number are known by numbers alone; what they give is NumPy's, not PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.diagnosis.activations import function_of


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x * sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": sigmoid,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "tanh": np.tanh,
    "gelu": gelu,
    "gelu (tanh)": tanh_gelu,
    "leaky_relu with slope 0.2": lambda x: np.where(x < 0, 0.2 * x, x),
    "elu with alpha 0.5": lambda x: np.where(x < 0, 0.5 * np.expm1(x), x),
    "a clip to -0.5 and 1.5": lambda x: np.clip(x, -0.5, 1.5),
    "identity": lambda x: x,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "x * sigmoid(0.6 x)": lambda x: x * sigmoid(0.6 * x),
    "x * clip(0.2 x + 0.5, 0, 1)": lambda x: x * np.clip(0.2 * x + 0.5, 0, 1),
    "clip(0.25 x + 0.5, 0, 1)": lambda x: np.clip(0.25 * x + 0.5, 0, 1),
    "softplus with beta 3": lambda x: np.log1p(np.exp(3 * x)) / 3,
    "sigmoid(1.5 x)": lambda x: sigmoid(1.5 * x),
    "tanh(0.5 x)": lambda x: np.tanh(0.5 * x),
}
NUMBERS = np.random.default_rng(3).normal(0, 4, 2000)


def known_function(numbers: np.ndarray, results: np.ndarray, precision: str = "fp32") -> Any:
    return function_of(torch.tensor(numbers).float(), torch.tensor(results).float(), precision)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_known_by_what_it_gives(name: str) -> None:
    known = known_function(NUMBERS, FUNCTIONS[name](NUMBERS))

    assert known is not None
    assert known[0] == name


@pytest.mark.parametrize("name", ["relu6", "silu", "gelu", "hardswish"])
def test_a_function_that_fp16_rounded_is_known(name: str) -> None:
    half = NUMBERS.astype(np.float16).astype(np.float64)

    known = known_function(half, FUNCTIONS[name](half).astype(np.float16).astype(np.float64), "fp16")

    assert known is not None
    assert known[0].split(" ")[0] == name


@given(st.floats(0.05, 0.9), st.floats(0.2, 3.0))
def test_the_number_inside_is_measured(slope: float, size: float) -> None:
    numbers = size * NUMBERS

    known = known_function(numbers, np.where(numbers < 0, slope * numbers, numbers))

    assert known is not None
    assert known[0].startswith("leaky_relu")
    assert float(known[0].rsplit(" ", 1)[1]) == pytest.approx(slope, rel=2e-3)


def test_what_is_no_function_of_one_number_is_none() -> None:
    assert known_function(NUMBERS, np.random.default_rng(4).permutation(NUMBERS)) is None


def test_any_other_function_of_each_number_is_known_by_what_it_gives() -> None:
    known = known_function(NUMBERS, np.sin(0.5 * NUMBERS))

    assert known is not None
    assert known[0].startswith("another function (")
    assert np.allclose(known[1](torch.tensor([0.5, -1.0])), np.sin([0.25, -0.5]), atol=1e-2)


def test_what_is_no_function_of_each_number_is_none() -> None:
    assert known_function(NUMBERS, NUMBERS[::-1].copy()) is None
