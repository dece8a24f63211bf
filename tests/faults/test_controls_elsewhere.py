"""Answers that are near enough, and answers to other pixels, are never a fault of the converter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conversion import Artifact, Classifier, open_artifact
from parity import check
from parity.artifacts.causes import look_into
from parity.core.results import Subject
from parity.suite.images import load_images
from tests.faults.architectures import classifier, images_of
from tests.faults.changing import each
from tests.faults.deploying import deploy, recipe
from tests.faults.elsewhere import (
    Way,
    by_jpeg,
    by_png,
    by_tensors,
    coarse_chroma,
    least_bits,
    record_of,
    usual,
)

Property = Callable[[str, object], None]
BUDGETS = {"onnx": 1e-5, "mlprogram-fp32": 1e-4, "mlprogram": 1e-2}


@pytest.fixture(scope="session")
def artifact_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Artifact]:
    @cache
    def convert(network: str, format_name: str) -> Artifact:
        return open_artifact(deploy(recipe(classifier(network)), format_name, tmp_path_factory.mktemp(network)))

    return convert


def explained(loaded: Classifier, artifact: Artifact, record: Path | None = None) -> Subject:
    """Do what `parity explain` does."""
    (subject,) = look_into(loaded, artifact, images_of(loaded.name), record=record).run.subjects
    return subject


# Near ties


def near_tie(loaded: Classifier, margin: float) -> tuple[Classifier, int]:
    """Bring the two most probable classes of the first photo to within a margin of logits; the second of them."""
    module = copy.deepcopy(loaded.module)
    statistics = loaded.preprocessing
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (statistics.mean, statistics.std))
    pixels = load_images(images_of(loaded.name), statistics).pixels[0]
    image = ((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None]
    with torch.inference_mode():
        logits = module.double()(image.double())[0]
    first, second = logits.topk(2).indices.tolist()
    module = module.float()
    head = each(module, nn.Linear)[-1]
    with torch.no_grad():
        head.bias[second] += float(logits[first] - logits[second]) - margin
    return Classifier(loaded.name, module.eval(), statistics, loaded.labels), second


@pytest.mark.parametrize("format_name", BUDGETS)
@pytest.mark.parametrize("network", ["plain", "vision_transformer"])
def test_a_tie_that_falls_the_other_way_is_no_flip(
    network: str, format_name: str, tmp_path: Path, record_property: Property
) -> None:
    allowed = BUDGETS[format_name]
    loaded, second = near_tie(classifier(network), 0.8 * allowed)
    noisy = copy.deepcopy(loaded.module)
    with torch.no_grad():
        each(noisy, nn.Linear)[-1].bias[second] += 2 * allowed
    path = deploy(recipe(loaded, noisy), format_name, tmp_path)

    subjects = [s for s in check(loaded, path, images_of(network)).subjects if s.verdict != "skipped"]

    record_property("clean_comparisons", sum(subject.images for subject in subjects))
    assert {(subject.verdict, subject.reason, subject.diagnoses) for subject in subjects} == {("pass", "", ())}
    assert [subject.cases[0].verdict for subject in subjects] == ["tie"] * len(subjects)
    told = explained(loaded, open_artifact(path))
    assert told.verdict == "pass"
    # What is told of it is told as no fault.
    assert told.diagnoses[0].fault == "p-near-tie"
    assert "a tie within noise, not a fault" in told.diagnoses[0].message
    assert {d.fault for d in told.diagnoses} <= {"p-near-tie", "p-fp16-drift"}
    assert not any(d.confirmed for d in told.diagnoses)


@pytest.mark.parametrize("network", ["plain", "vision_transformer", "mobilenet_v2_digits"])
def test_a_fault_of_3_8e_6_is_none(network: str, tmp_path: Path, record_property: Property) -> None:
    # As large was what onnx/optimizer#255 was opened for.
    loaded = classifier(network)
    moved = recipe(loaded).but(head=lambda logits: torch.softmax(logits, dim=1) * (1 - 3.8e-6))

    subjects = check(loaded, deploy(moved, "onnx", tmp_path), images_of(network)).subjects

    record_property("clean_comparisons", sum(subject.images for subject in subjects))
    assert {(subject.verdict, subject.reason, subject.diagnoses) for subject in subjects} == {("pass", "", ())}
    assert max(subject.max_abs_diff or 0 for subject in subjects) > 2e-6


# Answers that were recorded


@pytest.mark.parametrize("way", [usual, by_png])
@pytest.mark.parametrize("format_name", [*BUDGETS, "neuralnetwork"])
@pytest.mark.parametrize("network", ["mobilenet_v3_small", "resnet18"])
def test_the_same_pixels_recorded_in_a_dictionary_of_any_order_have_no_cause(
    network: str,
    format_name: str,
    way: Way,
    tmp_path: Path,
    artifact_of: Callable[[str, str], Artifact],
    record_property: Property,
) -> None:
    loaded, artifact = classifier(network), artifact_of(network, format_name)
    images = load_images(images_of(network), loaded.preprocessing)
    pixels = np.stack([way(file, loaded.preprocessing) for file in images.files])
    record = record_of(artifact, images.names, pixels, tmp_path / "record.json")

    (subject,) = check(loaded, artifact, images_of(network), backends=["recorded"], records=[record]).subjects
    told = explained(loaded, artifact, record)

    record_property("clean_comparisons", subject.images)
    assert (subject.verdict, subject.diagnoses) == ("pass", ())
    assert told.verdict == "pass"
    assert {d.fault for d in told.diagnoses} <= ({"p-fp16-drift"} if artifact.precision == "fp16" else set())


@pytest.mark.parametrize("way", [by_tensors, least_bits, by_jpeg, coarse_chroma])
@pytest.mark.parametrize("format_name", BUDGETS)
@pytest.mark.parametrize("network", ["plain", "resnet18"])
def test_answers_to_other_pixels_are_the_pixels_fault_and_not_the_converters(
    network: str,
    format_name: str,
    way: Way,
    tmp_path: Path,
    artifact_of: Callable[[str, str], Artifact],
    record_property: Property,
) -> None:
    loaded, artifact = classifier(network), artifact_of(network, format_name)
    images = load_images(images_of(network), loaded.preprocessing)
    pixels = np.stack([way(file, loaded.preprocessing) for file in images.files])
    assert not np.array_equal(pixels, images.pixels)
    record = record_of(artifact, images.names, pixels, tmp_path / "record.json")

    (refused,) = check(loaded, artifact, images_of(network), backends=["recorded"], records=[record]).subjects
    told = explained(loaded, artifact, record)

    record_property("clean_comparisons", told.images)
    # By itself a record of other pixels is compared with nothing, and nothing is suspected.
    assert (refused.verdict, refused.diagnoses) == ("error", ())
    assert "made from other pixels" in refused.reason
    if told.verdict == "pass":  # within what fp16 may differ by
        assert artifact.precision == "fp16"
        assert not any(d.confirmed for d in told.diagnoses)
        return
    assert told.diagnoses[0].fault in ("pre-decoder", "pre-app-path")
    assert any(
        words in told.diagnoses[0].message
        for words in ("before blaming the converter", "and no fault of the converter")
    )
    assert not any(d.confirmed for d in told.diagnoses)
    assert told.first_divergence is None
    assert told.guilty_hop.endswith("file -> recorded")
