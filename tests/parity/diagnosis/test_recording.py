"""PyTorch's operations, recorded: where each comes from, and that they can be run again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conversion.deployed import deployed_module, example_pixels
from parity.core.errors import ParityError
from parity.diagnosis.recording import record
from parity.diagnosis.source import Program, run_program
from parity.diagnosis.types import WRAPPER
from tests.parity.diagnosis.networks import NETWORKS, classifier


def recorded(name: str) -> Program:
    return record(deployed_module(classifier(name)), example_pixels(classifier(name)))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_record_answers_as_the_module_does_for_other_images(name: str) -> None:
    module = deployed_module(classifier(name))
    image = example_pixels(classifier(name)).flip(2) * 0.5

    with torch.no_grad():
        expected = module(image)

    torch.testing.assert_close(run_program(recorded(name), image), expected, rtol=1e-4, atol=1e-6)


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


class Drawing(nn.Module):
    """Draw lots even where nobody trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5, training=True).sum((2, 3))


def test_what_was_drawn_by_lot_is_kept() -> None:
    image = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    program = record(Drawing(), image)

    assert torch.equal(run_program(program, image), run_program(program, image))
    assert torch.allclose(run_program(program, 2 * image), 2 * run_program(program, image))


class Behind(nn.Module):
    """Write into a value behind PyTorch's back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y.numpy()[:] = 7
        return y.sum((2, 3))


class Outside(nn.Module):
    """Compute outside PyTorch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.numpy() * 2).sum((2, 3))


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Behind(), "give another answer than the module"), (Outside(), "does not hang on the image")],
)
def test_a_module_that_cannot_be_recorded_is_refused(module: nn.Module, reason: str) -> None:
    with pytest.raises(ParityError, match=reason):
        record(module, torch.ones(1, 3, 4, 4))


# Each writes into a tensor [1, 4, 6, 6] or into a part of it, and gives what is gone on with.
WRITES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}


def _write(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    WRITES[function.__name__.strip("_")] = function
    return function


@_write
def _a_slice(x: torch.Tensor) -> torch.Tensor:
    x[:, :2] = x[:, :2] * 0.3
    return x


@_write
def _every_other_row(x: torch.Tensor) -> torch.Tensor:
    x[:, :, ::2].add_(x.mean())
    return x


@_write
def _through_a_turned_view(x: torch.Tensor) -> torch.Tensor:
    x.transpose(2, 3)[..., 1:3] *= 2
    return x


@_write
def _through_a_flat_view(x: torch.Tensor) -> torch.Tensor:
    x.view(-1)[3:11] = x.flatten()[-8:]
    return x


@_write
def _a_view_of_before(x: torch.Tensor) -> torch.Tensor:
    part = x[:, 1:]
    x.mul_(part.amax())
    return torch.cat((part, part[:, :1]), dim=1)


@_write
def _parts_of_a_buffer(x: torch.Tensor) -> torch.Tensor:
    buffer = torch.zeros_like(x)
    buffer[:, :, 1:] = x[:, :, :-1]
    buffer[:, :, 0] = 0.5
    return buffer


@_write
def _where_a_mask_is(x: torch.Tensor) -> torch.Tensor:
    x[x < 0] = 0.1
    return x


@_write
def _at_places(x: torch.Tensor) -> torch.Tensor:
    x[:, torch.tensor([2, 0])] = x[:, torch.tensor([1, 3])]
    return x


@_write
def _an_activation_of_a_part(x: torch.Tensor) -> torch.Tensor:
    nn.functional.hardswish(x[:, 1], inplace=True)
    nn.functional.relu_(x[:, :, 2:4])
    return x


@_write
def _with_what_is_constant(x: torch.Tensor) -> torch.Tensor:
    kept = x.clone()
    x[:, 0].zero_()
    x[:, 3].fill_(2.0)
    return x + kept * 0.5


@_write
def _a_constant_that_is_written_into_later(x: torch.Tensor) -> torch.Tensor:
    grid = torch.arange(6.0)
    y = x + grid
    grid.mul_(10)
    return y + grid * 0.1


class Writing(nn.Module):
    """Write in place, one way after the other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = WRITES[name](x)
        return x.sum((2, 3))


@given(names=st.lists(st.sampled_from(sorted(WRITES)), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_what_is_written_in_place_is_recorded_as_values(names: list[str], seed: int) -> None:
    first, other = torch.randn(2, 1, 4, 6, 6, generator=torch.Generator().manual_seed(seed)).unbind()
    module = Writing(names)

    program = record(module, first)

    assert torch.allclose(run_program(program, other), module(other.clone()), rtol=1e-4, atol=1e-5)


def test_the_image_is_left_as_it_was() -> None:
    image = torch.ones(1, 4, 6, 6)

    record(Writing(["a_slice"]), image)

    assert torch.equal(image, torch.ones(1, 4, 6, 6))


class Slicing(nn.Module):
    """Read a part of a parameter, and a weight that is worked out of two."""

    def __init__(self) -> None:
        super().__init__()
        self.joined = nn.Linear(4, 12)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.linear(x.mean((2, 3)), self.joined.weight[4:8], self.joined.bias[4:8])
        return self.normed(y)


def test_constants_are_known_by_the_weights_that_they_come_from() -> None:
    module = Slicing()

    program = record(module, torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1)))

    kernels = [
        program.constants[name]
        for step in program.steps
        if step.type == "addmm"
        for name in step.weights
        if name in program.constants and program.constants[name].ndim == 2
    ]
    assert [tuple(kernel.shape) for kernel in kernels] == [(4, 4), (3, 4)]
    assert torch.equal(kernels[0], module.joined.weight[4:8])
    assert torch.equal(kernels[1], module.normed.weight)
