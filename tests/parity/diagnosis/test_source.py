"""PyTorch's operations, recorded: where each comes from, and that they can be run again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conversion.deployed import deployed_module, example_pixels
from parity.core.errors import ParityError
from parity.diagnosis.source import Program, record, run_step
from parity.diagnosis.types import WRAPPER
from tests.parity.diagnosis.networks import NETWORKS, classifier


def recorded(name: str) -> Program:
    return record(deployed_module(classifier(name)), example_pixels(classifier(name)))


def again(program: Program, image: torch.Tensor) -> torch.Tensor:
    values = {0: image}
    with torch.no_grad():
        for step in program.steps:
            for number, value in zip(step.outputs, run_step(step, values), strict=True):
                if number is not None:
                    values[number] = value
    return values[program.output]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_record_answers_as_the_module_does_for_other_images(name: str) -> None:
    module = deployed_module(classifier(name))
    image = example_pixels(classifier(name)).flip(2) * 0.5

    with torch.no_grad():
        expected = module(image)

    torch.testing.assert_close(again(recorded(name), image), expected, rtol=1e-4, atol=1e-6)


def test_operations_are_named_by_the_modules_that_run_them() -> None:
    steps = recorded("residual").steps
    named = [(step.type, step.module) for step in steps if step.type in ("convolution", "relu", "add", "addmm")]

    # By the forward methods of networks.py.
    assert named == [
        ("convolution", "conv1"),
        ("relu", "relu"),
        ("convolution", "layer1.conv1"),
        ("relu", "layer1.relu"),
        ("convolution", "layer1.conv2"),
        ("convolution", "layer1.downsample.0"),
        ("add", "layer1"),
        ("relu", "layer1.relu"),
        ("convolution", "layer2.conv1"),
        ("relu", "layer2.relu"),
        ("convolution", "layer2.conv2"),
        ("convolution", "layer2.downsample.0"),
        ("add", "layer2"),
        ("relu", "layer2.relu"),
        ("addmm", "fc"),
    ]
    assert (steps[0].type, steps[0].module, steps[0].weights) == ("sub", WRAPPER, ("image_mean",))
    assert steps[2].weights == ("module.conv1.weight",)


def test_formulas_are_taken_apart_and_know_what_they_are_part_of() -> None:
    gelu = [step for step in recorded("attention").steps if step.module == "mlp.1"]

    assert {step.whole for step in gelu} == {"gelu"}
    assert [step.type for step in gelu] == ["mul", "mul", "erf", "add", "mul"]


def test_recording_leaves_the_module_as_it_was() -> None:
    module = deployed_module(classifier("depthwise"))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    record(module, example_pixels(classifier("depthwise")))

    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class Slices(nn.Module):
    """Write into a part of a value that is read as a whole later."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[:, :1].mul_(100)
        return y.sum((2, 3))


def test_a_module_whose_record_would_answer_otherwise_is_refused() -> None:
    with pytest.raises(ParityError, match="give another answer than the module"):
        record(Slices(), torch.ones(1, 3, 4, 4))
