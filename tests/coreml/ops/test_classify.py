from __future__ import annotations

import numpy as np
import pytest

from tests.coreml.programs import call


def test_the_most_probable_class_wins_and_all_are_told() -> None:
    label, probabilities = call("classify", probabilities=np.float32([[0.25, 0.5, 0.25]]), classes=("a", "b", "c"))

    assert label == "b"
    assert probabilities == {"a": 0.25, "b": 0.5, "c": 0.25}


def test_the_first_of_equals_wins() -> None:
    label, _ = call("classify", probabilities=np.float32([0.1, 0.45, 0.45]), classes=("a", "b", "c"))

    assert label == "b"


def test_classes_may_be_numbers() -> None:
    label, probabilities = call("classify", probabilities=np.float32([0.25, 0.75]), classes=np.array([7, 9]))

    assert label == 9
    assert probabilities == {7: 0.25, 9: 0.75}


def test_every_class_has_its_probability() -> None:
    with pytest.raises(ValueError, match="shorter"):
        call("classify", probabilities=np.float32([0.25, 0.75]), classes=("a", "b", "c"))
