"""What is asked of a gate, and what its verdict does to a run's exit code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.core.accuracy import Accuracy, Calibration, Change, Correctness, Share
from parity.core.compare import assert_parity, summary_line
from parity.core.errors import ParityError
from parity.core.gate import UNCHANGED, Decides, Gate, GateChange, GateResult, GateVerdict, tell_gate
from parity.core.results import Environment, KnownIssue, Part, Run, Subject, Unreadable, Verdict, summarise
from parity.core.results_soundness import check_run, gate_trouble

GATE = Gate(0.002)
RESULTS: dict[GateVerdict, GateResult] = {
    "pass": GateResult("pass", 0.002, 0.95, "", 10_000, 0.0005, -0.0002, 0.0012),
    "fail": GateResult("fail", 0.002, 0.95, "", 10_000, 0.01, 0.008, 0.0125),
    "inconclusive": GateResult("inconclusive", 0.002, 0.95, "too few images", 10_000, 0.001, -0.001, 0.003, 20_000),
}


def subject(verdict: Verdict, gate: GateVerdict | None, known: bool = False) -> Subject:
    issue = KnownIssue("expected", "") if known else None
    return Subject(
        "m", "onnx", "m.onnx", "onnxruntime", "fp32", verdict, known_issue=issue, gate=gate and RESULTS[gate]
    )


def run(*subjects: Subject, decides: Decides = "both", **more: object) -> Run:
    gate = Gate(0.002, decides=decides)
    return Run(Environment("3", "x", {}), subjects, summary=summarise(subjects), gate=gate, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parity", "gate", "both", "accuracy", "alone"),
    [
        ("pass", "pass", 0, 0, 0),
        ("fail", "pass", 1, 0, 1),
        ("pass", "fail", 1, 1, 0),
        ("pass", "inconclusive", 3, 3, 0),
        ("inconclusive", "pass", 3, 0, 3),
        ("inconclusive", "fail", 1, 1, 3),
        ("fail", "inconclusive", 1, 3, 1),
        ("error", None, 1, 1, 1),
        ("skipped", None, 3, 3, 3),
    ],
)
def test_the_question_that_decides_gives_the_exit_code(
    parity: Verdict, gate: GateVerdict | None, both: int, accuracy: int, alone: int
) -> None:
    one = subject(parity, gate)

    codes = {decides: run(one, decides=decides).exit_code for decides in ("both", "accuracy", "parity")}  # type: ignore[arg-type]
    assert codes == {"both": both, "accuracy": accuracy, "parity": alone}


def test_a_gate_that_nothing_was_judged_by_does_not_pass() -> None:
    assert run(subject("pass", None)).exit_code == 3


def test_a_known_issue_of_parity_excuses_no_loss_of_accuracy() -> None:
    good = subject("pass", "pass")

    assert run(good, subject("fail", "pass", known=True)).exit_code == 0
    assert run(good, subject("fail", "fail", known=True)).exit_code == 1
    assert run(good, subject("error", None, known=True)).exit_code == 0


def test_a_part_of_the_images_is_asked_for_parity_alone() -> None:
    part = Part(1, 2)

    assert run(subject("pass", None), shard=part).exit_code == 0
    assert run(subject("pass", None), shard=part, decides="accuracy").exit_code == 3
    assert summary_line(run(subject("pass", None), shard=part)).startswith(
        "parity holds on shard 1/2 of the images:"
    )


def test_images_that_could_not_be_read_fail_both() -> None:
    lost = Unreadable(5, 0.5, 0.01)

    assert run(subject("pass", "pass"), unreadable=lost, decides="accuracy").exit_code == 1


@pytest.mark.parametrize(
    ("parity", "gate", "decides", "told"),
    [
        ("pass", "pass", "both", "parity holds, accuracy is kept: 1 pass; gate: 1 pass"),
        ("fail", "pass", "both", "parity does not hold, accuracy is kept: 1 fail; gate: 1 pass"),
        ("pass", "fail", "parity", "parity holds, accuracy is not kept (parity decides): 1 pass; gate: 1 fail"),
        (
            "pass",
            "inconclusive",
            "accuracy",
            "parity holds, accuracy is not shown to be kept (accuracy decides): 1 pass; gate: 1 inconclusive",
        ),
    ],
)
def test_the_last_line_answers_both_questions(
    parity: Verdict, gate: GateVerdict, decides: Decides, told: str
) -> None:
    assert summary_line(run(subject(parity, gate), decides=decides)) == told


def test_a_verdict_is_told_with_the_bound_that_decides_it() -> None:
    assert tell_gate(RESULTS["pass"]) == (
        "loses 0.050 points of accuracy, with 95 % confidence at most 0.120; 0.2 may be lost"
    )
    assert "with 95 % confidence at least 0.800; 0.2 may be lost" in tell_gate(RESULTS["fail"])
    assert tell_gate(RESULTS["inconclusive"]).endswith(
        "at least -0.100, and at most 0.300; 0.2 may be lost: too few images"
    )
    assert tell_gate(GateResult("inconclusive", 0.002, 0.95, "no labels")) == "no labels"


def test_an_assertion_names_the_loss() -> None:
    with pytest.raises(AssertionError, match="m by onnx on onnxruntime: accuracy: fail: loses 1.000 points"):
        assert_parity(run(subject("pass", "fail")))
    assert_parity(run(subject("pass", "fail"), decides="parity"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"accuracy_loss": 0.0}, "accuracy_loss of a gate is 0; give a number above 0 and below 1"),
        ({"accuracy_loss": 1.0}, "accuracy_loss of a gate is 1"),
        ({"accuracy_loss": float("nan")}, "accuracy_loss of a gate is nan"),
        (
            {"accuracy_loss": 0.1, "confidence": 0.5},
            "confidence of a gate is 0.5; give a number above 0.5 and below 1",
        ),
        ({"accuracy_loss": 0.1, "threshold": 1.0}, "threshold of a gate is 1"),
    ],
)
def test_a_gate_of_impossible_numbers_is_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(ParityError, match=told):
        Gate(**values)  # type: ignore[arg-type]


def test_what_is_wanted_goes_over_what_is_asked() -> None:
    assert UNCHANGED.over(None) is None
    assert UNCHANGED.over(GATE) == GATE
    assert GateChange(decides="parity").over(None) is None
    assert GateChange(accuracy_loss=0.01, threshold=0.6).over(None) == Gate(0.01, threshold=0.6)
    assert GateChange(confidence=0.99, decides="accuracy").over(GATE) == Gate(0.002, 0.99, decides="accuracy")


@pytest.mark.parametrize(
    ("change", "option"),
    [
        (GateChange(confidence=0.9), "--confidence 0.9"),
        (GateChange(threshold=0.6), "--threshold 0.6"),
        (GateChange(decides="accuracy"), "--gate accuracy"),
        (GateChange(decides="both"), "--gate both"),
    ],
)
def test_a_change_of_no_gate_is_refused(change: GateChange, option: str) -> None:
    with pytest.raises(ParityError, match=f"{option}: there is no gate on accuracy; give --accuracy-loss"):
        change.over(None)


# Saved verdicts

SIDE = Correctness(Share(1_000, 10_000, 0.1, 0.0, 1.0), Share(1_000, 10_000, 0.1, 0.0, 1.0), Calibration(None, ()))
ACCURACY = Accuracy(10_000, SIDE, SIDE, Change(-0.0005, -0.1, 0.1, 12, 7, 0.5), ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"loss": 0.001}, "gate.loss is 0.001 of 10000 images, and accuracy says 0.0005 of 10000"),
        ({"images": 8_000}, "gate.loss is 0.0005 of 8000 images"),
        ({"high": 0.0021}, "gate is pass, with a loss from -0.0002 to 0.0021 where 0.002 is allowed"),
        ({"high": 0.0004}, "and the loss is 0.0005"),
        ({"verdict": "fail"}, "gate is fail, with a loss from -0.0002 to 0.0012 where 0.002 is allowed"),
        ({"loss": None}, "and how often the two are right is not there"),
    ],
)
def test_a_saved_verdict_is_that_of_its_numbers(change: dict[str, Any], told: str) -> None:
    found = list(gate_trouble(replace(RESULTS["pass"], **change), ACCURACY))

    assert (told in found[0]) if told else found == []


def test_a_saved_pass_without_labels_is_refused() -> None:
    (told,) = gate_trouble(replace(RESULTS["pass"], loss=None), None)

    assert told.endswith("how often the two are right is not there")
    assert list(gate_trouble(GateResult("inconclusive", 0.002, 0.95, "no labels"), None)) == []


def test_a_saved_run_asks_for_the_gate_that_its_verdicts_are_of() -> None:
    unknown = replace(subject("skipped", None), gate=GateResult("inconclusive", 0.01, 0.95, "no labels"))

    with pytest.raises(ParityError, match="a gate has the margin 0.01 at 0.95, and the run asks for another"):
        check_run(Path("r.json"), run(unknown))
