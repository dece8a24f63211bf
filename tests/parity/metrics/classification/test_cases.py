"""Cases of many images at once: the same as of each alone, and the numbers of a loop over them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.results import Answer, ClassPair
from tests.parity.metrics.classification.classified import make_cases

LABELS = tuple("abcdefg")


@st.composite
def answered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw answers of which some are equal, zero or not finite."""
    count = draw(st.integers(1, 6))
    number = st.sampled_from([0.0, 1e-9, 0.125, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf])
    row = st.lists(number, min_size=len(LABELS), max_size=len(LABELS))
    return tuple(np.array(draw(st.lists(row, min_size=count, max_size=count))) for _ in range(2))  # type: ignore[return-value]


@settings(max_examples=80)
@given(answered(), st.booleans())
def test_a_case_does_not_depend_on_the_images_beside_it(drawn: tuple[np.ndarray, np.ndarray], turned: bool) -> None:
    expected, found = (np.asfortranarray(rows) if turned else rows for rows in drawn)
    names = [f"{index}.png" for index in range(len(expected))]

    together = make_cases(names, LABELS, (expected, found), 0.1)

    for index, case in enumerate(together):
        alone = slice(index, index + 1)
        assert make_cases(names[alone], LABELS, (drawn[0][alone], drawn[1][alone]), 0.1) == [case]


@settings(max_examples=60)
@given(answered())
def test_the_most_probable_classes_are_those_of_a_stable_sort(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    for expected, found in zip(*drawn, strict=True):
        (case,) = make_cases(["x"], LABELS, (expected[None], found[None]), 0.1)
        if not (np.isfinite(expected).all() and np.isfinite(found).all()):
            continue
        first, second = (np.argsort(-row, kind="stable")[:5].tolist() for row in (expected, found))
        wanted = sorted({*first, *second}, key=lambda place: (-expected[place], place))

        assert [pair.label for pair in case.top] == [LABELS[place] for place in wanted]
        assert case.top5_overlap == len({*first} & {*second}) / 5


def test_more_images_than_are_measured_at_once_are_all_measured() -> None:
    random = np.random.default_rng(7)
    expected = random.dirichlet(np.ones(7), 600)
    found = expected + random.normal(0, 1e-3, expected.shape)

    names = [LABELS[i] for i in found.argmax(1)]
    cases = make_cases([str(i) for i in range(600)], LABELS, (expected, found), 0.1, named=names)

    assert [case.image for case in cases] == [str(i) for i in range(600)]
    assert [case.max_abs_diff for case in cases] == np.abs(found - expected).max(axis=1).tolist()


def test_no_finite_answer_leaves_what_the_reference_says() -> None:
    expected = np.array([[0.4, 0.3, 0.1, 0.08, 0.06, 0.04, 0.02]])
    found = np.array([[math.nan, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]])

    (case,) = make_cases(["x"], LABELS, (expected, found), 0.1, ["b"])

    assert case.reference == Answer("a", 0.4)
    assert case.top == (
        ClassPair("a", 0.4, None),
        ClassPair("b", 0.3, 0.5),
        ClassPair("c", 0.1, 0.5),
        ClassPair("d", 0.08, 0.0),
        ClassPair("e", 0.06, 0.0),
    )
    assert case.truth == "b"


@pytest.mark.parametrize("truths", [None, [None, "a"]])
def test_the_truth_is_told_where_it_is_known(truths: list[str | None] | None) -> None:
    answers = np.eye(7)[:2]

    cases = make_cases(["x", "y"], LABELS, (answers, answers), 0.1, truths)

    assert [case.truth for case in cases] == (truths or [None, None])
