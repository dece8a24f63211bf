"""Outputs of other kinds than class probabilities: measured by their metric, each an entry of the case."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.task import CLASS_PROBABILITIES, PROBABILITIES, OutputSpec
from parity import ParityError, Tolerance, compare
from parity.core.cases import judge_case_again
from parity.core.compare import assert_parity
from parity.core.metric import METRICS, Measurement, Metric, metric_of
from parity.core.results import Environment, Prediction, Run, Subject, summarise
from parity.core.results_soundness import check_run
from parity.core.variety import bounds_of
from tests.parity.tasks import DENSE, DEPTH, MASK, dense

IMAGES = ("a.png", "b.png")
RIGHT = [[0.0, 0.5], [1.0, 0.5]]


@pytest.fixture(autouse=True)
def _dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)


def test_the_mean_is_what_is_judged() -> None:
    found = compare(dense(MASK, mask=RIGHT), dense(mask=[[0.0, 0.5], [1.0, 0.75]]), Tolerance(0.1), IMAGES)

    assert (found.verdict, found.reason) == ("fail", "1 drift of 2 image(s)")
    assert [(case.verdict, case.max_abs_diff) for case in found.cases] == [("match", 0.0), ("drift", 0.125)]
    assert found.cases[1].outputs[0].detail == {"largest": 0.25}
    assert (found.max_abs_diff, found.required_tolerance, found.top1_agreement) == (0.125, 0.125, 1.0)
    assert compare(dense(MASK, mask=RIGHT), dense(mask=RIGHT), Tolerance(0.1), IMAGES).verdict == "pass"


def test_of_several_outputs_the_worst_decides() -> None:
    reference = dense(MASK, DEPTH, mask=RIGHT, depth=[[0.0], [1.0]])

    found = compare(reference, dense(mask=RIGHT, depth=[[0.0], [0.5]]), Tolerance(0.1), IMAGES)

    assert [case.verdict for case in found.cases] == ["match", "drift"]
    assert [one.verdict for one in found.cases[1].outputs] == ["match", "drift"]
    assert [output.name for output in found.outputs] == ["mask", "depth"]
    assert found.cases[1].max_abs_diff == 0.5


def test_class_probabilities_beside_another_output_keep_their_fields() -> None:
    labels = ("ant", "bee")
    classes = OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, labels)
    rows = np.array([[0.9, 0.1], [0.2, 0.8]])
    outputs = {CLASS_PROBABILITIES: rows, "depth": np.array([[0.0], [1.0]])}
    reference = Prediction(outputs=outputs, labels=labels, specs=(classes, DEPTH))

    same = compare(reference, Prediction(outputs=outputs), Tolerance(0.1), IMAGES)
    flipped = compare(reference, Prediction(rows[:, ::-1], outputs=outputs), Tolerance(0.1), IMAGES)

    assert (same.verdict, same.cases[0].reference.label, same.cases[0].top5_overlap) == ("pass", "ant", 1.0)
    assert [one.distance for one in same.cases[0].outputs] == [0.0, 0.0]
    assert [case.verdict for case in flipped.cases] == ["flip", "flip"]
    assert [one.verdict for one in flipped.cases[0].outputs] == ["flip", "match"]


def test_what_has_no_finite_distance_is_an_error() -> None:
    found = compare(dense(MASK, mask=RIGHT), dense(mask=[[0.0, 0.5], [math.nan, 0.5]]), Tolerance(0.1), IMAGES)

    assert [case.verdict for case in found.cases] == ["match", "error"]
    assert found.cases[1].reason == "`mask`: the two have no finite distance"
    assert (found.cases[1].max_abs_diff, found.required_tolerance) == (None, None)


@pytest.mark.parametrize(
    ("margin", "distance", "verdict"), [(0.01, 0.01, "tie"), (0.3, 0.08, "flip"), (None, 0.08, "flip")]
)
def test_another_answer_is_a_tie_or_a_flip_by_its_margin(
    margin: float | None, distance: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        METRICS,
        "dense",
        replace(DENSE, measure=lambda *_: iter([Measurement(distance, same_answer=False, margin=margin)] * 2)),
    )

    found = compare(dense(MASK, mask=RIGHT), dense(mask=RIGHT), Tolerance(0.1), IMAGES)

    assert [case.verdict for case in found.cases] == [verdict] * 2
    assert found.top1_agreement == 0.0


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ([[0.5, 0.5], [0.5, 0.625]], r"the same for every image, within 3\.1e-02 where 0\.1 is allowed"),
        ([[0.5, 0.5]], "one image was compared"),
    ],
)
def test_agreement_with_answers_that_are_alike_proves_nothing(reference: Any, told: str) -> None:
    import re

    found = compare(dense(MASK, mask=reference), dense(mask=reference), Tolerance(0.1), IMAGES[: len(reference)])

    assert found.verdict == "inconclusive"
    assert re.search(told, found.reason)


def test_one_output_of_several_that_varies_is_enough() -> None:
    reference = dense(MASK, DEPTH, mask=[[0.5], [0.5]], depth=[[0.0], [1.0]])

    assert compare(reference, replace(reference, specs=()), Tolerance(0.1), IMAGES).verdict == "pass"


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        (dense(other=RIGHT), "no output `mask`; the outputs are other"),
        (dense(mask=[[0.0], [1.0]]), "outputs of shape [2, 1], not [2, 2]"),
    ],
)
def test_outputs_that_cannot_be_matched_fail(candidate: Prediction, told: str) -> None:
    found = compare(dense(MASK, mask=RIGHT), candidate, Tolerance(0.1), IMAGES)

    assert (found.verdict, found.reason, found.cases) == ("fail", told, ())


def test_a_reference_of_too_few_rows_is_refused() -> None:
    with pytest.raises(ParityError, match=r"output `mask` has the shape \[1, 2\] for 2 images; give one row"):
        compare(dense(MASK, mask=RIGHT[:1]), dense(mask=RIGHT), Tolerance(0.1), IMAGES)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ParityError, match=r"the kind `probability`; did you mean probabilities\? .*METRICS"):
        metric_of("probability")


def drifted() -> Subject:
    found = compare(dense(MASK, mask=RIGHT), dense(mask=[[0.0, 0.5], [1.0, 0.75]]), Tolerance(0.1), IMAGES)
    return Subject(
        "toy",
        "-",
        "toy.onnx",
        "onnxruntime",
        "fp32",
        found.verdict,
        found.reason,
        images=2,
        top1_agreement=found.top1_agreement,
        max_abs_diff=found.max_abs_diff,
        tolerance=found.tolerance,
        required_tolerance=found.required_tolerance,
        cases=found.cases,
        outputs=found.outputs,
    )


def run_of(subject: Subject) -> Run:
    return Run(Environment("3.11", "Linux", {}), (subject,), summary=summarise((subject,)))


def test_the_message_names_the_output_and_its_distance() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_parity(run_of(drifted()))

    assert str(raised.value).splitlines()[1:] == [
        "  worst image b.png (drift)",
        "  output `mask`: mean |Δ| 0.125, allowed 0.1",
        "  a tolerance of 0.125 would have passed",
    ]


def test_a_case_is_judged_again_by_its_entries() -> None:
    case = drifted().cases[1]

    again = judge_case_again(case, 0.2)

    assert (again.verdict, [one.verdict for one in again.outputs]) == ("match", ["match"])
    assert judge_case_again(again, 0.1) == case


def changed(**entry: Any) -> Subject:
    subject = drifted()
    case = subject.cases[1]
    outputs = (replace(case.outputs[0], **entry),)
    return replace(subject, cases=(subject.cases[0], replace(case, outputs=outputs)))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"distance": 0.25}, "max_abs_diff is 0.125, and that of the outputs is 0.25"),
        ({"distance": -1.0}, "distance of `mask` is -1, and a distance is at least 0"),
        ({"distance": None}, "max_abs_diff is 0.125, and that of the outputs is None"),
        ({"margin": math.inf}, "margin of `mask` is inf, which is no number"),
        ({"detail": {"largest": math.nan}}, "largest of `mask` is nan, which is no number"),
    ],
)
def test_saved_entries_that_contradict_themselves_are_refused(entry: dict[str, Any], told: str) -> None:
    check_run(Path("r.json"), run_of(drifted()))

    with pytest.raises(ParityError) as raised:
        check_run(Path("r.json"), run_of(changed(**entry)))

    assert told in str(raised.value)


def test_rows_of_a_prediction_are_those_of_all_its_outputs() -> None:
    labels = ("ant", "bee")
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    found = Prediction(rows, labels, ("ant", "bee", "ant"), "there", True, (1, 2)).of([0, 2])

    assert found.probabilities.tolist() == [[0.9, 0.1], [0.5, 0.5]]
    assert found.outputs[CLASS_PROBABILITIES] is found.probabilities
    assert (found.labels, found.top1, found.source, found.same_pixels) == (labels, ("ant", "ant"), "there", True)
    assert dense(MASK, mask=RIGHT).of(slice(1, 2)).outputs["mask"].tolist() == RIGHT[1:]


def test_other_probabilities_are_the_output_too() -> None:
    one = Prediction(np.array([[0.9, 0.1]]), ("ant", "bee"))

    other = replace(one, probabilities=np.array([[0.2, 0.8]]))

    assert other.outputs[CLASS_PROBABILITIES].tolist() == [[0.2, 0.8]]


def test_the_only_output_is_what_the_probabilities_are_whatever_its_name() -> None:
    rows, others = np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])
    one = Prediction(outputs={"tags": rows})

    assert one.probabilities is rows
    assert list(replace(one, probabilities=others).outputs) == ["tags"]
    assert replace(one, probabilities=others).outputs["tags"] is others
    assert one.answering({"tags": others}).probabilities is others


def test_of_two_outputs_none_is_the_probabilities_unless_its_name_says_so() -> None:
    rows, mask = np.array([[0.9, 0.1]]), np.zeros((1, 2, 2))

    assert Prediction(outputs={"tags": rows, "mask": mask}).probabilities.size == 0
    assert Prediction(outputs={"mask": mask, CLASS_PROBABILITIES: rows}).probabilities is rows


def test_bounds_add_up() -> None:
    rows = np.array([[0.0, 0.25], [0.5, 0.25], [1.0, 0.75]])

    merged = bounds_of(rows[:1]).merge(bounds_of(rows[1:]))

    assert (merged.images, merged.low.tolist(), merged.high.tolist()) == (3, [0.0, 0.25], [1.0, 0.75])
    assert merged.lacking(0.5) == bounds_of(rows).lacking(0.5) != ""
    assert merged.lacking(0.49) == ""
    # The mean of 0.5 and 0.25 is what one answer in the middle is apart by that metric.
    assert bounds_of(rows, np.mean).lacking(0.374) == ""
    assert bounds_of(rows, np.mean).lacking(0.376) != ""


def test_what_the_reference_is_known_to_lose_is_the_metrics_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.core.compare import with_exact_sums

    metric: Metric = replace(DENSE, exact=np.round, exact_told="off by {lost:g} in {size}, {allowed:g} allowed")
    monkeypatch.setitem(METRICS, "dense", metric)
    both = dense(MASK, mask=[[0.0], [0.75]]), dense(mask=[[0.0], [1.0]]), Tolerance(0.1), IMAGES

    found, told = with_exact_sums(*both, compare(*both))

    assert (compare(*both).verdict, found.verdict, told) == ("fail", "pass", "off by 0.25 in 1, 0.1 allowed")
