from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conversion.guards.quiet import chatter_to
from parity.coreml import Evaluator
from tests.coreml.networks import close, ct, normal, run

_X = normal(5, 5, 5)
# The two examples of the specification.
_EXAMPLE = {
    "begin_ids": [1, 2, 3],
    "begin_masks": [True, False, True],
    "end_ids": [3, -3, 2],
    "end_masks": [False, True, True],
    "strides": [2, 2, 2],
}


@pytest.mark.parametrize(
    ("squeeze", "expected"), [([False] * 3, _X[:3:2, 2::2, ::2]), ([False, True, False], _X[:3:2, 2, ::2])]
)
def test_the_examples_of_the_specification(squeeze: list[bool], expected: np.ndarray) -> None:
    static = run(lambda b: b.add_slice_static("s", "x", "y", **_EXAMPLE, squeeze_masks=squeeze), x=_X)

    def dynamic(b: Any) -> None:
        b.add_slice_dynamic("s", ["x", "begin"], "y", **{k: v for k, v in _EXAMPLE.items() if k != "begin_ids"},
                            squeeze_masks=squeeze)  # fmt: skip

    close(static, expected)
    close(run(dynamic, x=_X, begin=_EXAMPLE["begin_ids"]), expected)


_INDEX = st.integers(-7, 7)


@given(_INDEX, _INDEX, st.integers(-3, 3).filter(bool), st.booleans(), st.booleans())
def test_slice_static_is_pythons_slice(begin: int, end: int, stride: int, from_begin: bool, to_end: bool) -> None:
    expected = _X[:, slice(None if from_begin else begin, None if to_end else end, stride)]
    fields = {
        "begin_ids": [0, begin, 0],
        "end_ids": [5, end, 5],
        "strides": [1, stride, 1],
        "begin_masks": [False, from_begin, False],
        "end_masks": [False, to_end, False],
    }

    close(run(lambda b: b.add_slice_static("s", "x", "y", **fields), x=_X), expected)


@pytest.mark.parametrize("count", range(1, 7))
def test_slice_dynamic_takes_up_to_six_more_inputs(count: int) -> None:
    names = ("begin", "end", "strides", "beginMasks", "endMasks", "squeezeMasks")
    values = ([1, 4, -2], [3, 0, 5], [1, -1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    given_inputs = dict(zip(names[:count], values, strict=False))

    def add(b: Any) -> None:
        b.add_slice_dynamic(
            "s",
            ["x", *given_inputs],
            "y",
            end_ids=values[1],
            strides=values[2],
            begin_masks=[bool(v) for v in values[3]],
            end_masks=[bool(v) for v in values[4]],
            squeeze_masks=[bool(v) for v in values[5]],
        )

    close(run(add, x=_X, **given_inputs), _X[:3, 4::-1, -2])


def test_a_slice_to_a_single_number_is_a_vector() -> None:
    def add(b: Any) -> None:
        b.add_slice_static("s", "x", "y", [1], [2], [1], [False], [False], squeeze_masks=[True])

    close(run(add, x=[4, 5, 6]), [5])


def test_slice_by_size() -> None:
    found = run(lambda b: b.add_slice_by_size("s", ["x", "b"], "y", axis=1, size=2), x=_X, b=[3])

    close(found, _X[:, 3:5])


@pytest.mark.parametrize("axis", [-2, 0, 1])
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_gather(axis: int, shape: tuple[int, ...]) -> None:
    indices = np.random.default_rng(1).integers(-5, 5, shape)

    close(run(lambda b: b.add_gather("g", ["x", "i"], "y", axis), x=_X, i=indices), _X.take(indices, axis))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_gather_along_axis(axis: int) -> None:
    shape = [5, 5, 5]
    shape[axis] = 3
    indices = np.random.default_rng(1).integers(-5, 5, shape)

    found = run(lambda b: b.add_gather_along_axis("g", ["x", "i"], "y", axis), x=_X, i=indices)

    close(found, np.take_along_axis(_X, indices, axis))


@pytest.mark.parametrize("shape", [(6, 2), (2, 3, 3), (4, 1)])
def test_gather_nd(shape: tuple[int, ...]) -> None:
    points = np.random.default_rng(1).integers(-5, 5, shape)

    found = run(lambda b: b.add_gather_nd("g", ["x", "p"], "y"), x=_X, p=points)

    close(found, _X[tuple(np.moveaxis(points, -1, 0))])


@pytest.mark.parametrize("kind", ["slice", "squeeze", "reduce", "arg_max"])
def test_a_number_between_layers_has_no_axes(kind: str) -> None:
    adders: dict[str, Callable[[Any], Any]] = {
        "slice": lambda b: b.add_slice_static(
            "s",
            "x",
            "n",
            begin_ids=[2],
            end_ids=[3],
            strides=[1],
            begin_masks=[0],
            end_masks=[0],
            squeeze_masks=[1],
        ),
        "squeeze": lambda b: b.add_squeeze("s", "one", "n", squeeze_all=True),
        "reduce": lambda b: b.add_reduce_max("s", "x", "n", axes=[0], keepdims=False),
        "arg_max": lambda b: b.add_argmax("s", "x", "n", axis=0, keepdims=False),
    }

    def add(b: Any) -> None:
        b.add_slice_static(
            "one", "x", "one", begin_ids=[2], end_ids=[3], strides=[1], begin_masks=[0], end_masks=[0]
        )
        adders[kind](b)
        b.add_expand_dims("e", "n", "vector", axes=[0])
        b.add_stack("t", ["n", "n"], "stacked", axis=0)
        b.add_concat_nd("c", ["n", "x"], "joined", axis=0)

    number = 2.0 if kind == "arg_max" else 5.0

    found = run(add, outputs=("n", "vector", "stacked", "joined"), x=[3.0, 4.0, 5.0])

    # An output has at least one axis.
    for value, expected in zip(found, ([number], [number], [number] * 2, [number, 3, 4, 5]), strict=True):
        close(value, expected)


class _Linspace(torch.nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linspace(x[0], x[1], self.steps)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("kind", ["neuralnetwork", "mlprogram"])
def test_torchs_linspace_has_as_many_numbers_as_steps(kind: str, steps: int) -> None:
    ends = np.float32([-0.1, -0.7])
    precision = {} if kind == "neuralnetwork" else {"compute_precision": ct.precision.FLOAT32}
    with chatter_to():
        traced = torch.jit.trace(_Linspace(steps), torch.from_numpy(ends))
        model = ct.convert(
            traced, inputs=[ct.TensorType("x", (2,))], convert_to=kind, skip_model_load=True, **precision
        )

    (found,) = Evaluator(model).predict({"x": ends}).values()

    close(found, np.linspace(-0.1, -0.7, steps))
