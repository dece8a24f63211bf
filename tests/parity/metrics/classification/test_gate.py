"""The verdict of the gate: what passes, what fails, and what says nothing."""

from __future__ import annotations

import pytest

from parity.core.accuracy import Accuracy
from parity.core.gate import Gate
from parity.core.results import Answer, Case
from parity.metrics.classification.accuracy import accuracy_of, count_accuracy
from parity.metrics.classification.gate import NO_LABELS, judge_gate
from parity.metrics.classification.noninferiority import lower_bound, upper_bound

LABELS = ("a", "b", "c", "d")
PLACES = {label: place for place, label in enumerate(LABELS)}
GATE = Gate(0.02)


def cases(both: int, first: int, second: int, neither: int) -> list[Case]:
    """Make images of two labels, half and half, of which so many are right for both, for one, and for neither."""
    listed = []
    for reference, candidate, count in (
        (True, True, both),
        (True, False, first),
        (False, True, second),
        (False, False, neither),
    ):
        for _ in range(count):
            truth = LABELS[len(listed) % 2]
            said = [Answer(truth if right else "d", 0.5) for right in (reference, candidate)]
            listed.append(Case(str(len(listed)), "match", *said, 0.0, truth=truth))
    return listed


def accuracy(*table: int) -> Accuracy:
    found = accuracy_of(count_accuracy(cases(*table), PLACES), LABELS)
    assert found is not None
    return found


def test_a_candidate_that_loses_little_passes() -> None:
    result = judge_gate(GATE, accuracy(940, 3, 3, 54))

    assert (result.verdict, result.reason, result.images, result.margin) == ("pass", "", 1_000, 0.02)
    assert result.loss == 0.0
    assert result.high == pytest.approx(upper_bound(3, 3, 1_000, 0.05), abs=2e-6)
    assert result.low == pytest.approx(lower_bound(3, 3, 1_000, 0.05), abs=2e-6)


def test_a_candidate_that_loses_more_than_may_be_lost_fails() -> None:
    result = judge_gate(GATE, accuracy(880, 60, 5, 55))

    assert (result.verdict, result.reason) == ("fail", "")
    assert result.loss == pytest.approx(0.055)
    assert result.low is not None
    assert result.low > GATE.accuracy_loss


def test_what_is_between_is_open_and_says_how_many_images_would_decide_it() -> None:
    result = judge_gate(GATE, accuracy(180, 4, 2, 14))

    assert result.verdict == "inconclusive"
    assert result.images_needed is not None
    assert result.images_needed > 200
    assert f"about {result.images_needed:,} would decide it" in result.reason


def test_more_confidence_asks_for_more() -> None:
    table = accuracy(940, 8, 3, 49)

    assert judge_gate(Gate(0.0125), table).verdict == "pass"
    assert judge_gate(Gate(0.0125, confidence=0.999), table).verdict == "inconclusive"


def test_without_labels_nothing_passes() -> None:
    result = judge_gate(GATE, None)

    assert (result.verdict, result.reason, result.loss) == ("inconclusive", NO_LABELS, None)


@pytest.mark.parametrize("table", [(100, 0, 0, 900), (500, 0, 0, 500), (510, 0, 0, 490)])
def test_a_reference_that_is_no_better_than_one_label_for_all_has_nothing_to_lose(table: tuple[int, ...]) -> None:
    result = judge_gate(GATE, accuracy(*table))

    assert result.verdict == "inconclusive"
    assert "the commonest label is on 500" in result.reason


def test_images_of_one_class_show_no_loss() -> None:
    listed = [Case(str(i), "match", Answer("a", 0.9), Answer("a", 0.9), 0.0, truth="a") for i in range(1_000)]
    found = accuracy_of(count_accuracy(listed, PLACES), LABELS)

    assert judge_gate(GATE, found).verdict == "inconclusive"


# Classes and thresholds


def test_the_classes_that_lose_most_share_the_confidence() -> None:
    listed = [
        Case(f"{label}{i}", "match", Answer(label, 0.9), Answer(label if i >= lost else "d", 0.9), 0.0, truth=label)
        for label, lost in (("a", 3), ("b", 0), ("c", 20))
        for i in range(40)
    ]
    found = accuracy_of(count_accuracy(listed, PLACES), LABELS, 0.95)

    assert found is not None
    assert [(one.label, one.only_reference, one.images) for one in found.losing_classes] == [
        ("c", 20, 40),
        ("a", 3, 40),
    ]
    assert found.commonest == 40
    for one in found.losing_classes:
        # Three classes have images.
        assert one.low == lower_bound(one.only_reference, one.only_candidate, 40, 0.05 / 3)
        assert one.high == upper_bound(one.only_reference, one.only_candidate, 40, 0.05 / 3)
        assert one.low < one.loss < one.high


def test_an_app_takes_the_answers_from_its_threshold_on() -> None:
    rows = [
        # reference, candidate, probabilities, truth
        ("a", "a", 0.9, 0.9, "a"),
        ("a", "a", 0.6, 0.59, "a"),
        ("a", "b", 0.7, 0.5, "b"),
        ("b", "b", 0.2, 0.6, "c"),
        ("b", "b", 0.2, None, "b"),
    ]
    listed = [
        Case(str(i), "match", Answer(one, p), Answer(other, q), 0.0, truth=truth)
        for i, (one, other, p, q, truth) in enumerate(rows)
    ]
    found = accuracy_of(count_accuracy(listed, PLACES, 0.6), LABELS, threshold=0.6)

    assert found is not None
    assert found.selective is not None
    both = found.selective
    assert [(side.taken.count, side.taken.total) for side in (both.reference, both.candidate)] == [(3, 5), (2, 5)]
    assert both.reference.right is not None
    assert both.candidate.right is not None
    assert [side.right.count for side in (both.reference, both.candidate) if side.right] == [2, 1]
    assert (both.fallen.count, both.risen.count) == (2, 1)


def test_a_threshold_that_nothing_reaches_has_no_right_answers() -> None:
    found = accuracy_of(count_accuracy(cases(5, 1, 1, 1), PLACES, 0.99), LABELS, threshold=0.99)

    assert found is not None
    assert found.selective is not None
    assert found.selective.reference.right is None
    assert found.selective.reference.taken.count == 0
