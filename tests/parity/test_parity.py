"""What is known of the fixtures' models beside parity, and the fixture `parity` on one of them.

The mission itself, every model by every route on every backend for every sample image, is fixtures/parity.toml,
which the plugin collects (see `testpaths` in pyproject.toml).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from conversion import Classifier, convert
from parity.backends.reference import Reference, make_reference
from parity.core.results import Subject
from parity.judging import Judging, judge
from parity.suite.images import load_images
from parity.suite.models import load_classifier
from parity.suite.suite import read_suite
from parity.testing.fixture import Checker

ROOT = Path(__file__).parents[2]
SUITE = read_suite(ROOT / "fixtures" / "parity.toml")
MODELS = {entry.name: entry for entry in SUITE.models}

# Where `make run` converts to, so that nothing is converted twice.
ARTIFACTS = ROOT / ".parity"


@cache
def classifier_of(model: str) -> Classifier:
    entry = MODELS[model]
    return load_classifier(entry.factory, entry.arguments, entry.name, SUITE.directory)


@cache
def reference_of(model: str) -> Reference:
    classifier = classifier_of(model)
    return make_reference(classifier, load_images(MODELS[model].images, classifier.preprocessing, SUITE.directory))


@cache
def judged(model: str, route: str, backend: str) -> Subject:
    artifact = convert(classifier_of(model), route, ARTIFACTS)
    return judge(reference_of(model), artifact, backend, Judging(MODELS[model].tolerance.get(route)))


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram", "onnx-coreml"])
def test_the_fixture_says_the_same(route: str, parity: Checker) -> None:
    images = sorted((SUITE.directory / "images" / "digits").glob("*.png"))

    run = parity.check(classifier_of("mobilenet_v2_digits"), route=route, images=images)

    assert {s.verdict for s in run.subjects} <= {"pass", "skipped"}


@pytest.mark.parametrize(
    ("image", "label", "probability"),
    [("coffee.jpg", "espresso", 0.957), ("rocket.jpg", "missile", None), ("chelsea.jpg", "tiger cat", 0.379)],
)
def test_efficientnet_lite0_knows_the_photos(image: str, label: str, probability: float | None) -> None:
    # Figures of this network published with its weights' port, not of this project.
    reference = reference_of("efficientnet_lite0")
    row = reference.prediction.probabilities[reference.images.names.index(image)]

    assert reference.classifier.labels[int(row.argmax())] == label
    if probability is not None:
        assert row.max() == pytest.approx(probability, abs=5e-3)


def test_a_near_tie_is_never_a_flip_in_fp16() -> None:
    subject = judged("efficientnet_lite0", "mlprogram", "coreml-evaluator")
    case = next(case for case in subject.cases if case.image == "chelsea.jpg")

    assert case.verdict in ("match", "tie")
    assert {case.reference.label, case.candidate.label} <= {"tiger cat", "Egyptian cat"}


@pytest.mark.parametrize("model", MODELS)
def test_the_samples_can_tell_models_apart(model: str) -> None:
    # Agreement on images that all look alike to the network would prove nothing.
    found = {int(row.argmax()) for row in reference_of(model).prediction.probabilities}

    assert len(found) >= 5
