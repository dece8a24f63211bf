"""A compiled NeuralNetwork answers as its layers do, with any number of axes before the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.coreml import Evaluator
from parity.coreml.running.fusing import can_fuse
from tests.coreml.networks import Model, normal, specify

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this build of PyTorch has no oneDNN graph compiler")

CHANNELS, SIDE = 4, 9
Adder = Callable[[Any, str, str, str], None]


def relu6(builder: Any, name: str, x: str, y: str) -> None:
    """Write what onnx-coreml writes: two limits, each by a threshold from below, and a change of sign."""
    builder.add_unary(f"{name} a", x, f"{name} a", "threshold", alpha=0.0)
    builder.add_unary(f"{name} b", f"{name} a", f"{name} b", "threshold", alpha=-6.0, scale=-1.0)
    builder.add_activation(name, "LINEAR", f"{name} b", y, params=[-1.0, 0.0])


def hard_swish(builder: Any, name: str, x: str, y: str) -> None:
    builder.add_activation(f"{name} gate", "SIGMOID_HARD", x, f"{name} gate", params=[1 / 6, 0.5])
    builder.add_elementwise(name, [x, f"{name} gate"], y, "MULTIPLY")


def squeeze_excite(builder: Any, name: str, x: str, y: str) -> None:
    builder.add_pooling(f"{name} mean", 0, 0, 1, 1, "AVERAGE", "VALID", x, f"{name} mean", is_global=True)
    builder.add_activation(f"{name} gate", "SIGMOID", f"{name} mean", f"{name} gate")
    builder.add_elementwise(name, [x, f"{name} gate"], y, "MULTIPLY")


def batch_norm(builder: Any, name: str, x: str, y: str) -> None:
    numbers = [normal(CHANNELS, seed=i) for i in range(3)]
    builder.add_batchnorm(name, CHANNELS, *numbers, np.ones(CHANNELS, np.float32), x, y)


def scale(builder: Any, name: str, x: str, y: str) -> None:
    w, b = normal(CHANNELS, seed=1), normal(CHANNELS, seed=2)
    builder.add_scale(name, w, b, True, x, y, shape_scale=[CHANNELS], shape_bias=[CHANNELS])


def pool(kind: str) -> Adder:
    def add(builder: Any, name: str, x: str, y: str) -> None:
        builder.add_pooling(
            name, 3, 3, 1, 1, kind, "VALID", x, y, padding_top=1, padding_bottom=1, padding_left=1, padding_right=1
        )

    return add


def padding(builder: Any, name: str, x: str, y: str) -> None:
    """Pad alike on both sides, and cut what is too much by a convolution without borders."""
    builder.add_padding(f"{name} pad", 1, 1, 1, 1, 0.0, x, f"{name} pad")
    convolution(builder, name, f"{name} pad", y, side=3, same=False)


def concat(builder: Any, name: str, x: str, y: str) -> None:
    builder.add_elementwise(f"{name} join", [x, x], f"{name} join", "CONCAT")
    convolution(builder, name, f"{name} join", y, channels=2 * CHANNELS)


def activation(kind: str, params: Any = None) -> Adder:
    return lambda builder, name, x, y: builder.add_activation(name, kind, x, y, params=params)


def convolution(
    builder: Any, name: str, x: str, y: str, side: int = 1, channels: int = CHANNELS, same: bool = True
) -> None:
    weight = normal(side, side, channels, CHANNELS, seed=len(name)) / np.sqrt(side * side * channels)
    borders = "same" if same else "valid"
    bias = normal(CHANNELS, seed=3)
    builder.add_convolution(
        name, channels, CHANNELS, side, side, 1, 1, borders, 1, weight, bias, True, input_name=x, output_name=y
    )


PARTS: dict[str, Adder] = {
    "ReLU": activation("RELU"),
    "leaky ReLU": activation("LEAKYRELU", [0.1]),
    "tanh": activation("TANH"),
    "thresholded ReLU": activation("THRESHOLDEDRELU", -3.0),
    "relu6": relu6,
    "hard swish": hard_swish,
    "squeeze, excite": squeeze_excite,
    "batch norm": batch_norm,
    "scale": scale,
    "average pool": pool("AVERAGE"),
    "max pool": pool("MAX"),
    "padding": padding,
    "concat": concat,
}
rows = st.lists(st.sampled_from(sorted(PARTS)), min_size=3, max_size=6)


def write(parts: list[str]) -> Callable[[Any], None]:
    """Write convolutions in a row, each with a part behind it and a sum with what was before."""

    def add(builder: Any) -> None:
        x = "x"
        for i, part in enumerate(parts):
            convolution(builder, f"conv{i}", x, f"conv{i}", side=3 if i % 2 else 1)
            PARTS[part](builder, f"part{i}", f"conv{i}", f"part{i}")
            builder.add_elementwise(f"sum{i}", [x, f"part{i}"], f"sum{i}", "ADD")
            x = f"sum{i}"
        convolution(builder, "last", x, "y")

    return add


def evaluators(parts: list[str], rank5: bool, shape: tuple[int, ...]) -> tuple[Evaluator, Evaluator]:
    model = Model(specify(write(parts), {"x": shape[-3:] if rank5 else shape}, rank5=rank5))
    return Evaluator(model, compile_after=None), Evaluator(model, compile_after=0)


def roles(evaluator: Evaluator) -> list[str]:
    """List what the steps of the one compiled plan do, but for that which gives the input its axes."""
    (plan,) = evaluator._engine().compiled._plans.values()
    return [step.node.role for step in plan.steps if step.node.type != "rank 5"]


@settings(max_examples=16)
@given(rows, st.sampled_from([(1, 1), (1, 3), (2, 1), (2, 3)]))
def test_compiled_layers_answer_as_they_do_one_by_one(parts: list[str], leading: tuple[int, int]) -> None:
    shape = (*leading, CHANNELS, SIDE, SIDE)
    plain, quick = evaluators(parts, True, shape)

    for seed in range(2):
        feed = {"x": normal(*shape, seed=seed)}
        np.testing.assert_allclose(quick.predict(feed)["y"], plain.predict(feed)["y"], rtol=1e-4, atol=1e-4)

    assert roles(quick) == ["conv"]


@settings(max_examples=6)
@given(rows, st.sampled_from([(), (2,)]))
def test_with_exact_axes_too(parts: list[str], leading: tuple[int, ...]) -> None:
    shape = (*leading, CHANNELS, SIDE, SIDE)
    plain, quick = evaluators(parts, False, shape)
    feed = {"x": normal(*shape)}

    np.testing.assert_allclose(quick.predict(feed)["y"], plain.predict(feed)["y"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", sorted(PARTS))
@pytest.mark.parametrize("size", [np.inf, np.nan, 1e38])
def test_what_is_no_number_stays_none(part: str, size: float) -> None:
    shape = (1, 1, CHANNELS, SIDE, SIDE)
    plain, quick = evaluators([part] * 3, True, shape)
    quick.predict({"x": normal(*shape)})  # compiles for numbers of a usual size
    feed = {"x": np.full(shape, size, np.float32)}

    np.testing.assert_array_equal(quick.predict(feed)["y"], plain.predict(feed)["y"])


@pytest.mark.parametrize("part", sorted(PARTS))
def test_what_is_said_to_treat_each_image_by_itself_does(part: str) -> None:
    plain, _ = evaluators([part], True, (1, 1, CHANNELS, SIDE, SIDE))
    images = normal(2, 3, CHANNELS, SIDE, SIDE)

    together = plain.predict({"x": images})["y"]

    for index in np.ndindex(2, 3):
        alone = plain.predict({"x": images[index][None, None]})["y"]
        np.testing.assert_allclose(alone[0, 0], together[index], rtol=1e-5, atol=1e-5)
