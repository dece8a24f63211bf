"""More images than rounding is measured on, in a run that holds them: what is beyond is looked at again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from io import StringIO
from typing import Any

import numpy as np
import pytest

from conversion import Artifact
from parity.backends.reference import Reference, make_reference, spaced_sample
from parity.core.compare import compare
from parity.core.results import Answer, Case, Environment, Prediction, Run, Subject, from_json, summarise, to_json
from parity.core.tally import tally_of
from parity.core.tolerance import SecondLook, Tolerance
from parity.judging import Judging, judge, judge_prediction, second_look
from parity.report.html import to_html
from parity.report.markdown import to_markdown
from parity.report.terminal import make_console, print_run
from parity.stream.judge_saved import judge_run
from parity.suite.images import ImageSet
from parity.testing.items import _fails
from tests.parity import compressing, sensitive, tiny
from tests.parity.compressing import compressed

EVALUATOR = "coreml-evaluator"
ANSWER = Answer("red", 0.5)
EXCUSED = "images are beyond 0.01, and within what rounding costs PyTorch on that very image"


@cache
def reference(images: int = sensitive.PICTURES) -> Reference:
    pixels = np.stack([np.asarray(sensitive.picture(number)) for number in range(images)])
    return make_reference(sensitive.sensitive(), ImageSet(tuple(f"{n:03}.png" for n in range(images)), pixels))


@cache
def artifact(fault: float = 0.0) -> Artifact:
    return tiny.converted("mlprogram", sensitive.sensitive if not fault else faulty)


def faulty() -> Any:
    return sensitive.sensitive(0.2)


@cache
def sound() -> Subject:
    return judge(reference(), artifact(), EVALUATOR)


def bright(subject: Subject) -> dict[str, Any]:
    names = {f"{number:03}.png" for number in sensitive.BRIGHT}
    return {case.image: case for case in subject.cases if case.image in names}


def test_the_bright_pictures_are_not_among_those_that_are_measured() -> None:
    assert sorted({*range(sensitive.PICTURES)} - {*spaced_sample(sensitive.PICTURES)}) == list(sensitive.BRIGHT)
    assert list(spaced_sample(5)) == [0, 1, 2, 3, 4]
    assert list(spaced_sample(0)) == []
    assert len(spaced_sample(50_000)) == 64


def test_a_sound_file_passes_where_rounding_moves_single_images() -> None:
    found = sound()

    assert (found.verdict, found.tolerance, found.measured_on) == ("pass", 0.01, 64)
    assert "on 64 images, evenly spaced over all 70 (" in found.tolerance_reason
    assert (found.max_abs_diff or 0.0) > 0.01
    own = [case for case in found.cases if case.own_allowed is not None]
    assert {case.image for case in own} <= bright(found).keys()
    assert found.excused == len(own) > 0
    assert all(case.max_abs_diff < case.own_allowed <= 0.05 for case in own)


def test_a_fault_is_caught_although_images_are_sensitive() -> None:
    found = judge(reference(), artifact(0.2), EVALUATOR)

    assert found.verdict == "fail"
    assert "drift of 70 image(s)" in found.reason
    # All bright pictures are moved, by less than is allowed on the most sensitive ones.
    assert all(0.01 < case.max_abs_diff < 0.03 for case in bright(found).values())


def test_without_a_second_look_the_sound_file_would_fail() -> None:
    given = Judging(tolerance=Tolerance(0.01))

    assert judge(reference(), artifact(), EVALUATOR, given).verdict == "fail"


def test_of_up_to_64_images_all_are_measured_and_none_needs_a_second_look() -> None:
    found = judge(reference(64), artifact(), EVALUATOR)

    assert (found.measured_on, found.excused) == (64, 0)
    assert "on these images (" in found.tolerance_reason


@pytest.mark.parametrize(("cost", "verdict", "excused"), [(0.01, "pass", 1), (0.002, "fail", 0)])
def test_of_few_images_one_beyond_passes_where_rounding_moves_it_as_far(
    cost: float, verdict: str, excused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.judging.own_cost", lambda *anything: lambda place, draw: cost)
    answers = reference(8).prediction
    moved = answers.probabilities.copy()
    moved[3] += np.array([0.02, -0.01, -0.01])

    judged = judge_prediction(reference(8), artifact(), EVALUATOR, Prediction(moved, answers.labels))

    assert (judged.verdict, judged.excused, judged.measured_on) == (verdict, excused, 8)


def test_too_many_that_are_excused_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fault that moves every tenth image by 0.02, each of which is said to be as sensitive as that.
    monkeypatch.setattr("parity.judging.own_cost", lambda *anything: lambda place, draw: 0.01)
    answers = reference().prediction
    moved = answers.probabilities.copy()
    moved[::7] += np.array([0.02, -0.01, -0.01])

    found = judge_prediction(reference(), artifact(), EVALUATOR, Prediction(moved, answers.labels))

    assert found.verdict == "fail"
    assert found.reason.startswith("10 of 70 images are beyond 0.01 where at most 7 are expected")
    assert (found.excused, [case.verdict for case in found.cases].count("match")) == (10, 70)


def test_where_the_cost_of_an_image_cannot_be_measured_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*anything: object) -> float:
        raise RuntimeError("written for fp32 alone")

    monkeypatch.setattr("parity.judging.own_cost", lambda *anything: fails)

    found = judge(reference(), artifact(), EVALUATOR)

    assert (found.verdict, found.excused) == ("fail", 0)
    assert all(case.own_allowed is None for case in found.cases)


def test_in_pytest_the_excused_images_fail_where_they_are_too_many() -> None:
    drifting, excused, other = (
        Case(name, verdict, ANSWER, ANSWER, 0.02, own_allowed=own)
        for name, verdict, own in (("a", "drift", None), ("b", "match", 0.03), ("c", "match", None))
    )
    too_many = replace(sound(), verdict="fail", cases=(excused, other))
    one_drifts = replace(sound(), verdict="fail", cases=(drifting, excused, other))

    assert [_fails(too_many, case) for case in too_many.cases] == [True, False]
    assert [_fails(one_drifts, case) for case in one_drifts.cases] == [True, False, False]


# Compressed weights


@pytest.mark.parametrize(("moved", "fails"), [(0.0, False), (0.12, True)])
def test_an_image_is_excused_by_what_the_files_compression_costs_on_it(moved: float, fails: bool) -> None:
    file, model = compressed("int8"), compressing.reference()
    answers = compressing.answers(file).astype(np.float64)
    answers[:, 0] += moved
    # So strict that compression alone is beyond it on each picture.
    allowed = Tolerance(1e-4, cost=3e-5, compressed="int8 weights", second=SecondLook(3.0, 0.15, 64))
    labels = model.prediction.labels
    cases = compare(model.prediction, Prediction(answers, labels), allowed, model.images.names).cases
    assert {case.verdict for case in cases} <= {"drift", "flip"}

    again = second_look(model.model, file, allowed)(cases, model.images.pixels, *model.numbers)

    assert (tally_of(again).failing > 0) == fails
    assert all(one.own_allowed is None or one.own_allowed <= 0.15 for one in again)


# Saved results


def run_of(subject: Subject) -> Run:
    return Run(Environment("3.11", "Linux", {}), (subject,), summary=summarise((subject,)))


def test_saved_results_are_judged_again_as_they_were() -> None:
    saved = from_json(to_json(run_of(sound())))

    assert judge_run(saved).subjects == (sound(),)
    assert judge_run(saved, 0.01).subjects == (sound(),)


def test_a_tolerance_that_somebody_gives_holds_for_all_images() -> None:
    (stricter,) = judge_run(run_of(sound()), 0.0105).subjects
    (wider,) = judge_run(run_of(sound()), 0.04).subjects

    assert (stricter.verdict, stricter.excused, stricter.measured_on) == ("fail", 0, 0)
    assert (wider.verdict, wider.excused) == ("pass", 0)
    assert all(case.own_allowed is None for case in (*stricter.cases, *wider.cases))


# Reports


def test_every_report_says_it_in_one_sentence() -> None:
    run = run_of(sound())
    printed = StringIO()
    print_run(run, make_console(printed))

    for text in (printed.getvalue(), to_markdown(run), to_html(run)):
        assert text.count(f"{sound().excused} of 70 {EXCUSED}; at most 7 are expected") == 1


def test_without_such_images_no_report_speaks_of_them() -> None:
    printed = StringIO()
    print_run(run_of(replace(sound(), excused=0)), make_console(printed))

    assert "that very image" not in printed.getvalue()
