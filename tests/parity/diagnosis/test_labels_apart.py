"""Labels that are judged apart: what is wrong with a conversion is named, undone and judged by their metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from conversion import Artifact, Classifier, Task, convert
from parity.artifacts.causes import look_into
from parity.backends.bound import bind
from parity.backends.reference import Reference, make_reference
from parity.core.results import Subject
from parity.diagnosis.causes import Explainer
from parity.judging import judge_with_prediction
from parity.suite.images import load_images
from tests.faults import changing
from tests.faults.architectures import DIGITS
from tests.faults.architectures import classifier as architecture
from tests.parity.diagnosis import networks
from tests.parity.diagnosis.faulty import broken, node

ONNX, PROGRAM = "onnx-torchscript", "mlprogram-fp32"
ROUTES = (ONNX, PROGRAM)
EXCHANGED = [1, 0, 2, 3, 4, 5, 7, 6]

Fault = Callable[[Classifier], Classifier]


@cache
def apart(name: str) -> Classifier:
    """Judge each label of a network by itself."""
    return replace(networks.classifier(name), sigmoid="added")


@cache
def reference(name: str) -> Reference:
    return make_reference(apart(name), load_images(networks.pictures(), networks.PREPROCESSING))


def at_input(**changes: Any) -> Fault:
    return lambda model: replace(model, preprocessing=replace(model.preprocessing, **changes))


def at_head(head: Callable[[torch.Tensor], torch.Tensor]) -> Fault:
    """Put something else behind the module: conversion refuses to, so that it is put in by hand."""

    def changed(model: Classifier) -> Classifier:
        other = replace(model)
        object.__setattr__(other, "task", Task(model.task.outputs, head))
        return other

    return changed


def in_module(change: Callable[[Any], bool | None]) -> Fault:
    def changed(model: Classifier) -> Classifier:
        module = copy.deepcopy(model.module)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(3)
            assert change(module) is not False
        return replace(model, module=module.eval())

    return changed


def both(one: Fault, other: Fault) -> Fault:
    return lambda model: other(one(model))


class Swapped(nn.Module):
    """Read blue where red is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(torch.cat([image[:, place : place + 1] for place in (2, 1, 0)], 1))
        return logits


def swapped(model: Classifier) -> Classifier:
    return replace(model, module=Swapped(model.module).eval())


def exchanged_rows(module: Any) -> None:
    module.fc.weight.copy_(module.fc.weight[EXCHANGED])
    module.fc.bias.copy_(module.fc.bias[EXCHANGED])


def other_activation(kind: type[nn.Module], other: nn.Module) -> Fault:
    return in_module(lambda module: changing.replaced(module, kind, lambda _: other))


def as_logits(logits: torch.Tensor) -> torch.Tensor:
    return logits


FAULTS: Mapping[str, tuple[str, Fault, list[str]]] = {
    "pixels 0..255": ("residual", at_input(mean=(0.0,) * 3, std=(1 / 255,) * 3), ["pre-missing-normalise"]),
    "pixels 0..1": ("residual", at_input(mean=(0.0,) * 3, std=(1.0,) * 3), ["pre-missing-normalise"]),
    "another mean": ("residual", at_input(mean=(0.5,) * 3), ["pre-bias-formula"]),
    "one std for all": ("residual", at_input(std=(0.226,) * 3), ["pre-scalar-std"]),
    "BGR": ("residual", swapped, ["pre-bgr-swap"]),
    "a layer that was not loaded": ("residual", in_module(changing.started_anew), ["wt-not-loaded"]),
    "mean and variance exchanged": ("residual", in_module(changing.swapped_statistics), ["wt-bn-fold"]),
    "epsilon of batch norm": ("residual", in_module(changing.other_eps), ["g-norm-eps"]),
    "epsilon of layer norm": ("attention", in_module(changing.other_eps), ["g-norm-eps"]),
    "padding counted": ("residual", in_module(changing.padded_average), ["g-avgpool-include-pad"]),
    "leaky": ("residual", other_activation(nn.ReLU, nn.LeakyReLU(0.1)), ["g-activation"]),
    "SiLU": ("depthwise", other_activation(nn.Hardswish, nn.SiLU()), ["g-activation"]),
    # In ONNX it is written out, and where PyTorch's has erf is a part of it that is no function by itself.
    "tanh of GELU": ("attention", other_activation(nn.GELU, nn.GELU(approximate="tanh")), ["g-gelu-variant"]),
    "rows of the last layer": ("residual", in_module(exchanged_rows), ["lab-order-permuted"]),
    "columns": (
        "residual",
        at_head(lambda logits: torch.sigmoid(logits).index_select(1, torch.tensor(EXCHANGED))),
        ["lab-order-permuted"],
    ),
    "no sigmoid": ("residual", at_head(as_logits), ["head-sigmoid-missing"]),
    "sigmoid twice": (
        "residual",
        at_head(lambda logits: torch.sigmoid(torch.sigmoid(logits))),
        ["head-sigmoid-twice"],
    ),
    "softmax": ("residual", at_head(lambda logits: torch.softmax(logits, 1)), ["head-softmax"]),
    "a straight line": ("residual", at_head(functional.hardsigmoid), ["g-activation"]),
    "logarithms": ("residual", at_head(lambda logits: torch.log(torch.sigmoid(logits))), ["head-log-sigmoid"]),
    "percent": ("residual", at_head(lambda logits: 100 * torch.sigmoid(logits)), ["head-percent"]),
    "twice as sure": ("residual", at_head(lambda logits: torch.sigmoid(2 * logits)), ["head-temperature"]),
    "no sigmoid, and BGR": (
        "residual",
        both(swapped, at_head(as_logits)),
        ["head-sigmoid-missing", "pre-bgr-swap"],
    ),
    "softmax, and another mean": (
        "residual",
        both(at_input(mean=(0.5,) * 3), at_head(lambda logits: torch.softmax(logits, 1))),
        ["head-softmax", "pre-bias-formula"],
    ),
}


