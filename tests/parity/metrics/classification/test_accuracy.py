"""Accuracy: intervals from published examples, counts against a loop that keeps everything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from parity.core.accuracy import Accuracy
from parity.core.results import Answer, Case
from parity.metrics.classification.accuracy import (
    accuracy_of,
    add_counts,
    count_accuracy,
    mcnemar,
    paired_interval,
    wilson,
)
from tests.parity.metrics.classification.classified import make_cases

LABELS = tuple("abcdefgh")
PLACES = {label: place for place, label in enumerate(LABELS)}


# Intervals


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(count: int, total: int, low: float, high: float) -> None:
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("table", "low", "high", "digits"),
    [
        # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), 2850-2875: airway hyper-responsiveness
        # before and after stem cell transplantation, three digits.
        ((1, 1, 7, 12), -0.507, -0.026, 3),
        # What the R package contingencytables, by the same authors, gives for complete response to a therapy.
        ((59, 6, 16, 80), -0.1186, -0.0046, 4),
    ],
)
def test_the_paired_interval_is_the_published_one(
    table: tuple[int, ...], low: float, high: float, digits: int
) -> None:
    both, first, second, _ = table

    assert paired_interval(both, first, second, sum(table)) == pytest.approx((low, high), abs=0.51 * 10**-digits)


@given(st.tuples(*[st.integers(0, 300)] * 4).filter(any))
def test_the_paired_interval_holds_the_difference_and_turns_round_with_its_sides(table: tuple[int, ...]) -> None:
    both, first, second, neither = table
    total = both + first + second + neither
    low, high = paired_interval(both, first, second, total)

    assert -1 - 1e-12 <= low <= (first - second) / total <= high <= 1 + 1e-12
    assert paired_interval(both, second, first, total) == pytest.approx((-high, -low), abs=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_test_is_scipys_of_a_fair_coin(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0

    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemars_test_takes_many_images() -> None:
    assert mcnemar(25_000, 25_000) == 1.0
    assert mcnemar(24_000, 26_000) == pytest.approx(binomtest(24_000, 50_000).pvalue, rel=1e-6)


# Counts

rows = st.lists(st.sampled_from([0.0, 0.0625, 0.125, 0.25, 0.5, 1.0]), min_size=len(LABELS), max_size=len(LABELS))
answered = st.lists(
    st.tuples(rows, rows, st.sampled_from([*LABELS, None]), st.sampled_from([*LABELS, None])),
    min_size=1,
    max_size=12,
)
Answered = list[tuple[list[float], list[float], str | None, str | None]]


def cases_of(drawn: Answered) -> list[Case]:
    expected, found = (np.array([row[place] for row in drawn]) for place in (0, 1))
    truths = [truth for _, _, truth, _ in drawn]
    return make_cases([str(i) for i in range(len(drawn))], LABELS, (expected, found), 0.1, truths)


def naive(rows: Sequence[Sequence[float]], truths: Sequence[str]) -> tuple[int, int, float]:
    """Count top-1 and top-5, and compute the expected calibration error, over lists that are all kept."""
    best = [max(range(len(row)), key=lambda i: (row[i], -i)) for row in rows]
    right = [LABELS[b] == truth for b, truth in zip(best, truths, strict=True)]
    five = [
        truth in [LABELS[i] for i in sorted(range(len(row)), key=lambda i: (-row[i], i))[:5]]
        for row, truth in zip(rows, truths, strict=True)
    ]
    error = 0.0
    for bin_ in range(15):
        low, high = bin_ / 15, (bin_ + 1) / 15
        members = [i for i, row in enumerate(rows) if low < max(row) <= high or (bin_ == 0 and max(row) == 0)]
        if members:
            confidence = sum(max(rows[i]) for i in members) / len(members)
            accuracy = sum(right[i] for i in members) / len(members)
            error += len(members) / len(rows) * abs(confidence - accuracy)
    return sum(right), sum(five), error


def counted(drawn: Answered) -> Accuracy | None:
    return accuracy_of(count_accuracy(cases_of(drawn), PLACES), LABELS)


@settings(max_examples=60)
@given(answered)
def test_the_counts_are_those_of_a_loop_that_keeps_everything(drawn: Answered) -> None:
    known = [(e, f, truth) for e, f, truth, _ in drawn if truth is not None]
    found = counted(drawn)

    if not known:
        assert found is None
        return
    assert found is not None
    assert found.images == len(known)
    truths = [truth for _, _, truth in known]
    for side, place in ((found.reference, 0), (found.candidate, 1)):
        top1, top5, error = naive([row[place] for row in known], truths)  # type: ignore[misc]
        assert (side.top1.count, side.top5.count) == (top1, top5)
        assert side.calibration.error == pytest.approx(error, abs=1e-12)
        assert sum(one.images for one in side.calibration.bins) == len(known)


@settings(max_examples=40)
@given(answered, st.integers(0, 12))
def test_parts_add_up(drawn: Answered, cut: int) -> None:
    cases = cases_of(drawn)

    parts = add_counts(count_accuracy(cases[:cut], PLACES), count_accuracy(cases[cut:], PLACES))

    assert accuracy_of(parts, LABELS) == accuracy_of(count_accuracy(cases, PLACES), LABELS)


def test_where_the_truth_is_unknown_there_is_no_accuracy() -> None:
    assert accuracy_of(Counter(), LABELS) is None


def answers(label: str, probability: float, truth: str, candidate: str | None = None) -> Case:
    first, second = Answer(label, probability), Answer(candidate or label, probability)
    return Case("x", "match" if candidate in (None, label) else "flip", first, second, 0.0, truth=truth)


def test_drift_and_accuracy_are_told_apart() -> None:
    cases = [
        answers("a", 0.9, "a"),
        answers("a", 0.9, "a", candidate="b"),
        answers("b", 0.9, "a", candidate="a"),
        answers("c", 0.9, "a", candidate="d"),
        answers("c", 0.9, "c", candidate="d"),
    ]

    found = accuracy_of(count_accuracy(cases, PLACES), LABELS)

    assert found is not None
    assert (found.reference.top1.count, found.candidate.top1.count, found.images) == (3, 2, 5)
    assert (found.change.only_reference, found.change.only_candidate) == (2, 1)
    assert found.change.difference == pytest.approx(-0.2)
    assert found.change.low < -0.2 < found.change.high
    assert found.change.p_value == 1.0


def test_the_worst_classes_come_first_and_perfect_ones_not_at_all() -> None:
    wrong = {"a": 1, "b": 2, "c": 0, "d": 2}
    cases = [
        answers("x", 0.5, label, candidate="y" if number < bad else label)
        for label, bad in wrong.items()
        for number in range(4 if label != "d" else 2)
    ]

    found = accuracy_of(count_accuracy(cases, PLACES), LABELS)

    assert found is not None
    listed = [(one.label, one.images, one.reference, one.candidate) for one in found.worst_classes]
    assert listed == [("d", 2, 0, 0), ("b", 4, 0, 2), ("a", 4, 0, 3)]


def test_no_finite_answer_is_a_wrong_one_of_the_candidate_alone() -> None:
    expected = np.array([[0.1, 0.7, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]])
    cases = make_cases(["x"], LABELS, (expected, np.full((1, 8), math.nan)), 0.1, ["c"])

    found = accuracy_of(count_accuracy(cases, PLACES), LABELS)

    assert found is not None
    assert (found.reference.top5.count, found.candidate.top5.count) == (1, 0)
    assert found.candidate.calibration.error is None


def test_logits_in_the_place_of_probabilities_are_added_up_too() -> None:
    below = count_accuracy([answers("a", -8.0, "a")], PLACES)

    found = accuracy_of(add_counts(below, count_accuracy([answers("a", 9.0, "a")], PLACES)), LABELS)

    assert found is not None
    assert [(found.reference.calibration.bins[i].confidence) for i in (0, 14)] == [-8.0, 9.0]


def test_a_confidence_at_an_edge_belongs_to_the_bin_below() -> None:
    found = accuracy_of(count_accuracy([answers("a", 1 / 15, "a"), answers("a", 1.0, "a")], PLACES), LABELS)

    assert found is not None
    assert [place for place, one in enumerate(found.reference.calibration.bins) if one.images] == [0, 14]
