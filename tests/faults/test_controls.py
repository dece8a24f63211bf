"""Clean conversions, however they came about and are written down, are no failure and have no cause."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.fx.experimental.optimization
from torch import nn

from conversion import Classifier, open_artifact
from parity import check
from parity.backends import onnxruntime
from parity.backends.reference import make_reference
from parity.core.noise import FP16_CAP
from parity.core.results import Subject
from parity.judging import judge_prediction
from parity.pipeline import judge_artifact
from parity.suite.images import load_images
from tests.faults import unchanging
from tests.faults.architectures import ARCHITECTURES, classifier, images_of, many_images
from tests.faults.deploying import deploy, recipe
from tests.faults.measuring import judged
from tests.faults.unchanging import Remodel, Rewrite, in_coreml, in_onnx, optimised

Property = Callable[[str, object], None]

CONVERSIONS = (
    ("onnx", 13),
    ("onnx", 17),
    ("onnx-dynamo", 18),
    ("onnx-dynamo", 20),
    ("mlprogram-fp32", 0),
    ("mlprogram", 0),
    ("neuralnetwork", 0),
)
# What the converters themselves refuse, or what is tested elsewhere.
CANNOT = {
    ("plain", "neuralnetwork", 0): "onnx-coreml 1.3 has no Erf, which GELU needs",
    ("vision_transformer", "neuralnetwork", 0): "ONNX opset 9 has no attention",
    ("vision_transformer", "onnx", 13): "ONNX opset 13 has no attention",
    ("shufflenet_v2", "neuralnetwork", 0): "onnx-coreml 1.3 has no value of five axes",
    ("sliced", "neuralnetwork", 0): "ONNX opset 9 has no slice that is written in place",
    ("attentive", "neuralnetwork", 0): "onnx-coreml 1.3 has no Gather of what is computed",
    ("shuffled", "neuralnetwork", 0): "onnx-coreml 1.3 has no Erf, which GELU needs, and no Expand",
    ("shufflenet_v2", "mlprogram", 0): "fp16 cannot hold it: a test of its own below",
}
FEW = ("plain", "mobilenet_v3_small", "resnet18")


@pytest.mark.parametrize(("format_name", "opset"), CONVERSIONS)
@pytest.mark.parametrize("network", ARCHITECTURES)
def test_a_clean_conversion_has_no_cause(
    network: str, format_name: str, opset: int, tmp_path: Path, record_property: Property
) -> None:
    if reason := CANNOT.get((network, format_name, opset)):
        pytest.skip(reason)
    loaded = classifier(network)
    reference = make_reference(loaded, load_images(many_images(network), loaded.preprocessing))

    artifact = open_artifact(deploy(recipe(loaded), format_name, tmp_path, opset=opset))
    subjects = [leg.subject for leg in judge_artifact(reference, artifact, explain=True)]

    assert_quiet(subjects, record_property)


def test_a_network_that_fp16_cannot_hold_fails_and_its_conversion_is_not_blamed(tmp_path: Path) -> None:
    loaded = classifier("shufflenet_v2")
    reference = make_reference(loaded, load_images(many_images(loaded.name), loaded.preprocessing))
    assert reference.fp16_cost > FP16_CAP

    subject, _ = judged(reference, recipe(loaded), "mlprogram", tmp_path)

    assert (subject.verdict, [d.fault for d in subject.diagnoses]) == ("fail", ["p-fp16-drift"])
    assert "no conversion of this network holds in float16" in subject.diagnoses[0].message


def assert_quiet(subjects: list[Subject], record_property: Property) -> None:
    """Count the comparisons, and find no fault in any."""
    record_property("clean_comparisons", sum(subject.images for subject in subjects))
    ran = [subject for subject in subjects if subject.verdict != "skipped"]
    assert {(subject.verdict, subject.reason) for subject in ran} == {("pass", "")}
    assert [subject.diagnoses for subject in ran] == [()] * len(ran)
    assert [subject.first_divergence for subject in ran] == [None] * len(ran)


def checked(loaded: Classifier, path: Path) -> list[Subject]:
    """Do what `parity check` does."""
    return list(check(loaded, path, images_of(loaded.name)).subjects)


@pytest.mark.parametrize("format_name", ["onnx", "mlprogram-fp32", "neuralnetwork"])
@pytest.mark.parametrize("network", ["mobilenet_v2_digits", "resnet18"])
def test_batch_norms_that_were_folded_before_have_no_cause(
    network: str, format_name: str, tmp_path: Path, record_property: Property
) -> None:
    loaded = classifier(network)
    reference = make_reference(loaded, load_images(many_images(network), loaded.preprocessing))
    folded = torch.fx.experimental.optimization.fuse(copy.deepcopy(loaded.module).eval())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())

    subject, _ = judged(reference, recipe(loaded, folded), format_name, tmp_path)

    assert_quiet([subject], record_property)


@pytest.mark.parametrize("network", ARCHITECTURES)
def test_a_graph_that_onnx_runtime_optimises_as_it_likes_has_no_cause(
    network: str, tmp_path: Path, record_property: Property
) -> None:
    loaded = classifier(network)
    reference = make_reference(loaded, load_images(many_images(network), loaded.preprocessing))
    artifact = open_artifact(deploy(recipe(loaded), "onnx", tmp_path))

    subjects = [
        judge_prediction(reference, artifact, "onnxruntime", predict(reference.images.pixels))
        for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED")
        for predict in [onnxruntime.load(artifact, level=level)]
    ]

    assert_quiet(subjects, record_property)


REWRITES: Mapping[str, Rewrite] = {
    "optimised offline, basic": optimised("ORT_ENABLE_BASIC"),
    "optimised offline, extended": optimised("ORT_ENABLE_EXTENDED"),
    "onnxslim": unchanging.slimmed,
    "fp16": unchanging.to_half,
    "renamed": in_onnx(unchanging.renamed),
    "more outputs": in_onnx(unchanging.with_more_outputs),
    "Identity everywhere": in_onnx(unchanging.with_identities),
    "Reshape for Flatten": in_onnx(unchanging.reshaped),
    "Dropout left in": in_onnx(unchanging.with_dropout),
    "batch norms unfolded": in_onnx(unchanging.unfolded),
}


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize("network", FEW)
def test_an_onnx_file_that_is_written_otherwise_has_no_cause(
    network: str, rewrite: str, tmp_path: Path, record_property: Property
) -> None:
    loaded = classifier(network)
    path = deploy(recipe(loaded), "onnx", tmp_path)
    REWRITES[rewrite](path)

    subjects = checked(loaded, path)

    assert subjects[0].verdict == "pass"
    assert_quiet(subjects, record_property)
    # Judged as what it is, and no wider.
    assert {subject.precision for subject in subjects} == {"fp16" if rewrite == "fp16" else "fp32"}


@pytest.mark.parametrize("rewrite", [unchanging.with_features_renamed, unchanging.with_logits_shown])
@pytest.mark.parametrize("format_name", ["mlprogram-fp32", "mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("network", ["plain", "mobilenet_v3_small"])
def test_a_core_ml_file_whose_features_are_others_has_no_cause(
    network: str, format_name: str, rewrite: Callable[[object], None], tmp_path: Path, record_property: Property
) -> None:
    if reason := CANNOT.get((network, format_name, 0)):
        pytest.skip(reason)
    loaded = classifier(network)
    path = deploy(recipe(loaded), format_name, tmp_path)
    in_coreml(rewrite)(path)

    assert_quiet(checked(loaded, path), record_property)


@pytest.mark.parametrize(
    ("network", "format_name", "remodel"),
    [
        *(
            (network, format_name, remodel)
            for network in ("mobilenet_v2_digits", "mobilenet_v3_small", "resnet18")
            for format_name in ("onnx", "mlprogram-fp32", "neuralnetwork")
            for remodel in (unchanging.batch_norms_unfolded, unchanging.left_in)
        ),
        # Another function, but by less than fp16 rounds.
        ("plain", "mlprogram", unchanging.tanh_gelu),
        ("vision_transformer", "mlprogram", unchanging.tanh_gelu),
    ],
)
def test_a_module_that_is_written_otherwise_has_no_cause(
    network: str, format_name: str, remodel: Remodel, tmp_path: Path, record_property: Property
) -> None:
    loaded = classifier(network)
    module = copy.deepcopy(loaded.module)
    assert remodel(module)

    path = deploy(recipe(loaded, module.eval()), format_name, tmp_path)

    assert_quiet(checked(loaded, path), record_property)


@pytest.mark.parametrize("format_name", ["mlprogram-fp32", "mlprogram", "neuralnetwork"])
@pytest.mark.parametrize(
    "spell", [lambda text: f"{text}\r", str.upper, lambda text: f"{text.replace(' ', '_')}, any"]
)
def test_labels_that_are_spelt_otherwise_are_told_as_that_alone(
    format_name: str, spell: Callable[[str], str], tmp_path: Path
) -> None:
    # An app prints them and looks them up, so they do not pass; but nothing that computes is blamed.
    loaded = classifier("mobilenet_v3_small")
    labels = tuple(map(spell, loaded.labels))

    subjects = checked(loaded, deploy(recipe(loaded).but(labels=labels), format_name, tmp_path))

    (ran,) = (subject for subject in subjects if subject.verdict != "skipped")
    assert [(d.fault, d.confirmed) for d in ran.diagnoses] == [("lab-text-mismatch", True)]
    assert ran.diagnoses[0].message.startswith("Same class index, different spelling: label 0 is ")
    assert ran.first_divergence is None
