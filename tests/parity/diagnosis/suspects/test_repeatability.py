"""Answers that depend on chance, on the batch, or on statistics of the batch."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from conversion.artifact import Artifact, open_artifact
from conversion.deployed import deployed_module, example_pixels
from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends.reference import make_reference
from parity.diagnosis.suspects.repeatability import _batch_means
from parity.formats.graph import read_graph
from tests.parity.diagnosis.faulty import broken, causes, explained, good, mixed, node, reference


def test_live_dropout_is_found_and_undone() -> None:
    def break_it(model: Any) -> None:
        # What functional dropout without its flag leaves: a mask that is drawn anew each time.
        model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
        operation = node(model, "LeakyRelu").output[0]
        steps = [
            helper.make_node("RandomUniformLike", [operation], ["drawn"]),
            helper.make_node("Less", ["drawn", "half"], ["kept"]),
            helper.make_node("Cast", ["kept"], ["mask"], to=1),
            helper.make_node("Mul", [operation, "mask"], ["dropped"]),
        ]
        for place, step in enumerate(steps, start=5):
            model.graph.node.insert(place, step)
        node(model, "AveragePool").input[0] = "dropped"

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["mode-dropout-live"]
    assert "Two identical runs differ by" in explanation.diagnoses[0].message


def test_batch_statistics_are_recognised(tmp_path: Path) -> None:
    was = mixed()
    module = copy.deepcopy(was.module)
    exported = good("onnx-torchscript")
    model = onnx.load(str(exported.path))
    # What a trace in training mode leaves: mean and variance of this very image.
    stem = node(model, "Conv")
    for place, weights in ((1, module.stem.weight.detach().numpy()), (2, np.zeros(8, np.float32))):
        fresh = f"unfolded {place}"
        model.graph.initializer.append(numpy_helper.from_array(weights, fresh))
        stem.input[place] = fresh
    for name in ("weight", "bias"):
        model.graph.initializer.append(numpy_helper.from_array(getattr(module.norm, name).detach().numpy(), name))
    norm = helper.make_node(
        "InstanceNormalization", [stem.output[0], "weight", "bias"], ["normalised"], epsilon=1e-5
    )
    place = list(model.graph.node).index(stem)
    model.graph.node.insert(place + 1, norm)
    node(model, "Conv", 1).input[0] = "normalised"
    path = tmp_path / "training.onnx"
    onnx.save(model, str(path))

    explanation = explained(open_artifact(path), reference())

    assert causes(explanation) == ["mode-train-bn"]
    assert "batch statistics" in explanation.diagnoses[0].message


def in_training(module: torch.nn.Module, path: Path) -> Artifact:
    """Convert as a script does that wraps a module after `.eval()`: the wrapper's mode is that of training."""
    ct = import_coremltools()
    deployed = deployed_module(replace(mixed(), module=module))
    pixels = example_pixels(mixed())
    with chatter_to(), torch.no_grad():
        program = ct.convert(
            torch.jit.trace(deployed.train(), pixels, check_trace=False),
            inputs=[ct.ImageType(name="image", shape=tuple(pixels.shape), color_layout=ct.colorlayout.RGB)],
            classifier_config=ct.ClassifierConfig(list(mixed().labels)),
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32,
        )
        program.save(str(path))
    return open_artifact(path)


def test_batch_statistics_are_seen_in_a_program(tmp_path: Path) -> None:
    explanation = explained(in_training(copy.deepcopy(mixed().module), tmp_path / "a.mlpackage"), reference())

    assert causes(explanation) == ["mode-train-bn"]
    assert "computes mean and variance of the images themselves in 1 place(s), `reduce_mean_0` first" in (
        explanation.diagnoses[0].message
    )


def test_batch_statistics_that_leave_no_answer_to_compare_are_told_all_the_same(tmp_path: Path) -> None:
    """Where all pixels are alike the variance is 0, and PyTorch in training mode answers everything alike, too."""

    class Flattened(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(mixed().module)
            self.last = torch.nn.BatchNorm2d(len(mixed().labels))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.last(self.inner(image)[:, :, None, None].repeat(1, 1, 1, 2))
            return logits[:, :, 0, 0]

    module = Flattened().eval()
    artifact = in_training(copy.deepcopy(module), tmp_path / "b.mlpackage")
    classifier = replace(mixed(), module=module)

    explanation = explained(artifact, make_reference(classifier, reference().images))

    assert [(one.fault, one.confirmed) for one in explanation.diagnoses] == [("mode-train-bn", False)]


def test_a_norm_without_learnt_statistics_is_no_fault(tmp_path: Path) -> None:
    assert _batch_means(read_graph(good("mlprogram-fp32"))) == []
    assert _batch_means(None) == []


def test_images_that_are_mixed_in_a_batch_are_told() -> None:
    def break_it(model: Any) -> None:
        # Every image gets the mean of the batch taken off, which alone is nothing.
        model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "two"))
        head = node(model, "Gemm")
        head.output[0] = "logits before"
        answer = node(model, "Softmax", -1).input[0]
        steps = [
            helper.make_node("ReduceMean", ["logits before"], ["of the batch"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["of the batch", "two"], ["of the batch twice"]),
            helper.make_node("Mul", ["logits before", "two"], ["logits twice"]),
            helper.make_node("Sub", ["logits twice", "of the batch"], [answer]),
        ]
        for step in (steps[0], *steps[2:]):
            model.graph.node.insert(len(model.graph.node) - 1, step)

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference(), batch=2)

    assert causes(explanation) == ["s-batch-baked"]
    assert "Images alone agree" in explanation.diagnoses[0].message
