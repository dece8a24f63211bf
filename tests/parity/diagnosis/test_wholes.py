"""The whole that a located operation is a part of: PyTorch's parts of one operation, and the artefact's values."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from conversion import Artifact, convert
from parity.diagnosis.causes import examine
from parity.diagnosis.examination import Examination
from parity.diagnosis.source import Program
from parity.diagnosis.wholes import parts_of, whole_of
from parity.judging import judge_with_prediction
from tests.faults import changing
from tests.parity.diagnosis.test_labels_apart import apart, in_module
from tests.parity.diagnosis.test_labels_apart import reference as apart_reference
from tests.parity.diagnosis.test_recording import recorded


def number_of(program: Program, module: str, kind: str) -> int:
    """Return the last value of a kind that a module gives."""
    steps = [step for step in program.steps if (step.module, step.type) == (module, kind)]
    (number,) = steps[-1].outputs
    assert number is not None
    return number


@pytest.mark.parametrize(
    ("module", "kind", "parts"),
    [
        ("mlp.1", "erf", ["mul", "mul", "erf", "add", "mul"]),
        ("mlp.1", "mul", ["mul", "mul", "erf", "add", "mul"]),
        # A linear layer is an operation between two views, and none of the three is a part of another.
        ("mlp.2", "addmm", ["addmm"]),
    ],
)
def test_the_parts_of_an_operation_are_those_it_was_taken_apart_into(
    module: str, kind: str, parts: list[str]
) -> None:
    program = recorded("attention")

    assert [step.type for step in parts_of(program, number_of(program, module, kind))] == parts


def test_the_image_is_a_part_of_nothing() -> None:
    assert parts_of(recorded("attention"), 0) == ()


def with_activation(other: nn.Module, directory: Path) -> Artifact:
    """Convert the network with another activation in the place of GELU."""
    change = in_module(lambda module: changing.replaced(module, nn.GELU, lambda _: other))
    return convert(change(apart("attention")), "onnx-torchscript", directory)


def examination(file: Artifact) -> Examination:
    subject, answers = judge_with_prediction(apart_reference("attention"), file, "onnxruntime")
    assert subject.verdict == "fail"
    return examine(subject, apart_reference("attention"), file, answers)


def test_around_a_part_that_is_different_are_what_the_whole_reads_and_gives(tmp_path: Path) -> None:
    examined = examination(with_activation(nn.GELU(approximate="tanh"), tmp_path))
    (one,) = examined.divergences
    values = examined.candidate.values(examined.pixels[examined.screen[0]])
    assert values is not None
    assert one.value.endswith("Tanh_output_0")

    whole = whole_of(examined, one)

    assert whole is not None
    assert whole.read == ("/module/mlp/mlp.0/Add_output_0",)
    # The last product of x, 0.5 and 1 + tanh(...).
    x, result = (values[name] for name in (whole.read[0], whole.result))
    inside = values[one.value]
    assert result == pytest.approx(0.5 * x * (1 + inside), abs=1e-6)


def test_of_what_gives_the_result_itself_there_is_no_other_whole(tmp_path: Path) -> None:
    examined = examination(with_activation(nn.ReLU(), tmp_path))
    (one,) = examined.divergences

    assert (one.type, whole_of(examined, one)) == ("Relu", None)
