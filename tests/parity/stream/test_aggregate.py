"""Cases -> Run: the verdicts that `compare` gives over all answers at once, however they are cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import Tolerance, compare
from parity.core.results import Environment, Prediction, Run, from_json, to_json
from parity.metrics.classification.variety import variety_of
from parity.stream.aggregate import NAMED, WORST, Totals, aggregate, totals_of
from parity.stream.job import Shard
from parity.stream.lines import Header, HeadLeg, HeadModel, Line, pack
from parity.suite.suite import KnownIssueEntry
from tests.parity.metrics.classification.classified import make_cases

LABELS = ("ant", "bee", "cat", "dog")
PLACES = {label: place for place, label in enumerate(LABELS)}
TOLERANCE = 0.125
LEG = HeadLeg("tiny", "onnx", "onnxruntime", "tiny.onnx", "fp32", "d", 1, TOLERANCE, "given")
ANT, DOG = [0.75, 0.125, 0.125, 0.0], [0.0625, 0.0625, 0.125, 0.75]


def header(images: int, batch: int = 3, legs: tuple[HeadLeg, ...] = (LEG,), **more: Any) -> Header:
    models = (HeadModel("tiny", "w", LABELS, 1, True),)
    return Header(Environment("3", "Linux", {}), models, legs, images, "d", "", batch, 1, Shard(), **more)


def lines(
    head: Header,
    expected: np.ndarray,
    found: np.ndarray,
    unreadable: Sequence[int] = (),
    truths: Sequence[str | None] | None = None,
) -> list[Line]:
    """Write what a run would write; rows of `unreadable` are left out."""
    made = []
    for number in head.batches:
        places = [place for place in head.places(number) if place not in unreadable]
        truth = [truths[place] if truths else None for place in places]
        cases = make_cases(
            [f"{p}.png" for p in places], LABELS, (expected[places], found[places]), TOLERANCE, truth
        )
        rows = dict(zip(places, cases, strict=True))
        batch = [
            Line(p, f"{p}.png", cases=(rows[p],)) if p in rows else Line(p, f"{p}.png", unreadable=f"{p}.png: bad")
            for p in head.places(number)
        ]
        varieties = (pack(variety_of(expected[places]), expected.dtype),) if places else ()
        made += [*batch[:-1], replace(batch[-1], varieties=varieties)]
    return made


def run_over(
    expected: Any, found: Any, batch: int = 3, allowed: float = 0.01, unreadable: Sequence[int] = ()
) -> Run:
    answers = np.array(expected, dtype=float)
    head = header(len(answers), batch)
    return aggregate(head, lines(head, answers, np.array(found, dtype=float), unreadable), allowed)


@st.composite
def answered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(1, 9))
    row = st.lists(st.integers(0, 16), min_size=4, max_size=4)
    first, second = (
        np.array(draw(st.lists(row, min_size=count, max_size=count)), dtype=np.float64) / 16 for _ in range(2)
    )
    near = draw(st.sampled_from([1.0, 0.25, 0.0625, 0.0]))
    return first, first + near * (second - first)


@settings(max_examples=80)
@given(answered(), st.integers(1, 10))
def test_the_verdict_is_that_of_all_answers_at_once(drawn: tuple[np.ndarray, np.ndarray], batch: int) -> None:
    expected, found = drawn
    names = [f"{index}.png" for index in range(len(expected))]
    at_once = compare(Prediction(expected, LABELS), Prediction(found, LABELS), Tolerance(TOLERANCE), names)

    (subject,) = run_over(expected, found, batch).subjects

    assert (subject.verdict, subject.reason) == (at_once.verdict, at_once.reason)
    assert subject.required_tolerance == at_once.required_tolerance
    assert (subject.max_abs_diff, subject.top1_agreement) == (at_once.max_abs_diff, at_once.top1_agreement)
    assert (subject.images, subject.tolerance) == (len(expected), TOLERANCE)
    assert sorted(subject.cases, key=str) == sorted(at_once.cases, key=str)
    assert subject.distribution is not None
    assert subject.distribution.total == len(expected)


@settings(max_examples=40)
@given(answered(), st.integers(0, 9), st.integers(0, 9))
def test_totals_add_up(drawn: tuple[np.ndarray, np.ndarray], first: int, second: int) -> None:
    cases = make_cases([str(i) for i in range(len(drawn[0]))], LABELS, drawn, TOLERANCE)
    indexed = list(enumerate(cases))
    cuts = sorted((first, second))
    a, b, c = (
        totals_of(part, PLACES) for part in (indexed[: cuts[0]], indexed[cuts[0] : cuts[1]], indexed[cuts[1] :])
    )

    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == totals_of(indexed, PLACES).merge(Totals())


def test_the_worst_cases_are_kept_and_ties_go_by_place() -> None:
    expected = np.tile(ANT, (100, 1))
    found = expected.copy()
    found[:, 1] += np.array([0.1 if index % 2 else 0.05 for index in range(100)])
    found[70, 3] = 0.25

    (subject,) = run_over(expected, found, batch=7).subjects

    assert len(subject.cases) == WORST == 32
    assert [case.image for case in subject.cases] == ["70.png", *(f"{2 * i + 1}.png" for i in range(31))]
    assert dict(subject.counts) == {"drift": 1, "match": 99}
    assert subject.images == 100


def test_no_finite_answer_is_the_worst() -> None:
    expected = np.array([ANT, DOG, ANT])
    found = np.array([[0.0, 0.0, 0.0, 0.75], DOG, [np.nan] * 4])

    (subject,) = run_over(expected, found).subjects

    assert [(case.image, case.verdict) for case in subject.cases] == [
        ("2.png", "error"),
        ("0.png", "flip"),
        ("1.png", "match"),
    ]
    assert (subject.verdict, subject.reason) == ("fail", "1 flip, 1 error of 3 image(s)")
    assert subject.required_tolerance is None


# Images that could not be read


def test_unreadable_images_are_counted_and_listed_and_skipped() -> None:
    found = run_over([ANT, DOG] * 50, [ANT, DOG] * 50, unreadable=[4], allowed=0.01)

    assert found.unreadable is not None
    assert (found.unreadable.count, found.unreadable.share, found.unreadable.allowed) == (1, 0.01, 0.01)
    assert [(one.image, one.reason) for one in found.unreadable.images] == [("4.png", "4.png: bad")]
    assert (found.subjects[0].verdict, found.subjects[0].images, found.exit_code) == ("pass", 99, 0)


def test_past_the_share_that_is_allowed_the_run_fails() -> None:
    found = run_over([ANT, DOG] * 50, [ANT, DOG] * 50, unreadable=[4, 5], allowed=0.01)

    assert (found.subjects[0].verdict, found.exit_code) == ("pass", 1)


def test_of_images_that_are_all_unreadable_nothing_is_concluded() -> None:
    found = run_over([ANT, DOG], [ANT, DOG], unreadable=[0, 1])

    assert (found.subjects[0].verdict, found.subjects[0].reason) == ("inconclusive", "no images were compared")
    assert found.exit_code == 3


def test_no_more_than_the_first_unreadable_images_are_named() -> None:
    count = NAMED + 20

    found = run_over([ANT] * count, [ANT] * count, unreadable=range(count - 1), batch=7)

    assert found.unreadable is not None
    assert [one.image for one in found.unreadable.images] == [f"{index}.png" for index in range(NAMED)]
    assert found.unreadable.count == count - 1


def test_a_run_that_could_read_everything_says_nothing_of_it() -> None:
    assert run_over([ANT, DOG], [ANT, DOG]).unreadable is None


# Legs that do not run, known issues, truth


def test_legs_that_do_not_run_are_reported_in_their_place() -> None:
    skipped = replace(LEG, backend="coreml-native", verdict="skipped", reason="needs macOS", tolerance=None)
    head = header(2, legs=(skipped, LEG))
    answers = np.array([ANT, DOG])

    found = aggregate(head, lines(head, answers, answers), 0.01)

    assert [(s.backend, s.verdict, s.reason) for s in found.subjects] == [
        ("coreml-native", "skipped", "needs macOS"),
        ("onnxruntime", "pass", ""),
    ]
    assert dict(found.summary) == {"pass": 1, "fail": 0, "error": 0, "inconclusive": 0, "skipped": 1}


def test_known_issues_of_the_suite_count() -> None:
    known = (KnownIssueEntry("tiny", "*", "*", "upstream", ""), KnownIssueEntry("gone", "*", "*", "old", ""))
    head = header(2, known_issues=known)
    answers = np.array([ANT, DOG])

    found = aggregate(head, lines(head, answers, answers[::-1]), 0.01)

    assert found.subjects[0].known_issue is not None
    assert len(found.stale_known_issues) == 1
    assert "model gone" in found.stale_known_issues[0]


def test_what_was_found_can_be_written_and_read_again() -> None:
    head = header(4)
    answers = np.array([ANT, DOG, DOG, ANT])

    found = aggregate(head, lines(head, answers, answers, [1], ["ant", None, "bee", "ant"]), 0.5, "r.cases.jsonl")

    assert from_json(to_json(found)) == found
    assert (found.cases_file, found.subjects[0].accuracy is None, found.unreadable is None) == (
        "r.cases.jsonl",
        False,
        False,
    )


@pytest.mark.parametrize("truths", [None, ["ant", None, "bee"]])
def test_accuracy_is_that_of_images_whose_truth_is_known(truths: list[str | None] | None) -> None:
    head = header(3)
    answers = np.array([ANT, DOG, DOG])

    (subject,) = aggregate(head, lines(head, answers, answers, truths=truths), 0.01).subjects

    if truths is None:
        assert subject.accuracy is None
        return
    assert subject.accuracy is not None
    assert (subject.accuracy.images, subject.accuracy.candidate.top1.count) == (2, 1)
    assert {case.image: case.truth for case in subject.cases} == {"0.png": "ant", "1.png": None, "2.png": "bee"}


@pytest.mark.parametrize(("cost", "said"), [(0.4, True), (0.1, False), (None, False)])
def test_a_network_that_fp16_cannot_hold_is_called_so(cost: float | None, said: bool) -> None:
    leg = replace(LEG, precision="fp16", cost=cost)
    expected, answers = np.array([ANT, DOG]), np.array([[0.5, 0.375, 0.125, 0.0], DOG])

    head = header(2, legs=(leg,))
    (subject,) = aggregate(head, lines(head, expected, answers), 0.01).subjects

    assert subject.verdict == "fail"
    assert ("fp16 cannot hold this network" in subject.reason) == said


def test_remarks_on_a_file_are_told() -> None:
    head = header(2, legs=(replace(LEG, remarks=("no class labels",)),))
    (subject,) = aggregate(head, lines(head, np.array([ANT, DOG]), np.array([ANT, DOG])), 0.01).subjects

    assert subject.remarks == ("no class labels",)
