"""Labels: their number, their order, their spelling, and the outputs that they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conversion import Classifier
from conversion.provenance import KEY
from parity.backends.bound import bind
from parity.backends.reference import make_reference
from parity.diagnosis.suspects.interface import match_columns, name_order, name_permutation
from parity.suite.images import load_images
from tests.parity.core.test_compare import Counted
from tests.parity.diagnosis.faulty import (
    before_all,
    behind_all,
    broken,
    causes,
    change_weight,
    explained,
    good,
    reference,
)
from tests.parity.test_injected_faults import mil_constant, mil_operations
from tests.parity.tiny import pictures, tiny

Change = Callable[[list[str]], list[str]]


def program_labels(change: Change) -> Callable[[Any], None]:
    def break_it(specification: Any) -> None:
        classify = next(op for op in mil_operations(specification) if op.type == "classify")
        value = mil_constant(specification, classify.inputs["classes"].arguments[0]).immediateValue
        if value.WhichOneof("value") == "list":
            texts = [item.immediateValue.tensor.strings.values for item in value.list.values]
            for text, name in zip(texts, change([text[0] for text in texts]), strict=True):
                text[0] = name
        else:
            value.tensor.strings.values[:] = change(list(value.tensor.strings.values))

    return break_it


def network_labels(change: Change) -> Callable[[Any], None]:
    def break_it(specification: Any) -> None:
        vector = specification.neuralNetworkClassifier.stringClassLabels.vector
        vector[:] = change(list(vector))

    return break_it


def background(labels: list[str]) -> list[str]:
    return ["background", *labels[:-1]]


def one_more(labels: list[str]) -> list[str]:
    return ["background", *labels]


def one_less(labels: list[str]) -> list[str]:
    return labels[:-1]


def twins(labels: list[str]) -> list[str]:
    return [labels[0], *labels[:1], *labels[2:]]


def shouted(labels: list[str]) -> list[str]:
    return [f"{label.upper()}\r" for label in labels]


def exchanged(labels: list[str]) -> list[str]:
    return [labels[1], labels[0], *labels[2:]]


@pytest.mark.parametrize(
    ("change", "fault", "figures"),
    [
        (background, "lab-off-by-one-background", "'background'"),
        (twins, "lab-duplicate-names", "Labels 0 and 1 are both 'ant'"),
        (shouted, "lab-text-mismatch", "'ANT\\r'"),
        (exchanged, "lab-order-permuted", "'ant' and 'bee' are exchanged"),
    ],
)
@pytest.mark.parametrize(("route", "labels"), [("mlprogram", program_labels), ("onnx-coreml", network_labels)])
def test_a_list_of_labels_is_compared(
    route: str, labels: Callable[[Change], Callable[[Any], None]], change: Change, fault: str, figures: str
) -> None:
    explanation = explained(broken(good(route, tiny), labels(change)), reference(tiny))

    assert causes(explanation) == [fault]
    assert figures in explanation.diagnoses[0].message


def note_labels(change: Change) -> Callable[[Any], None]:
    def changed(text: str) -> str:
        note = json.loads(text)
        return json.dumps({**note, "labels": change(note["labels"])})

    def break_it(model: Any) -> None:
        if hasattr(model, "description"):
            notes = model.description.metadata.userDefined
            notes[KEY] = changed(notes[KEY])
            return
        (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
        entry.value = changed(entry.value)

    return break_it


@pytest.mark.parametrize(
    ("change", "fault", "figures"),
    [
        (
            lambda labels: [*labels, "one too many"],
            "lab-count-mismatch",
            "9 entries but the classifier has 8 classes",
        ),
        (one_less, "lab-count-mismatch", "7 entries"),
        (one_more, "lab-off-by-one-background", "one entry too many at its beginning ('background'"),
        (lambda labels: labels[1:], "lab-off-by-one-background", "lacks its first entry"),
        (twins, "lab-duplicate-names", "Labels 0 and 1 are both 'ant': 1 of 8 classes have no name of their own"),
        (lambda labels: ["bee"] * 3 + labels[3:], "lab-duplicate-names", "2 of 8 classes"),
        (lambda labels: ["bee", *labels[1:-1]], "lab-duplicate-names", "1 of 7 classes"),
    ],
)
def test_a_list_in_the_note_of_an_onnx_file_is_read_and_put_right(change: Change, fault: str, figures: str) -> None:
    file = broken(good("onnx-torchscript", tiny), note_labels(change))

    explanation = explained(file, reference(tiny))

    assert causes(explanation) == [fault]
    (diagnosis,) = explanation.diagnoses
    assert figures in diagnosis.message
    assert diagnosis.evidence == (
        "the file's list of labels was read, and with the model's in its place parity holds"
    )


def apart() -> Classifier:
    return replace(tiny(), sigmoid="added")


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32", "onnx-coreml"])
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (one_less, "lab-count-mismatch"),
        (twins, "lab-duplicate-names"),
        (shouted, "lab-text-mismatch"),
        (exchanged, "lab-order-permuted"),
    ],
)
def test_a_file_that_gives_an_array_is_read_by_its_note(route: str, change: Change, fault: str) -> None:
    file = bind(broken(good(route, apart), note_labels(change)), apart().task)
    against = make_reference(apart(), load_images(pictures(), apart().preprocessing))

    explanation = explained(file, against)

    assert causes(explanation) == [fault]
    assert "dictionary" not in explanation.diagnoses[0].message


def test_a_list_is_not_all_that_is_wrong() -> None:
    def break_it(model: Any) -> None:
        note_labels(one_less)(model)
        before_all(model, "Mul", [np.array(255, np.float32)])

    explanation = explained(broken(good("onnx-torchscript", tiny), break_it), reference(tiny))

    assert set(causes(explanation)) == {"lab-count-mismatch", "pre-range-0-1-vs-0-255"}


@pytest.mark.parametrize(
    ("change", "fault"), [(one_more, "lab-off-by-one-background"), (one_less, "lab-count-mismatch")]
)
def test_a_list_of_another_length_is_an_error_that_is_explained(change: Change, fault: str) -> None:
    from parity.diagnosis.search import explain
    from tests.parity.diagnosis.faulty import examined

    examination = examined(broken(good("onnx-coreml", tiny), network_labels(change)), reference(tiny))

    assert examination.candidate.prediction is None  # the evaluator refuses it
    assert causes(explain(examination)) == [fault]


@pytest.mark.parametrize(
    ("order", "fault", "message"),
    [
        ([*range(1, 12), 0], "lab-off-by-one-background", "shifted by one"),
        ([*range(12)][::-1], "lab-order-permuted", "the list is reversed"),
        (sorted(range(12), key=str), "lab-order-permuted", "sorted as text"),
        ([3, 7, 1, 0, 2, 11, 5, 4, 10, 6, 9, 8], "lab-order-permuted", "12 of 12 are moved"),
    ],
)
def test_permuted_outputs_are_found_by_their_numbers(order: list[int], fault: str, message: str) -> None:
    def break_it(model: Any) -> None:
        for name in ("module.head.weight", "module.head.bias"):
            change_weight(model, name, lambda was: was[order])

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == [fault]
    assert message in explanation.diagnoses[0].message
    assert "permuted rows of the last layer are the same" in explanation.diagnoses[0].message


def test_an_output_too_many_is_found() -> None:
    def break_it(model: Any) -> None:
        behind_all(model, "Pad", [np.array([0, 1, 0, 0])])
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 13
        del model.metadata_props[:]

    explanation = explained(broken(good("onnx-torchscript"), break_it), reference())

    assert causes(explanation) == ["lab-off-by-one-background"]
    assert "13 outputs for 12 labels" in explanation.diagnoses[0].message


def test_names_of_permutations() -> None:
    labels = [str(i) for i in range(12)]

    assert name_permutation([2, 3, 0, 1], "abcd") == "the list is rolled by 2"
    assert name_permutation([0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9], labels).startswith("the numbers")
    assert name_permutation([1, 2, 0, 3], ["b", "a", "c", "d"]) != "the names were sorted"
    assert name_order(["tench, Tinca tinca"], ["Tench"])[0] == "lab-text-mismatch"


# Many classes


def many(classes: int, images: int, known: int) -> np.ndarray:
    """Make sure answers: a few classes of an image are likely, and of most classes nothing is said at all."""
    random = np.random.default_rng(7)
    logits = np.full((images, classes), -30.0)
    for row in logits:
        row[random.choice(classes, known, replace=False)] = random.normal(0, 3, known)
    powers = np.exp(logits)
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


@pytest.mark.parametrize("classes", [1000, 3000])
def test_columns_are_found_again_however_many_there_are(classes: int) -> None:
    random = np.random.default_rng(8)
    expected = many(classes, 24, 600)
    order = random.permutation(classes)
    outputs = expected[:, order] * (1 + 1e-6 * random.standard_normal(expected.shape))

    matched = match_columns(outputs, expected)

    assert matched is not None
    assert sorted(matched) == list(range(classes))
    # A class that no image shows is any column that none shows.
    shown = expected.max(axis=0) > 1e-6
    assert np.array_equal(order[matched][shown], np.arange(classes)[shown])


def test_columns_that_are_all_alike_stay_where_they_are() -> None:
    expected = np.full((4, 3000), 1e-12)
    expected[:, 5] = 1.0

    assert match_columns(expected, expected) == list(range(3000))


def test_a_list_of_labels_is_described_in_as_many_steps_as_there_are() -> None:
    labels = [Counted(f"class{index}") for index in range(2000)]
    for wrong in (labels[1:] + labels[:1], [Counted(f"{label} x") for label in labels], labels[5:] + labels[:5]):
        Counted.looked = 0
        assert name_order(wrong, labels)[0].startswith("lab-")
        assert Counted.looked < 10 * len(labels)
