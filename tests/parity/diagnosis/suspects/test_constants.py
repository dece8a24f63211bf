"""Numbers in formulas: read on both sides, named by what they do, and set right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from parity.diagnosis.constants import bounds_of_operation, bounds_of_step, of_operation, of_step
from parity.diagnosis.recording import record
from parity.formats.graph import Operation
from tests.faults.catalogue import Fault
from tests.faults.kinds_catalogue import KINDS
from tests.faults.measuring import measure

NUMBERS = st.floats(-8, 8).filter(lambda number: abs(number) > 1e-3)


class Formula(nn.Module):
    """Compute with one number."""

    def __init__(self, kind: str, number: float) -> None:
        super().__init__()
        self.kind, self.number = kind, number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "add":
            return x + self.number
        if self.kind == "sub":
            return x - self.number
        if self.kind == "mul":
            return x * self.number
        if self.kind == "div":
            return x / self.number
        return x.clamp_min(self.number)


def _operation(kind: str, number: float) -> Operation:
    return Operation(0, "one", kind, ("x",), ("y",), {}, {"y": np.array(number, np.float32)}, {})


@given(st.sampled_from(["add", "sub", "mul", "div"]), NUMBERS)
def test_both_sides_read_the_same_number(kind: str, number: float) -> None:
    program = record(Formula(kind, number), torch.randn(1, 2, generator=torch.Generator().manual_seed(1)))
    types = {"add": "Add", "sub": "sub", "mul": "Mul", "div": "real_div"}

    ours, theirs = of_step(program.steps[-1]), of_operation(_operation(types[kind], number))

    assert ours is not None
    assert theirs is not None
    assert ours.kind == theirs.kind
    assert ours.number == pytest.approx(theirs.number, rel=1e-6)
    # What is read can be written.
    assert theirs.written(theirs.number) == pytest.approx(number, rel=1e-6)


@pytest.mark.parametrize(
    "operation",
    [
        Operation(0, "one", "conv", ("x",), ("y",), {}, {"bias": np.ones(1)}, {}),
        Operation(0, "one", "mul", ("x",), ("y",), {}, {"y": np.ones(3)}, {}),
        Operation(0, "one", "sub", ("x",), ("y",), {}, {"x": np.ones(1)}, {}),
        Operation(0, "one", "add", ("x", "z"), ("y",), {}, {}, {}),
    ],
    ids=["no formula", "several numbers", "a number on the left", "no number"],
)
def test_what_has_no_number_of_its_own_has_none(operation: Operation) -> None:
    assert of_operation(operation) is None


@pytest.mark.parametrize(
    ("formula", "weights", "bounds"),
    [
        (lambda x: x.clamp(-0.5, 0.75), {"input[1]": -0.5, "input[2]": 0.75}, {("max", -0.5), ("min", 0.75)}),
        (lambda x: x.clamp(-0.5, 0.75), {"alpha": -0.5, "beta": 0.75}, {("max", -0.5), ("min", 0.75)}),
        (lambda x: x.clamp(min=0.25), {"input[1]": 0.25}, {("max", 0.25)}),
        (lambda x: x.clamp(max=0.25), {"alpha": -3.4e38, "beta": 0.25}, {("min", 0.25)}),
        (lambda x: x.clamp(max=0.25), {"alpha": -65504.0, "beta": 0.25}, {("min", 0.25)}),
        (
            lambda x: nn.functional.hardtanh(x, -1.0, 2.0),
            {"alpha": -1.0, "beta": 2.0},
            {("max", -1.0), ("min", 2.0)},
        ),
        (lambda x: x.relu(), {}, set()),
    ],
)
def test_both_sides_read_the_same_bounds(
    formula: Callable[[torch.Tensor], torch.Tensor], weights: dict[str, float], bounds: set[tuple[str, float]]
) -> None:
    class Bounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return formula(x)

    step = record(Bounded(), torch.randn(1, 2, generator=torch.Generator().manual_seed(1))).steps[-1]
    arrays = {place: np.array(number, np.float32) for place, number in weights.items()}
    clip = Operation(0, "one", "Clip", ("x",), ("y",), {}, arrays, {})

    assert {(one.kind, one.number) for one in (*bounds_of_step(step), *filter(None, [of_step(step)]))} == bounds
    assert {(one.kind, one.number) for one in bounds_of_operation(clip)} == bounds


BY_NAME = {fault.name.removeprefix("kind: "): fault for fault in KINDS}


@pytest.mark.parametrize(
    ("name", "network", "format_name", "fault", "message"),
    [
        (
            "epsilon of the root mean square",
            "attentive",
            "mlprogram-fp32",
            "g-norm-eps",
            "has the epsilon 0.05",
        ),
        *(
            ("epsilon of the cosine", "shuffled", name, "g-norm-eps", "has the epsilon 100 where PyTorch has 1e-08")
            for name in ("onnx", "mlprogram-fp32")
        ),
        ("epsilon of the responses", "shuffled", "onnx", "g-norm-eps", "has the epsilon 1 where PyTorch has 1e-06"),
        (
            "attention scaled otherwise",
            "attentive",
            "onnx",
            "g-scale",
            "multiplies by 0.125 where",
        ),
        ("offset of a reciprocal", "shuffled", "mlprogram-fp32", "g-constant", "adds 0.501 where PyTorch has 0.5"),
    ],
)
def test_a_number_is_named_with_the_right_one(
    name: str, network: str, format_name: str, fault: str, message: str, tmp_path: Path
) -> None:
    known: Fault = BY_NAME[name]

    outcome = measure(known, network, format_name, tmp_path)

    assert not isinstance(outcome, str)
    assert outcome.told[0].startswith(f"{fault}: ")
    assert message in outcome.told[0]
