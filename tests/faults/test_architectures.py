"""The networks that faults are injected into must tell the images apart, or nothing is learned from them."""

from __future__ import annotations

import pytest

from parity.backends.reference import make_reference
from parity.metrics.classification.variety import proves_nothing
from parity.suite.images import load_images
from tests.faults.architectures import ARCHITECTURES, classifier, images_of


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_differ_and_are_neither_flat_nor_certain(name: str) -> None:
    loaded = classifier(name)
    answers = make_reference(loaded, load_images(images_of(name), loaded.preprocessing)).prediction.probabilities

    assert proves_nothing(answers, 0.05) == ""
    assert len(set(answers.argmax(axis=1).tolist())) >= 5
    assert (answers.max(axis=1) < 0.999).mean() >= 0.5
