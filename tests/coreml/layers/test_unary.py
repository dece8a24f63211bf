from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.coreml.networks import close, normal, positive, run

UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x + 1e-3),
    "inverse": lambda x: 1 / (x + 1e-3),
    "power": lambda x: x**1.5,
    "exp": np.exp,
    "log": lambda x: np.log(x + 1e-3),
    "abs": np.abs,
    "threshold": lambda x: np.maximum(x, 1.5),
}


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1, 1), (0.5, 1), (0, 2), (0.25, 3), (0, -1), (0.5, -1)])
@pytest.mark.parametrize("mode", UNARY)
def test_unary(mode: str, shift: float, scale: float) -> None:
    x = positive(2, 3)
    if scale < 0:
        x = -x

    found = run(lambda b: b.add_unary("u", "x", "y", mode, alpha=1.5, shift=shift, scale=scale, epsilon=1e-3), x=x)

    close(found, UNARY[mode](scale * x + shift))


def test_a_threshold_turns_the_sign_first() -> None:
    found = run(lambda b: b.add_unary("u", "x", "y", "threshold", alpha=-6, scale=-1), x=[-1, 0, 2, 9])

    close(found, [1, 0, -2, -6])


def test_what_unary_does_not_set_has_its_default() -> None:
    def add(b: Any) -> None:
        b.add_unary("u", "x", "y", "inverse")
        params = b.nn_spec.layers[0].unary
        params.ClearField("scale")
        params.ClearField("epsilon")

    close(run(add, x=[0.0, 1.0]), [1e6, 1 / (1 + 1e-6)])


def test_a_logarithm_without_an_epsilon_is_that_of_the_number_itself() -> None:
    def add(b: Any) -> None:
        b.add_unary("u", "x", "y", "log")
        b.nn_spec.layers[0].unary.ClearField("epsilon")

    close(run(add, x=[0.0, 1.0]), [-np.inf, 0.0])


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "sign": np.sign,
    "exp2": np.exp2,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    x = positive(2, 3) + 1 if name == "acosh" else np.clip(normal(2, 3), -0.99, 0.99)

    close(run(lambda b: getattr(b, f"add_{name}")("f", "x", "y"), x=x), FUNCTIONS[name](x))


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    x = [-2.5, -1.5, -0.5, 0.4, 0.5, 1.5, 2.5]

    close(run(lambda b: b.add_round("r", "x", "y"), x=x), [-2, -2, 0, 0, 0, 2, 2])


def test_copy() -> None:
    x = normal(2, 3)

    close(run(lambda b: b.add_copy("c", "x", "y"), x=x), x)
