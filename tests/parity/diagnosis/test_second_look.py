"""More images than rounding is measured on: a repair is judged as the run was, with its second look."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from conversion import Artifact, Classifier
from parity.backends.reference import Reference, make_reference
from parity.core.results import Comparison, Subject
from parity.core.tolerance import SecondLook, Tolerance
from parity.diagnosis.causes import Explainer, examine
from parity.diagnosis.second_look import judging_again
from parity.judging import Judging, judge_with_prediction
from parity.report.explanation import how_it_knows
from parity.suite.images import ImageSet
from tests.parity import sensitive, tiny

EVALUATOR = "coreml-evaluator"


@cache
def reference(images: int = sensitive.PICTURES) -> Reference:
    pixels = np.stack([np.asarray(sensitive.picture(number)) for number in range(images)])
    return make_reference(sensitive.sensitive(), ImageSet(tuple(f"{n:03}.png" for n in range(images)), pixels))


def renamed() -> Classifier:
    """Make the classifier with its labels in another order: the only fault of its file."""
    return replace(sensitive.sensitive(), labels=("green", "blue", "red"))


def renamed_and_moved() -> Classifier:
    """Move the answers to bright pictures too, by more than rounding costs on them."""
    return replace(sensitive.sensitive(0.2), labels=("green", "blue", "red"))


@cache
def explained(make: object, tolerance: float | None = None) -> Subject:
    file = artifact(make)
    judging = Judging(None if tolerance is None else Tolerance(tolerance))
    subject, answers = judge_with_prediction(reference(), file, EVALUATOR, judging)
    assert subject.verdict == "fail"
    return Explainer(thorough=True)(subject, reference(), file, answers)


def artifact(make: object) -> Artifact:
    return tiny.converted("mlprogram", make)  # type: ignore[arg-type]


def test_a_cause_is_confirmed_where_what_is_left_is_excused() -> None:
    subject = explained(renamed)

    assert [(d.fault, d.confirmed) for d in subject.diagnoses] == [("lab-off-by-one-background", True)]
    (helped,) = (attempt for attempt in subject.attempts if attempt.restores)
    # Beyond the tolerance, and within what rounding costs PyTorch on the bright pictures.
    assert subject.tolerance == 0.01 < (helped.left or 0.0) < 0.05
    assert helped.images == 70
    assert helped.reason.endswith("image(s) beyond it, within what rounding costs on that very image")
    assert f"parity holds ({helped.reason})" in "\n".join(how_it_knows(subject))


def test_a_tolerance_that_somebody_gives_excuses_nothing() -> None:
    subject = explained(renamed, 0.01)

    alone = [attempt for attempt in subject.attempts if attempt.faults == ("lab-off-by-one-background",)]
    assert [(attempt.restores, attempt.images) for attempt in alone] == [(False, 70)]
    # fp16 is to blame too, then.
    assert {d.fault for d in subject.diagnoses if d.confirmed} == {"lab-off-by-one-background", "p-fp16-drift"}


def test_what_moves_more_than_rounding_does_is_not_excused() -> None:
    subject = explained(renamed_and_moved)

    assert not any(diagnosis.confirmed for diagnosis in subject.diagnoses)


def judged(subject: Subject, rows: slice, moved: float, against: Reference) -> Comparison:
    """Judge answers again that are PyTorch's own, but for every seventh, which is moved."""
    from parity.core.compare import compare

    again = judging_again(subject, against, artifact(sensitive.sensitive))
    assert again is not None
    part = replace(
        against,
        images=ImageSet(against.images.names[rows], against.images.pixels[rows]),
        prediction=against.prediction.of(rows),
    )
    answers = part.prediction.probabilities.copy()
    answers[::7] += moved * np.array([1.0, -0.5, -0.5])
    candidate = replace(part.prediction, probabilities=answers, outputs={})
    strict = compare(part.prediction, candidate, Tolerance(subject.tolerance or 0.0), part.images.names)
    return again(part, strict)


@pytest.mark.parametrize(("rows", "verdict"), [(slice(0, 69), "pass"), (slice(0, 70), "fail")])
def test_of_all_images_no_more_are_excused_than_chance_explains(
    rows: slice, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.backends.own_cost.own_cost", lambda *anything: lambda place, draw: 0.01)
    subject = replace(explained(renamed), tolerance=0.01)

    again = judged(subject, rows, 0.02, reference())

    assert again.verdict == verdict
    assert all(case.verdict == "match" for case in again.cases)
    assert verdict == "pass" or again.reason.startswith("10 of 70 images are beyond 0.01 where at most 7 are")


def test_the_scale_of_a_run_is_that_of_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.backends.own_cost.own_cost", lambda *anything: lambda place, draw: 0.01)
    subject = replace(explained(renamed), tolerance=0.001)

    # Of three times half as much again as 0.01 a tenth is left.
    assert judged(subject, slice(0, 8), 0.02, reference()).verdict == "fail"
    assert judged(subject, slice(0, 8), 0.004, reference()).verdict == "pass"


def test_without_a_second_look_there_is_none_here() -> None:
    subject = replace(explained(renamed), measured_on=0)

    assert judging_again(subject, reference(), artifact(renamed)) is None


@pytest.mark.parametrize(("make", "looks"), [(renamed, True), (sensitive.sensitive, False)])
def test_of_chosen_images_that_are_all_excused_the_tolerance_alone_decides(make: object, looks: bool) -> None:
    # Such a leg fails by the number of those that are excused: with a second look nothing would be wrong.
    allowed = Tolerance(0.01, cost=1e-3, second=SecondLook(3.0, 0.05, 64))
    subject, answers = judge_with_prediction(reference(), artifact(make), EVALUATOR, Judging(Tolerance(0.01)))
    assert (subject.verdict, subject.measured_on) == ("fail", 0)

    examination = examine(subject, reference(), artifact(make), answers, allowed=allowed)

    assert (examination.candidate.judge_again is not None) is looks
