"""What Core ML refuses to load because shapes do not fit at its default sizes is refused when it is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from tests.coreml.networks import Model, ct, specify
from tests.coreml.programs import Builder, convert, edited

KINDS = ("mlprogram", "neuralnetwork")


class _Join(torch.nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = torch.relu(x), torch.relu(y)
        if self.how == "stack":
            return torch.stack([x, y])
        if self.how == "cat":
            return torch.cat([x, y], dim=1)
        return x + y if self.how == "add" else torch.matmul(x, y.transpose(1, 2))


def joined(how: str, kind: str, default: int) -> Any:
    """Convert a module of x [2, 3, 4] and y [2, 3, 2..10], whose last size is `default` by default."""
    size = ct.RangeDim(lower_bound=2, upper_bound=10, default=default)
    with chatter_to():
        return ct.convert(
            torch.jit.trace(_Join(how), (torch.ones(2, 3, 4), torch.ones(2, 3, 4))),
            inputs=[ct.TensorType("x", (2, 3, 4)), ct.TensorType("y", (2, 3, size))],
            convert_to=kind,
            skip_model_load=True,
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["stack", "cat", "add", "matmul"])
def test_shapes_that_differ_at_the_default_sizes_are_refused_when_the_model_is_loaded(how: str, kind: str) -> None:
    x = np.ones((2, 3, 4), np.float32)

    assert len(Evaluator(joined(how, kind, 4)).predict({"x": x, "y": x})) == 1
    with pytest.raises(CoreMLError, match=r"cannot join the shapes .*default sizes: .*; Core ML refuses to load"):
        Evaluator(joined(how, kind, 2))


def test_a_shape_that_a_program_declares_for_an_operand_is_compared_when_it_is_loaded() -> None:
    def body(x: Any, y: Any) -> Any:
        return Builder.stack(values=[Builder.relu(x=x), Builder.relu(x=y)], axis=0)

    model = convert(body, (2, 3), (2, 3))

    def declare(operations: Any) -> None:
        first = next(operation for operation in operations if operation.type == "relu")
        first.outputs[0].type.tensorType.dimensions[1].constant.size = 4

    with pytest.raises(
        CoreMLError, match=r"\(stack\) cannot join the shapes \(2, 4\), \(2, 3\), which the file decl"
    ):
        Evaluator(edited(model, declare))


def test_a_network_declares_no_shapes_between_its_layers() -> None:
    def add(b: Any) -> None:
        b.add_activation("r", "RELU", "x", "r")
        b.add_concat_nd("c", ["r", "x"], "y", axis=1)

    found = Evaluator(Model(specify(add, {"x": (2, 3)}))).predict({"x": np.ones((2, 3))})

    assert found["y"].shape == (2, 6)


@pytest.mark.parametrize("draws", [False, True])
def test_a_shape_that_follows_from_what_an_input_holds_is_not_judged_by_zeros(draws: bool) -> None:
    def add(b: Any) -> None:
        if draws:
            b.add_random_normal_dynamic("r", ["sizes"], "filled")
        else:
            b.add_fill_dynamic("f", "sizes", "filled", 1.5)
        b.add_stack("s", ["filled", "x"], "y", axis=0)

    specification = specify(add, {"sizes": (2,), "x": (2, 3)})
    ranges = specification.description.input[1].type.multiArrayType.shapeRange.sizeRanges
    for low, high in ((2, 2), (3, 5)):
        ranges.add(lowerBound=low, upperBound=high)
    before = torch.get_rng_state()

    found = Evaluator(Model(specification))

    assert torch.equal(torch.get_rng_state(), before)
    assert found.predict({"sizes": [2, 4], "x": np.ones((2, 4))})["y"].shape == (2, 2, 4)


def test_flexible_images_are_tried_at_their_default_size() -> None:
    class Halves(torch.nn.Module):
        """Join an image with what halving and doubling makes of it: even sizes only."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = torch.nn.functional.max_pool2d(x, 2)
            return torch.cat([x, torch.nn.functional.interpolate(small, scale_factor=2.0)], 1)

    def flexible(default: int) -> Any:
        size = ct.RangeDim(lower_bound=6, upper_bound=20, default=default)
        with chatter_to():
            return ct.convert(
                torch.jit.trace(Halves(), torch.ones(1, 3, 8, 8)),
                inputs=[ct.ImageType("x", (1, 3, size, 8))],
                convert_to="mlprogram",
                skip_model_load=True,
            )

    assert Evaluator(flexible(8)).graph.outputs
    with pytest.raises(CoreMLError, match="which follow from the default sizes"):
        Evaluator(flexible(7))
