"""Heads: probabilities of logits and back, columns that are told apart, and where an answer ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from conversion.task import LABELS_APART, PROBABILITIES, OutputSpec
from parity.core.results import Prediction
from parity.diagnosis.heads import HEADS, activation_of, end_of, head_of
from parity.diagnosis.repair import as_measured
from parity.diagnosis.suspects.interface import match_columns
from parity.formats.graph import Graph, Operation

LOGITS = np.random.default_rng(5).normal(0, 3, (6, 5))
ORDER = [2, 0, 1, 4, 3]
APART, CLASSES = HEADS[LABELS_APART], HEADS[PROBABILITIES]


def test_probabilities_are_those_of_scipy_and_come_back() -> None:
    np.testing.assert_allclose(APART.probabilities(LOGITS), expit(LOGITS))
    np.testing.assert_allclose(CLASSES.probabilities(LOGITS), softmax(LOGITS, axis=1))
    np.testing.assert_allclose(APART.logits(expit(LOGITS)), LOGITS, atol=1e-9)
    back = CLASSES.logits(softmax(LOGITS, axis=1)) - LOGITS
    np.testing.assert_allclose(back, np.repeat(back[:, :1], 5, axis=1), atol=1e-9)


def test_a_logit_beyond_all_bounds_is_sure_and_no_warning() -> None:
    assert APART.probabilities(np.array([[-2000.0, 2000.0]])).tolist() == [[0.0, 1.0]]
    assert np.isfinite(APART.logits(np.array([[0.0, 1.0, -0.1, 1.1]]))).all()


@pytest.mark.parametrize("answers", [expit(LOGITS), LOGITS], ids=["probabilities", "logits"])
def test_columns_of_labels_apart_are_told_by_each_number(answers: np.ndarray) -> None:
    matched = match_columns(answers[:, ORDER], expit(LOGITS), APART)

    # Column `place` holds label ORDER[place], so that each label finds its place in ORDER.
    assert matched == [ORDER.index(label) for label in range(5)]


def test_labels_of_which_an_image_is_sure_are_told_apart_too() -> None:
    sure = expit(LOGITS / 3 + 6)
    assert sure.min() > 0.9

    assert match_columns(sure[:, ORDER], sure, APART) == [ORDER.index(label) for label in range(5)]


def test_columns_that_are_none_of_the_labels_say_nothing() -> None:
    assert match_columns(expit(LOGITS[::-1] + 1), expit(LOGITS), APART) is None


def test_logits_are_compared_where_neither_side_is_as_good_as_sure() -> None:
    mine, theirs = APART.clear(np.array([[1.0, 2.0, 30.0]]), np.array([[0.5, 20.0, 3.0]]))

    assert (mine.tolist(), theirs.tolist()) == ([1.0], [0.5])


def graph(*types: str) -> Graph:
    names = ["image", *(f"value {place}" for place in range(len(types)))]
    operations = [
        Operation(place, kind, kind, (names[place],), (names[place + 1],), {}, {}, {})
        for place, kind in enumerate(types)
    ]
    return Graph("onnx", tuple(operations), "image", names[-1])


@pytest.mark.parametrize(
    ("types", "end"),
    [
        (("Gemm", "Sigmoid"), "Sigmoid"),
        (("Gemm", "sigmoid", "cast", "Identity"), "sigmoid"),
        (("Sigmoid", "Gemm"), None),
        (("Gemm", "Softmax"), None),
        ((), None),
    ],
)
def test_the_operation_that_gives_the_answer_is_behind_casts(types: tuple[str, ...], end: str | None) -> None:
    found = end_of(graph(*types), APART.types)

    assert (found and found.type) == end


def test_another_kind_has_no_head_and_a_word_for_people() -> None:
    dense = OutputSpec("mask", "dense")

    assert head_of(dense) is None
    assert activation_of(dense) == "the task's head"
    assert activation_of(OutputSpec("labelProbs", LABELS_APART, ("a",))) == "sigmoid"


def test_answers_are_brought_into_the_shape_that_is_measured() -> None:
    spec = OutputSpec("labelProbs", LABELS_APART, tuple("abcde"))
    reference = Prediction(outputs={spec.name: expit(LOGITS)}, labels=spec.labels, specs=(spec,))
    array = Prediction(outputs={spec.name: expit(LOGITS).reshape(6, 1, 5, 1, 1)})
    classified = Prediction(softmax(LOGITS, axis=1).reshape(6, 1, 5, 1, 1))

    assert as_measured(reference, array).probabilities.shape == (6, 5)
    assert as_measured(reference, Prediction(outputs={"other": LOGITS})).probabilities is LOGITS
    assert as_measured(Prediction(softmax(LOGITS, axis=1), spec.labels), classified) is classified
