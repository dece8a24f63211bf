"""Models of several outputs: what is wrong is looked for through each output that fails, and said once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Model, OutputSpec, Task, open_artifact
from conversion.task import LABELS_APART, PROBABILITIES
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.core.compare import compare
from parity.core.results import Diagnosis, Divergence, MeasuredOutput, Subject
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.diagnosis.several_outputs import View, failing_views, merged
from parity.judging import judge_with_prediction
from parity.suite.images import load_images
from tests.parity.tiny import LABELS, PREPROCESSING, Tiny, pictures
from tests.test_third_task import exported

MOODS = ("calm", "glad", "sad", "mad", "shy")
SPECS = (OutputSpec("kind", PROBABILITIES, LABELS), OutputSpec("mood", LABELS_APART, MOODS))

pytestmark = pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")


class TwoHeads(torch.nn.Module):
    """Tell what an animal is, and every mood that it is in; wrong: the faults of its file."""

    def __init__(self, *wrong: str) -> None:
        super().__init__()
        self.body, self.mood, self.wrong = Tiny(), torch.nn.Linear(len(LABELS), len(MOODS)), wrong
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.mood.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if "swapped" in self.wrong:
            image = torch.cat([image[:, place : place + 1] for place in (2, 1, 0)], 1)
        logits = self.body(image)
        return logits, self.mood(torch.tanh(logits))


def model(*wrong: str) -> Model:
    """Make a model of two outputs; all colours are normalised alike, so that their order is a fault by itself."""
    alike = replace(PREPROCESSING, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    of_kind: Callable[[Any], Any] = (lambda x: x) if "no softmax" in wrong else lambda x: torch.softmax(x, 1)
    of_mood: Callable[[Any], Any] = (lambda x: x) if "no sigmoid" in wrong else torch.sigmoid
    head = Task(SPECS, lambda answer: (of_kind(answer[0]), of_mood(answer[1])))
    return Model("two", TwoHeads(*wrong).eval(), alike, head)


@cache
def reference() -> Reference:
    return make_reference(model(), load_images(pictures(), model().preprocessing))


def artifact(directory: Path, *wrong: str) -> Artifact:
    return bind(open_artifact(exported(model(*wrong), directory)), model().task)


def told(directory: Path, *wrong: str, thorough: bool = False) -> Subject:
    file = artifact(directory, *wrong)
    subject, answers = judge_with_prediction(reference(), file, "onnxruntime")
    return Explainer(thorough=thorough)(subject, reference(), file, answers)


def test_two_heads_that_agree_hold(tmp_path: Path) -> None:
    subject = told(tmp_path)

    assert (subject.verdict, subject.diagnoses, subject.unexplained) == ("pass", (), "")
    assert [output.name for output in subject.outputs] == ["kind", "mood"]


@pytest.mark.parametrize(
    ("wrong", "causes"),
    [
        (["swapped"], [("pre-bgr-swap", "Red and blue are swapped")]),
        (["no sigmoid"], [("head-sigmoid-missing", "Through output `mood`: The output is logits")]),
        (
            ["no softmax", "no sigmoid"],
            [
                ("head-softmax-missing", "Through output `kind`: The output is logits"),
                ("head-sigmoid-missing", "Through output `mood`: The output is logits"),
            ],
        ),
        (
            ["swapped", "no sigmoid"],
            [
                ("pre-bgr-swap", "Red and blue are swapped"),
                ("head-sigmoid-missing", "Through output `mood`: The output is logits"),
            ],
        ),
    ],
)
def test_a_cause_is_named_once_with_the_outputs_that_show_it(
    wrong: list[str], causes: list[tuple[str, str]], tmp_path: Path
) -> None:
    subject = told(tmp_path, *wrong)

    assert subject.verdict == "fail"
    assert [(d.fault, d.confirmed) for d in subject.diagnoses] == [(fault, True) for fault, _ in causes]
    for diagnosis, (_, message) in zip(subject.diagnoses, causes, strict=True):
        assert diagnosis.message.startswith(message)
    assert subject.unexplained == ""


def test_an_output_that_agrees_is_not_looked_through(tmp_path: Path) -> None:
    subject = told(tmp_path, "no sigmoid", thorough=True)

    assert {hop.partition(":")[0] for hop in subject.hops} == {"output `mood`"}
    assert subject.hops[0].startswith("output `mood`: torch with normalisation and sigmoid: pass")
    assert {check.told.partition(":")[0] for check in subject.checks} == {"output `mood`"}
    assert any(attempt.restores for attempt in subject.attempts)
    assert subject.first_divergence is not None
    assert "sigmoid is missing" in subject.first_divergence.told


def test_a_view_is_the_leg_without_its_other_outputs(tmp_path: Path) -> None:
    file = artifact(tmp_path, "swapped", "no sigmoid")
    subject, answers = judge_with_prediction(reference(), file, "onnxruntime")
    assert answers is not None
    assert subject.tolerance is not None

    kind, mood = failing_views(subject, reference(), file, answers)

    assert [view.output for view in (kind, mood)] == ["kind", "mood"]
    assert kind.artifact.bound == (("kind", "kind"),)
    assert mood.reference.model.labels == MOODS
    for view, spec in zip((kind, mood), SPECS, strict=True):
        rows = reference().prediction.outputs[spec.name]
        np.testing.assert_array_equal(view.reference.prediction.probabilities, rows)
        assert view.prediction is not None
        np.testing.assert_array_equal(view.prediction.probabilities, answers.outputs[spec.name])
        apart = np.abs(answers.outputs[spec.name].astype(np.float64) - rows).max()
        assert view.subject.max_abs_diff == pytest.approx(apart, abs=1e-6)


def test_a_file_without_answers_is_viewed_through_its_first_output(tmp_path: Path) -> None:
    broken = Subject("two", "-", "two.onnx", "onnxruntime", "fp32", "error", "it cannot be loaded")

    (view,) = failing_views(broken, reference(), artifact(tmp_path), None)

    assert (view.output, view.prediction, view.subject) == ("kind", None, broken)


def test_an_output_that_the_file_has_not_fails_by_itself(tmp_path: Path) -> None:
    file = artifact(tmp_path)
    subject, answers = judge_with_prediction(reference(), file, "onnxruntime")
    assert answers is not None
    lost = replace(answers, outputs={"kind": answers.outputs["kind"], "other": answers.outputs["mood"]})
    comparison = compare(reference().prediction, lost, Tolerance(1e-3), reference().images.names)

    failing = replace(subject, verdict="fail", reason=comparison.reason)

    assert comparison.reason == "no output `mood`; the outputs are kind, other"
    assert [view.output for view in failing_views(failing, reference(), file, lost)] == ["mood"]


# What was found through each


CAUSE = Diagnosis("pre-bgr-swap", "Swapped.", True, "swap back", "undoing it restores parity")
PLACE = Divergence("conv", "Conv", 7, 9)


def put_together(*explained: dict[str, Any], outputs: int = 2) -> Subject:
    """Merge what was found through the outputs a, b, ...; outputs: how many the model has."""
    names = [chr(97 + place) for place in range(outputs)]
    measured = tuple(MeasuredOutput(name, "dense", "d") for name in names)
    whole = Subject("m", "-", "m.onnx", "onnxruntime", "fp32", "fail", outputs=measured)
    views = [View(name, whole, None, None, None) for name in names[: len(explained)]]  # type: ignore[arg-type]
    return merged(whole, views, [replace(whole, **one) for one in explained])


def test_what_every_output_shows_is_said_as_of_one() -> None:
    assert put_together({"diagnoses": (CAUSE,)}, {"diagnoses": (CAUSE,)}).diagnoses == (CAUSE,)


def test_what_some_outputs_show_names_them() -> None:
    (diagnosis,) = put_together({"diagnoses": (CAUSE,)}, {"diagnoses": (CAUSE,)}, outputs=3).diagnoses

    assert diagnosis.message == "Through outputs `a` and `b`: Swapped."


def test_confirmed_through_one_output_is_confirmed_there() -> None:
    suspected, other = replace(CAUSE, confirmed=False, evidence=""), Diagnosis("wt-scaled", "Scaled.")

    first, second = put_together({"diagnoses": (other, suspected)}, {"diagnoses": (CAUSE,)}).diagnoses

    assert (first.message, first.confirmed) == ("Through output `b`: Swapped.", True)
    assert (second.message, second.confirmed) == ("Through output `a`: Scaled.", False)


def test_the_first_place_counts_and_what_is_unexplained_is_told_of_each() -> None:
    late, early = {"first_divergence": PLACE}, {"first_divergence": replace(PLACE, index=3), "unexplained": "why"}

    subject = put_together(late, early)

    assert subject.first_divergence == replace(PLACE, index=3)
    assert subject.unexplained == "output `b`: why"
    assert put_together({}, {}).first_divergence is None