def told(artifact: Artifact, against: Reference) -> Subject:
    """Judge a file as a stranger's, and explain it."""
    artifact = bind(replace(artifact, provenance=None), against.model.task)
    backend = "onnxruntime" if artifact.format == "onnx" else "coreml-evaluator"
    subject, prediction = judge_with_prediction(against, artifact, backend)
    return Explainer()(subject, against, artifact, prediction)


def causes(subject: Subject) -> list[str]:
    return [diagnosis.fault for diagnosis in subject.diagnoses if diagnosis.confirmed]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_else(fault: str, route: str, tmp_path: Path) -> None:
    name, change, faults = FAULTS[fault]
    subject = told(convert(change(apart(name)), route, tmp_path), reference(name))

    assert subject.verdict == "fail"
    assert causes(subject) == faults
    assert all(diagnosis.confirmed for diagnosis in subject.diagnoses)
    assert subject.unexplained == ""


@pytest.mark.parametrize("route", [*ROUTES, "mlprogram"])
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_of_a_sound_conversion_nothing_is_said(name: str, route: str, tmp_path: Path) -> None:
    subject = told(convert(apart(name), route, tmp_path), reference(name))

    assert (subject.verdict, subject.diagnoses, subject.unexplained) == ("pass", (), "")


@pytest.mark.parametrize("fault", ["pixels 0..255", "epsilon of batch norm", "softmax", "no sigmoid"])
def test_arrays_with_axes_of_the_format_are_read_as_labels(fault: str, tmp_path: Path) -> None:
    _, change, faults = FAULTS[fault]
    subject = told(convert(change(apart("residual")), "onnx-coreml", tmp_path), reference("residual"))

    assert causes(subject) == faults
    assert subject.guilty_hop == "torch -> onnx"


def test_a_step_behind_a_sound_onnx_file_is_the_guilty_one(tmp_path: Path) -> None:
    """The file in between has its output by the task's name too, and was once taken for wrong."""
    sound = convert(apart("residual"), "onnx-coreml", tmp_path)
    faulty = convert(at_input(mean=(0.5,) * 3)(apart("residual")), "onnx-coreml", tmp_path / "faulty")

    subject = told(replace(faulty, intermediate=sound.intermediate), reference("residual"))

    assert subject.guilty_hop == "onnx -> neuralnetwork"


def test_logits_that_are_all_negative_are_no_logarithms(tmp_path: Path) -> None:
    def rare(module: Any) -> None:
        module.fc.bias.sub_(8.0)

    model = in_module(rare)(apart("residual"))
    against = make_reference(model, load_images(networks.pictures(), networks.PREPROCESSING))
    assert against.prediction.outputs["labelProbs"].max() < 0.1

    subject = told(convert(at_head(as_logits)(model), ONNX, tmp_path), against)

    assert causes(subject) == ["head-sigmoid-missing"]
    assert "logits (-1" in subject.diagnoses[0].message


def logits_go_out(model: Any) -> None:
    """Give the logits by the answer's name; the sigmoid is there, and nobody reads it."""
    last = node(model, "Sigmoid", -1)
    maker = next(one for one in model.graph.node if last.input[0] in one.output)
    maker.output[0] = last.input[0] = last.output[0]
    last.output[0] = "unread"


