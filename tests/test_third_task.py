"""A task that the package knows nothing of: a toy segmenter with one dense output, and its mean difference."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Model, OutputSpec, Task, open_artifact
from conversion.deployed import deployed_module, example_pixels
from parity import check
from parity.backends.bound import bind
from parity.backends.reference import make_reference
from parity.core.metric import METRICS, Measurement, Metric
from parity.core.noise import REFERENCE
from parity.core.results import from_json, to_json
from parity.core.variety import bounds_of
from parity.diagnosis.causes import examine
from parity.diagnosis.suspects.reference import in_fp64, suspects
from parity.judging import judge_with_prediction
from parity.report.terminal import make_console, print_run
from parity.suite.images import load_images
from tests.parity.tiny import PREPROCESSING, pictures


def measure(_: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Any) -> Iterator[Measurement]:
    for apart in np.abs(expected - actual):
        yield Measurement(float(apart.mean()), detail={"largest": float(apart.max())})


DENSE = Metric("mean |Δ|", measure, lambda rows: bounds_of(rows, np.mean))


def segmenter(shift: float = 0.0) -> Model:
    module = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3))
        module.bias.fill_(shift)
    return Model("toy", module.eval(), PREPROCESSING, Task((OutputSpec("mask", "dense"),), torch.sigmoid))


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
@pytest.mark.parametrize(("shift", "verdict", "case"), [(0.0, "pass", "match"), (0.5, "fail", "drift")])
def test_a_segmenter_is_compared(shift: float, verdict: str, case: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)
    run = check(segmenter(), exported(segmenter(shift), tmp_path), pictures(), ["onnxruntime"])
    print_run(run, make_console(printed := io.StringIO()))

    (subject,) = run.subjects
    assert (subject.verdict, {one.verdict for one in subject.cases}) == (verdict, {case}), subject.reason
    for image in subject.cases:
        (entry,) = image.outputs
        assert entry.distance == image.max_abs_diff < entry.detail["largest"]
    assert from_json(to_json(run)) == run
    assert "mean |Δ|" in printed.getvalue()
    assert (
        ("output `mask`: mean |Δ|" in printed.getvalue())
        == ("[wt-other-numbers]" in printed.getvalue())
        == (shift > 0)
    )


def exported(model: Model, directory: Path) -> str:
    file = str(directory / "toy.onnx")
    outputs = [spec.name for spec in model.task.outputs]
    names: dict[str, Any] = {"input_names": ["image"], "output_names": outputs, "dynamo": False}
    torch.onnx.export(deployed_module(model), (example_pixels(model),), file, **names)
    return file


def headed(head: Any, *outputs: OutputSpec) -> Model:
    return replace(segmenter(), task=Task(outputs or segmenter().task.outputs, head))


class Swapped(torch.nn.Module):
    """Read blue where red is."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mask: torch.Tensor = self.module(torch.cat([image[:, place : place + 1] for place in (2, 1, 0)], 1))
        return mask


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
@pytest.mark.parametrize(
    ("faulty", "cause", "told"),
    [
        (lambda: segmenter(0.5), "wt-other-numbers", "module.bias"),
        (
            lambda: replace(segmenter(), module=Swapped(segmenter().module).eval()),
            "pre-bgr-swap",
            "Red and blue are swapped",
        ),
        (lambda: headed(lambda x: x), "g-activation", "the wrapper (normalisation and the task's head), sigmoid"),
    ],
    ids=["bias", "BGR", "no sigmoid"],
)
def test_what_is_wrong_with_a_segmenter_is_named(
    faulty: Any, cause: str, told: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)

    (subject,) = check(segmenter(), exported(faulty(), tmp_path), pictures(), ["onnxruntime"]).subjects

    assert [diagnosis.fault for diagnosis in subject.diagnoses if diagnosis.confirmed] == [cause]
    assert told in subject.diagnoses[0].message


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
def test_numbers_of_any_size_are_no_noise_of_the_reference(tmp_path: Path, monkeypatch: Any) -> None:
    """Depths of 30,000 are off by more than probabilities in fp32, and not by a metric that has their range."""

    def relative(spec: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Any) -> Iterator[Measurement]:
        yield from measure(spec, expected / 30000, actual / 30000, named)

    monkeypatch.setitem(METRICS, "dense", Metric("depth", relative, lambda rows: bounds_of(rows / 30000, np.mean)))
    deep = headed(lambda x: 30000 * torch.sigmoid(x))
    artifact = bind(open_artifact(exported(replace(deep, module=Swapped(deep.module).eval()), tmp_path)), deep.task)
    against = make_reference(deep, load_images(pictures(), PREPROCESSING))
    subject, answers = judge_with_prediction(against, artifact, "onnxruntime")

    assert list(suspects(examine(subject, against, artifact, answers))) == []
    assert (
        np.abs(in_fp64(against).prediction.outputs["mask"] - against.prediction.outputs["mask"]).max() > REFERENCE
    )


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
def test_of_two_outputs_the_one_that_fails_says_why(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)
    two = (OutputSpec("mask", "dense"), OutputSpec("edges", "dense"))
    right, wrong = (headed(lambda x, by=by: (torch.sigmoid(x), by * x), *two) for by in (1.0, 2.0))

    (subject,) = check(right, exported(wrong, tmp_path), pictures(), ["onnxruntime"]).subjects

    assert subject.verdict == "fail"
    assert [(d.fault, d.confirmed) for d in subject.diagnoses] == [("g-scale", True)]
    assert subject.diagnoses[0].message.startswith("Through output `edges`: `/Mul_1` (Mul) multiplies by 2")
    assert subject.unexplained == ""
