from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

JOINING: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ADD": np.add,
    "MULTIPLY": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
}
SHAPES = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (2, 3, 1, 1)),
    ((2, 1, 4, 5), (2, 3, 4, 5)),
    ((2, 1, 1, 1), (2, 3, 1, 5)),
    ((3,), (3,)),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("mode", JOINING)
def test_two_inputs(mode: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes))

    close(run(lambda n: n.add_elementwise("e", ["a", "b"], "y", mode), a=a, b=b), JOINING[mode](a, b))


@pytest.mark.parametrize("mode", JOINING)
def test_three_inputs(mode: str) -> None:
    a, b, c = normal(2, 3), normal(1, 3, seed=1), normal(2, 3, seed=2)

    found = run(lambda n: n.add_elementwise("e", ["a", "b", "c"], "y", mode), a=a, b=b, c=c)

    close(found, JOINING[mode](JOINING[mode](a, b), c))


def test_an_input_may_come_twice() -> None:
    a, b = normal(4), normal(4, seed=1)

    def add(n: Any) -> None:
        n.add_activation("r", "TANH", "a", "t")
        n.add_elementwise("e", ["t", "b", "t"], "y", "ADD")

    close(run(add, a=a, b=b), 2 * np.tanh(a) + b)


@pytest.mark.parametrize(("mode", "expected"), [("ADD", lambda x: x + 1.5), ("MULTIPLY", lambda x: x * 1.5)])
def test_one_input_goes_with_a_number(mode: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    x = normal(2, 3)

    close(run(lambda n: n.add_elementwise("e", ["x"], "y", mode, alpha=1.5), x=x), expected(x))


@pytest.mark.parametrize("mode", ["MAX", "MIN", "AVE"])
def test_one_input_alone_is_itself(mode: str) -> None:
    x = normal(2, 3)

    def add(n: Any) -> None:
        n.add_elementwise("e", ["x", "x"], "y", mode)
        del n.nn_spec.layers[0].input[1]

    close(run(add, x=x), x)


def test_average_divides_by_the_number_of_inputs() -> None:
    a, b, c = normal(2, 1), normal(2, 3, seed=1), normal(1, 3, seed=2)

    close(run(lambda n: n.add_elementwise("e", ["a", "b", "c"], "y", "AVE"), a=a, b=b, c=c), (a + b + c) / 3)


@pytest.mark.parametrize("mode", ["DOT", "COS"])
def test_dot(mode: str) -> None:
    a, b = normal(2, 5, 1, 1), normal(2, 5, 1, 1, seed=1)
    expected = [float(p.ravel() @ q.ravel()) for p, q in zip(a, b, strict=True)]
    if mode == "COS":
        expected = [e / np.linalg.norm(p) / np.linalg.norm(q) for e, p, q in zip(expected, a, b, strict=True)]

    found = run(lambda n: n.add_elementwise("d", ["a", "b"], "y", mode), a=a, b=b)

    close(found, np.reshape(expected, (2, 1, 1, 1)))


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 4, 5), (3, 4, 5)])
def test_bias_and_scale(shape: tuple[int, ...]) -> None:
    x, w, b = normal(2, 3, 4, 5), normal(*shape, seed=1), normal(*shape, seed=2)
    wide, offset = (v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in (w, b))

    def scale(n: Any, has_bias: bool) -> None:
        n.add_scale("s", w, b, has_bias, "x", "y", shape_scale=shape, shape_bias=shape)

    close(run(lambda n: n.add_bias("b", b, "x", "y", shape_bias=shape), x=x), x + offset)
    close(run(lambda n: scale(n, has_bias=False), x=x), x * wide)
    close(run(lambda n: scale(n, has_bias=True), x=x), x * wide + offset)


def test_a_bias_of_another_shape_is_refused() -> None:
    def add(n: Any) -> None:
        n.add_bias("b", np.zeros(6), "x", "y", shape_bias=[6])
        n.nn_spec.layers[0].bias.shape[:] = [2, 3]

    with pytest.raises(CoreMLError, match=r"layer `b` \(bias\): `bias` has the shape \[2, 3\]; allowed are"):
        run(add, x=normal(1, 2, 3))
