"""The mission: every model, by every route, on every backend, for every sample image, against PyTorch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from conversion import Classifier, convert
from conversion.images import find_images
from conversion.routes import ROUTES
from parity.backends import backends_for
from parity.compare import explain_failure
from parity.images import load_images, unique_names
from parity.models import load_classifier
from parity.pipeline import Reference, judge, make_reference
from parity.results import Subject
from parity.suite import ModelEntry, read_suite

ROOT = Path(__file__).parents[2]
SUITE = read_suite(ROOT / "fixtures" / "parity.toml")
MODELS = {entry.name: entry for entry in SUITE.models}

# Where `make run` converts to, so that nothing is converted twice.
ARTIFACTS = ROOT / ".parity"


def cases() -> list[object]:
    """List model, route, backend and image, with the ids that reports show."""
    return [
        pytest.param(
            entry.name,
            route,
            backend,
            image,
            id=f"{entry.name}-{route}-{backend}-{image}",
            # One worker converts a model by a route and judges it on all images; the others take other routes.
            marks=pytest.mark.xdist_group(f"{entry.name}-{route}"),
        )
        for entry in SUITE.models
        for route in entry.routes
        for backend in backends_for(ROUTES[route].format)
        for image in images_of(entry)
    ]


def images_of(entry: ModelEntry) -> list[str]:
    return unique_names(find_images(entry.images, SUITE.directory))


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
    return judge(reference_of(model), artifact, backend, MODELS[model].tolerance.get(route))


@pytest.mark.parametrize(("model", "route", "backend", "image"), cases())
def test_agrees_with_pytorch(model: str, route: str, backend: str, image: str) -> None:
    subject = judged(model, route, backend)

    if subject.verdict == "skipped":
        pytest.skip(subject.reason)
    assert subject.verdict in ("pass", "fail"), subject.reason
    case = next(case for case in subject.cases if case.image == image)
    assert case.verdict in ("match", "tie"), explain_failure(subject)


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