def two_of_other_names(model: Any) -> None:
    """Call the answer otherwise, and give the logits beside it."""
    last = node(model, "Sigmoid", -1)
    other = copy.deepcopy(model.graph.output[0])
    last.output[0] = model.graph.output[0].name = "probabilities"
    other.name = last.input[0]
    model.graph.output.append(other)


@pytest.mark.parametrize(
    ("break_it", "verdict", "fault", "fix"),
    [
        (logits_go_out, "fail", "i-wrong-output", "return `unread` as the output labelProbs"),
        (
            two_of_other_names,
            "inconclusive",
            "i-output-renamed",
            'torch.onnx.export(..., output_names=["labelProbs"])',
        ),
    ],
)
def test_an_answer_in_another_place_is_looked_for(
    break_it: Callable[[Any], None], verdict: str, fault: str, fix: str, tmp_path: Path
) -> None:
    artifact = convert(apart("residual"), ONNX, tmp_path)

    subject = told(broken(artifact, break_it), reference("residual"))

    assert subject.verdict == verdict
    assert causes(subject) == [fault]
    assert subject.diagnoses[0].fix == fix


def test_an_operation_that_nobody_knows_is_done_by_pytorch_in_its_place(tmp_path: Path) -> None:
    subject = told(
        convert(at_head(lambda x: 1 - torch.sigmoid(x))(apart("residual")), ONNX, tmp_path), reference("residual")
    )

    assert causes(subject) == ["g-operation-added"]
    assert "behind sigmoid of the wrapper (normalisation and sigmoid)" in subject.diagnoses[0].message


def test_one_file_says_its_hops_and_its_cause(tmp_path: Path) -> None:
    model = apart("residual")
    artifact = convert(swapped(model), ONNX, tmp_path)

    explained = look_into(model, artifact, networks.pictures())

    (subject,) = explained.run.subjects
    assert explained.broken == ()
    assert causes(subject) == ["pre-bgr-swap"]
    assert subject.hops[0].startswith("torch with normalisation and sigmoid: pass")
    assert subject.hops[1].startswith("onnx unoptimised: fail")


def test_a_label_next_to_one_half_that_changes_is_no_fault(tmp_path: Path) -> None:
    """The third label of the first picture lies at one half, and the file answers a little less."""
    model = apart("residual")
    first = reference("residual").prediction.outputs["labelProbs"][0, 2]
    offset = float(np.log(first) - np.log1p(-first)) - 1e-6

    def at_half(module: Any) -> None:
        module.fc.bias[2] -= offset

    def below(module: Any) -> None:
        module.fc.bias[2] -= offset + 4e-6

    artifact = convert(in_module(below)(model), ONNX, tmp_path)

    explained = look_into(in_module(at_half)(model), artifact, networks.pictures(), tolerance=1e-4)

    (subject,) = explained.run.subjects
    assert subject.verdict == "pass"
    assert [diagnosis.fault for diagnosis in subject.diagnoses] == ["p-near-tie"]
    assert "nearer to one half than the tolerance" in subject.diagnoses[0].message


def test_agreement_is_not_asked_to_hold_labels_of_several_kinds(tmp_path: Path) -> None:
    """Of pictures that all get one and the same label a classifier would prove nothing; of labels apart they do."""
    against = reference("residual")
    rows = against.prediction.outputs["labelProbs"]
    best = rows.argmax(axis=1)
    alike = [place for place in range(len(rows)) if best[place] == np.bincount(best).argmax()]
    assert len(alike) > 1
    pictures = [networks.pictures()[place] for place in alike]
    few = make_reference(apart("residual"), load_images(pictures, networks.PREPROCESSING))

    subject = told(convert(at_head(as_logits)(apart("residual")), ONNX, tmp_path), few)

    assert causes(subject) == ["head-sigmoid-missing"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda model: model, []),
        (swapped, ["pre-bgr-swap"]),
        (at_head(as_logits), ["head-sigmoid-missing"]),
        (at_head(lambda logits: torch.softmax(logits, 1)), ["head-softmax"]),
    ],
    ids=["sound", "BGR", "no sigmoid", "softmax"],
)
def test_of_trained_weights_too(change: Fault, faults: list[str], route: str, tmp_path: Path) -> None:
    model = replace(architecture("mobilenet_v2_digits"), sigmoid="added")
    digits = load_images([str(DIGITS / "*.png")], model.preprocessing)

    subject = told(convert(change(model), route, tmp_path), make_reference(model, digits))

    assert causes(subject) == faults
    assert subject.verdict == ("fail" if faults else "pass"), subject.reason
