"""Labels: their number, their order, their spelling, and the outputs that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.diagnosis.suspects.interface import match_columns, name_order, name_permutation
from tests.parity.core.test_compare import Counted
from tests.parity.diagnosis.faulty import behind_all, broken, causes, change_weight, explained, good, reference
from tests.parity.test_injected_faults import mil_constant, mil_operations
from tests.parity.tiny import tiny

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
