"""Core AI's runtime as a backend: its answers, how it rounds, and how a run speaks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import conversion.coreai
from conversion import Artifact, Classifier, Preprocessing, convert
from conversion.deployed import deployed_module
from parity import check
from parity.backends import coreai, find_backend
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.entries import convert_entry
from parity.formats.editing import edited
from parity.formats.graph import read_graph
from parity.stream.legs import SPOTS
from parity.suite.suite import ModelEntry
from tests.conversion.classifiers import expected, photos, tiny
from tests.conversion.needs import needs_coreai

Converted = Callable[[str], Artifact]


def pictures(count: int) -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in photos(count)]


def test_answers_are_pytorchs(converted: Converted) -> None:
    pixels = photos(3)

    answers = coreai.load(converted("coreai"))(pixels)

    np.testing.assert_allclose(answers.probabilities, expected(tiny(), pixels), rtol=0, atol=1e-5)
    assert answers.labels == tiny().labels


@needs_coreai
def test_an_open_batch_answers_as_single_images_do(tmp_path: Path) -> None:
    artifact = convert(tiny(), "coreai", tmp_path, dynamic="batch", bounds=(1, 4))
    pixels = photos(3)

    both = [coreai.load(artifact, batch)(pixels).probabilities for batch in (1, 3)]

    np.testing.assert_allclose(*both, rtol=0, atol=1e-6)


class Scaled(torch.nn.Module):
    """Exceed what fp16 holds on the way to logits that it holds well."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(2, 3)) * 300.0 * 300.0 / 90000.0


@needs_coreai
def test_fp16_overflows_on_linux_too(tmp_path: Path) -> None:
    """So the leg of fp16 says something: results are rounded to fp16, and not computed in fp32 behind its back."""
    preprocessing = Preprocessing(size=(4, 4), resize=(4, 4), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    classifier = Classifier("scaled", Scaled().eval(), preprocessing, ("a", "b", "c"))
    pixels = np.full((1, 4, 4, 3), (1, 2, 3), np.uint8)

    in_fp32, in_fp16 = (coreai.load(convert(classifier, r, tmp_path))(pixels) for r in ("coreai", "coreai-fp16"))

    with torch.no_grad():
        exact = deployed_module(classifier)(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()).numpy()
    np.testing.assert_allclose(in_fp32.probabilities, exact, atol=1e-6)
    assert np.isnan(in_fp16.probabilities).all()


@needs_coreai
def test_fp16_folds_batch_norms_whose_variance_fp16_has_not(tmp_path: Path) -> None:
    """Each norm divides by a deviation and multiplies by the same: of the kernel only its own rounding is left."""
    torch.manual_seed(0)
    convolution, norm = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)
    norm.running_var = torch.logspace(-12, 6, 8)
    norm.weight.data = (norm.running_var + norm.eps).sqrt()
    network = torch.nn.Sequential(convolution, norm, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()

    artifact = convert(Classifier("folded", network, tiny().preprocessing, tiny().labels), "coreai-fp16", tmp_path)

    (folded,) = (o for o in read_graph(artifact).operations if o.type == "conv2d")
    kernel = convolution.weight.detach().numpy()
    np.testing.assert_allclose(folded.weights["weight"], kernel, rtol=2**-11, atol=2**-24)


def test_a_run_compares_it(converted: Converted) -> None:
    run = check(tiny(), [converted("coreai")], pictures(3), explain=False)

    (subject,) = run.subjects
    assert (subject.route, subject.backend, subject.precision) == ("coreai", "coreai", "fp32")
    assert subject.verdict in ("pass", "inconclusive")  # an untrained network
    assert subject.max_abs_diff is not None
    assert subject.max_abs_diff < 1e-5


def test_without_the_runtime_the_leg_is_skipped_with_what_installs_it(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = converted("coreai")
    # Whoever read the file before keeps what it says.
    conversion.coreai._described.cache_clear()
    monkeypatch.setattr("conversion.coreai.package_versions", lambda names: {})

    (subject,) = check(tiny(), [artifact], pictures(2)).subjects

    assert (subject.verdict, subject.reason) == (
        "skipped",
        "coreai-core not installed; pip install 'coreml-parity[coreai]'",
    )


def test_a_route_that_cannot_convert_here_is_skipped_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conversion.coreai.package_versions", lambda names: {})
    entry = ModelEntry("tiny", "models.py:tiny", {}, ("coreai",), ())

    subject = convert_entry(tiny(), entry, "coreai", tmp_path, lambda: pytest.fail("nothing is measured"))

    assert isinstance(subject, Subject)
    assert (subject.verdict, subject.backend) == ("skipped", "-")
    assert subject.reason == (
        "the route coreai cannot convert here: coreai-torch and coreai-core not installed; "
        "pip install 'coreml-parity[coreai]'"
    )


@needs_coreai
def test_causes_are_named_and_confirmed_in_a_file_of_this_format(tmp_path: Path) -> None:
    classifier = tiny()
    with torch.no_grad():
        classifier.module.head.weight.mul_(8)  # surer of itself than an untrained network is
    artifact = convert(classifier, "coreai", tmp_path)
    softmax = read_graph(artifact).operations[-1].name
    (tmp_path / "broken").mkdir()
    broken = edited(artifact, [lambda model: model.repeat(softmax)], tmp_path / "broken")

    (subject,) = check(classifier, [broken], pictures(6)).subjects

    assert subject.verdict == "fail"
    assert [(d.fault, d.confirmed) for d in subject.diagnoses] == [("head-softmax-twice", True)]
    assert subject.first_divergence is not None
    assert subject.first_divergence.type == "softmax"


@pytest.mark.parametrize(("system", "runs"), [("Linux", True), ("Darwin", True), ("Windows", False)])
def test_systems(system: str, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("conversion.coreai.package_versions", lambda names: {"coreai-core": "1.0.0b3"})

    assert (coreai.why_not() is None) is runs


def test_a_compute_unit_is_refused_where_there_is_none(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")

    with pytest.raises(ParityError, match="compute units on macOS alone"):
        coreai.load(converted("coreai"), compute_unit="gpu")


def test_images_of_another_size_are_refused(converted: Converted) -> None:
    with pytest.raises(ParityError, match=r"takes images of shape \[1, 3, 32, 32\]"):
        coreai.load(converted("coreai"))(np.zeros((1, 8, 8, 3), np.uint8))


def test_many_images_are_a_spot_check() -> None:
    assert find_backend("coreai").ABOUT.slow
    assert SPOTS == 64


def test_an_output_that_is_not_there_is_named(converted: Converted) -> None:
    artifact = replace(converted("coreai"), bound=(("depth", "depth"),))

    with pytest.raises(ParityError, match="no output is called depth; the outputs are classLabelProbs"):
        coreai.load(artifact)
