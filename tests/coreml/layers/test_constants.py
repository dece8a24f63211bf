from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from parity.coreml import Evaluator
from tests.coreml.networks import Model, close, normal, run, specify


def test_load_constant_has_five_axes() -> None:
    w = normal(2, 3, 4)

    def add(b: Any) -> None:
        b.add_load_constant("l", "c", w, (2, 3, 4))
        b.add_elementwise("a", ["c", "x"], "y", "ADD")

    close(run(add, rank5=True, x=np.ones((2, 1, 1))), (w + 1)[None, None])


def test_a_constant_is_never_overwritten() -> None:
    def add(b: Any) -> None:
        b.add_load_constant("l", "c", np.array([16.0]), (1, 1, 1))
        b.add_load_constant_nd("m", "d", np.array([1.0, 256.0]), (2,))
        b.add_unary("u", "c", "r", "sqrt")
        b.add_unary("v", "d", "s", "sqrt")
        b.add_elementwise("a", ["r", "s", "x"], "y", "ADD")

    network = Evaluator(Model(specify(add, {"x": (2,)})))

    for _ in range(2):
        close(network.predict({"x": [0, 0]})["y"], np.reshape([5.0, 20.0], (1, 1, 1, 1, 2)))


def test_load_constant_nd() -> None:
    w = normal(2, 3)

    close(run(lambda b: (b.add_load_constant_nd("l", "c", w, (2, 3)), b.add_copy("d", "x", "z")),
              outputs=("c",), x=[0]), w)  # fmt: skip


def test_fill() -> None:
    static = run(lambda b: b.add_fill_static("f", "y", (2, 3), 1.5), x=[0])
    dynamic = run(lambda b: b.add_fill_dynamic("f", "x", "y", 1.5), x=[2, 3])
    like = run(lambda b: b.add_fill_like("f", "x", "y", 1.5), x=np.zeros((2, 3)))

    for found in (static, dynamic, like):
        close(found, np.full((2, 3), 1.5))


@pytest.mark.parametrize(("end", "start", "step"), [(5, 0, 1), (7.5, 1, 2), (-4, 3, -2), (1, 0, 0.25)])
def test_range(end: float, start: float, step: float) -> None:
    expected = np.arange(start, end, step)

    def dynamic(*inputs: str) -> Any:
        return lambda b: b.add_range_dynamic("r", list(inputs), "y", start=start, step=step)

    close(run(lambda b: b.add_range_static("r", "y", None, end, start, step), x=[0]), expected)
    close(run(dynamic("e"), e=[end]), expected)
    close(run(dynamic("e", "s"), e=[end], s=[start]), expected)
    close(run(dynamic("e", "s", "d"), e=[end], s=[start], d=[step]), expected)


@pytest.mark.parametrize(
    ("end", "start", "step", "count"), [(0.3, 0, 0.1, 3), (-0.7, -0.1, -0.6, 1), (2, 1.9, 0.1, 2)]
)
def test_a_range_is_counted_in_float32(end: float, start: float, step: float, count: int) -> None:
    expected = np.float32(start) + np.arange(count) * np.float32(step)
    assert count == math.ceil((np.float32(end) - np.float32(start)) / np.float32(step))

    close(run(lambda b: b.add_range_static("r", "y", None, end, start, step), x=[0]), expected)
    close(run(lambda b: b.add_range_dynamic("r", ["e", "s", "d"], "y"), e=[end], s=[start], d=[step]), expected)
