"""Clean conversions, however they came about, are no failure and have no cause."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.fx.experimental.optimization
from torch import nn

from conversion import open_artifact
from parity.images import load_images
from parity.pipeline import judge_artifact
from parity.reference import make_reference
from tests.faults.architectures import ARCHITECTURES, classifier, many_images
from tests.faults.deploying import deploy, recipe
from tests.faults.measuring import judged

CONVERSIONS = (
    ("onnx", 13),
    ("onnx", 17),
    ("onnx-dynamo", 18),
    ("onnx-dynamo", 20),
    ("mlprogram-fp32", 0),
    ("mlprogram", 0),
    ("neuralnetwork", 0),
)
# What the converters themselves refuse.
CANNOT = {
    ("plain", "neuralnetwork", 0): "onnx-coreml 1.3 has no Erf, which GELU needs",
    ("vision_transformer", "neuralnetwork", 0): "ONNX opset 9 has no attention",
    ("vision_transformer", "onnx", 13): "ONNX opset 13 has no attention",
}


@pytest.mark.parametrize(("format_name", "opset"), CONVERSIONS)
@pytest.mark.parametrize("network", ARCHITECTURES)
def test_a_clean_conversion_has_no_cause(
    network: str, format_name: str, opset: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if reason := CANNOT.get((network, format_name, opset)):
        pytest.skip(reason)
    loaded = classifier(network)
    reference = make_reference(loaded, load_images(many_images(network), loaded.preprocessing))

    artifact = open_artifact(deploy(recipe(loaded), format_name, tmp_path, opset=opset))
    subjects = [leg.subject for leg in judge_artifact(reference, artifact, explain=True)]

    record_property("clean_comparisons", sum(subject.images for subject in subjects))
    ran = [subject for subject in subjects if subject.verdict != "skipped"]
    assert {(subject.verdict, subject.reason) for subject in ran} == {("pass", "")}
    assert [subject.diagnoses for subject in ran] == [()] * len(ran)
    assert [subject.first_divergence for subject in ran] == [None] * len(ran)


@pytest.mark.parametrize("format_name", ["onnx", "mlprogram-fp32", "neuralnetwork"])
@pytest.mark.parametrize("network", ["mobilenet_v2_digits", "resnet18"])
def test_batch_norms_that_were_folded_before_have_no_cause(network: str, format_name: str, tmp_path: Path) -> None:
    loaded = classifier(network)
    reference = make_reference(loaded, load_images(many_images(network), loaded.preprocessing))
    folded = torch.fx.experimental.optimization.fuse(copy.deepcopy(loaded.module).eval())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())

    subject, _ = judged(reference, recipe(loaded, folded), format_name, tmp_path)

    assert (subject.verdict, subject.diagnoses) == ("pass", ())
