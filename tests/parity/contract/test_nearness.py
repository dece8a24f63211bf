"""A faulty head says nothing of how the image is prepared: the contract is the file's all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Model, OutputSpec, Task
from conversion.deployed import deployed_module, example_pixels
from conversion.task import LABELS_APART, PROBABILITIES
from parity import check
from parity.contract.nearness import nearness
from parity.core.results import Prediction, Subject
from tests.parity.diagnosis.test_several_outputs import MOODS, TwoHeads
from tests.parity.foreign import export, normalise, softmax
from tests.parity.tiny import LABELS, PREPROCESSING, pictures, tiny

pytestmark = pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")

# How the file's head may be, of the right one.
HEADS: dict[str, Callable[[Any], Any]] = {
    "right": lambda right: right,
    "missing": lambda right: lambda logits: logits,
    "twice": lambda right: lambda logits: right(right(logits)),
    "logarithm": lambda right: lambda logits: torch.log(right(logits) + 1e-30),
    "percent": lambda right: lambda logits: 100 * right(logits),
}
RIGHT = {PROBABILITIES: softmax, LABELS_APART: torch.sigmoid}


def two(kinds: tuple[str, str], heads: tuple[str, str] = ("right", "right")) -> Model:
    """Make a model of two outputs of some kinds."""
    first, second = (HEADS[head](RIGHT[kind]) for kind, head in zip(kinds, heads, strict=True))
    specs = OutputSpec("kind", kinds[0], LABELS), OutputSpec("mood", kinds[1], MOODS)
    head = Task(specs, lambda answer: (first(answer[0]), second(answer[1])))
    return Model("two", TwoHeads().eval(), PREPROCESSING, head)


def told(kinds: tuple[str, str], file: torch.nn.Module, directory: Path) -> Subject:
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["kind", "mood"], "dynamo": False}
    torch.onnx.export(file, (example_pixels(two(kinds)),), str(directory / "m.onnx"), **names)
    (subject,) = check(two(kinds), directory / "m.onnx", pictures(), ["onnxruntime"]).subjects
    return subject


@pytest.mark.parametrize(
    ("kinds", "heads", "causes"),
    [
        ((PROBABILITIES, PROBABILITIES), ("missing", "right"), ["head-softmax-missing"]),
        ((PROBABILITIES, PROBABILITIES), ("right", "missing"), ["head-softmax-missing"]),
        ((PROBABILITIES, PROBABILITIES), ("missing", "missing"), ["head-softmax-missing"] * 2),
        ((PROBABILITIES, PROBABILITIES), ("missing", "twice"), ["head-softmax-missing", "head-softmax-twice"]),
        ((PROBABILITIES, LABELS_APART), ("logarithm", "right"), ["head-log-softmax"]),
        ((PROBABILITIES, LABELS_APART), ("missing", "missing"), ["head-softmax-missing", "head-sigmoid-missing"]),
        ((LABELS_APART, LABELS_APART), ("missing", "right"), ["head-sigmoid-missing"]),
        ((LABELS_APART, LABELS_APART), ("percent", "percent"), ["head-percent"] * 2),
    ],
)
def test_a_faulty_head_of_one_output_is_the_only_cause(
    kinds: tuple[str, str], heads: tuple[str, str], causes: list[str], tmp_path: Path
) -> None:
    subject = told(kinds, deployed_module(two(kinds, heads)), tmp_path)

    assert subject.verdict == "fail"
    assert [(cause.fault, cause.confirmed) for cause in subject.diagnoses] == [(fault, True) for fault in causes]
    assert subject.remarks == ()


class Bare(torch.nn.Module):
    """Answer for images that the app normalised.

    blue: read red where blue is. kind: what follows the first output.
    """

    def __init__(self, blue: bool, kind: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body, self.blue, self.kind = TwoHeads(), blue, kind

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kind, mood = self.body(image.flip(1) if self.blue else image)
        return self.kind(kind), softmax(mood)


@pytest.mark.parametrize(
    ("blue", "kind", "causes"),
    [
        (False, softmax, []),
        (False, lambda logits: logits, ["head-softmax-missing"]),
        (False, torch.sigmoid, ["head-sigmoid"]),
        (True, softmax, ["pre-bgr-swap"]),
    ],
)
def test_what_the_app_does_is_found_beside_a_faulty_head(
    blue: bool, kind: Callable[[torch.Tensor], torch.Tensor], causes: list[str], tmp_path: Path
) -> None:
    subject = told((PROBABILITIES, PROBABILITIES), Bare(blue, kind).eval(), tmp_path)

    assert "x/255, (x - mean)/std" in "; ".join(subject.remarks)
    assert {cause.fault for cause in subject.diagnoses if cause.confirmed} - {"g-operation"} <= set(causes)
    assert bool(subject.diagnoses) == bool(causes)


@pytest.mark.parametrize(
    ("before", "told_of_input"), [(None, "x/255, (x - mean)/std"), (normalise, "x/255, RGB"), ("whole", "")]
)
def test_of_one_output_that_promises_probabilities_the_head_is_the_only_cause(
    before: Any, told_of_input: str, tmp_path: Path
) -> None:
    inside = (lambda x: normalise(x / 255)) if before == "whole" else before
    file = export(tmp_path / "m.onnx", inside, names=("input", "probabilities"))

    (subject,) = check(tiny(), file, pictures(), ["onnxruntime"]).subjects

    assert [(one.fault, one.confirmed) for one in subject.diagnoses] == [("head-softmax-missing", True)]
    assert told_of_input in "; ".join(subject.remarks)


ROWS = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
LOGS = np.log(ROWS)


@pytest.mark.parametrize(
    ("answers", "far"),
    [
        (ROWS, 0.0),
        (LOGS + 3, 0.0),
        (LOGS, 0.0),
        (100 * ROWS, 0.0),
        (np.exp(ROWS) / np.exp(ROWS).sum(axis=1, keepdims=True), 0.0),
        (1 / (1 + np.exp(-LOGS)), 0.0),
        (ROWS[::-1], 2 * (0.6 + 0.1 + 0.7) / 6),
        (ROWS[:, :2], np.inf),
        (np.full((2, 3), np.nan), np.inf),
    ],
)
def test_answers_are_as_far_as_the_best_of_their_readings(answers: np.ndarray, far: float) -> None:
    expected = Prediction(ROWS, ("a", "b", "c"))

    near = nearness(expected, Prediction(answers), 1e-6, expected.measured)

    assert near.far == pytest.approx(far, abs=1e-12)
    assert near.agreeing == (far == 0)
    as_they_are = nearness(expected, Prediction(answers), 1e-6)
    assert as_they_are.agreeing == (answers is ROWS)
