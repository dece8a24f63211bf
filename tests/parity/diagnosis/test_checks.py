"""How an explanation knows: each step says what was measured, or that nobody looked, in the order of the steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from conversion import Artifact
from parity.backends.reference import Reference
from parity.core.errors import ParityError
from parity.core.evidence import Attempt, Check
from parity.core.results import Subject
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.diagnosis.checks import check_comparison, checks_of
from parity.diagnosis.types import WeightFinding
from parity.diagnosis.weights import WeightAudit
from parity.judging import Judging, judge_with_prediction
from parity.report.explanation import how_it_knows
from tests.parity.diagnosis.faulty import (
    behind_all,
    broken,
    change_weight,
    examined,
    good,
    node,
    reference,
    rejudged,
    set_attribute,
    swapped,
    without_softmax,
)
from tests.parity.tiny import tiny

ONNX = "onnx-torchscript"


def scaled(model: Any) -> None:
    change_weight(model, "module.wide.weight", lambda was: 1.5 * was)


def padding_counts(model: Any) -> None:
    set_attribute(node(model, "AveragePool"), "count_include_pad", 1)


def next_label(model: Any) -> None:
    for name in ("module.head.weight", "module.head.bias"):
        change_weight(model, name, lambda was: np.roll(was, 1, 0))


def nothing(model: Any) -> None:
    """Leave a model as it is."""


def known(artifact: Artifact, against: Reference, tolerance: float | None = None) -> Subject:
    """Explain an artefact as `parity explain` does."""
    judging = Judging(None if tolerance is None else Tolerance(tolerance))
    subject, answers = judge_with_prediction(against, artifact, "onnxruntime", judging)
    return Explainer(thorough=True)(subject, against, artifact, answers)


def without_rounding(line: str) -> str:
    """Put a word in the place of numbers that are rounding alone, and differ from one processor to another."""
    return re.sub(r"\d\.\de-0[789]", "noise", line)


ALLOWED = (
    "allowed 1.0e-05 (fp32 ONNX: rounding of another order of additions: 3 times what the PyTorch module in fp32 "
    "is off float64 on these images (noise), at least 1e-05, at most 0.0001)"
)
COMPARED = (
    "8 image(s) of 48x48: the same pixels went into PyTorch and `mixed.onnx`; classes are matched by label; "
    "|dp| up to"
)
SAME_INPUT = (
    "  input: pixels 0..254; of a test picture the network reads what PyTorch's does: -2.05..2.61, "
    "mean (0.276, 0.151, 0.541), std (0.991, 0.94, 0.972)"
)
SAME_WEIGHTS = "  weights: 12 of 12 equal"
SAME_HEAD = "  head and labels: 12 labels equal, in the same order; an image's numbers add up to 1, the least is "
TRAINING = (
    "does not help (suspected: BatchNorm runs on batch statistics: PyTorch in training mode answers as the file "
    "does; the model was exported in training mode)"
)


@pytest.mark.parametrize(
    ("break_it", "tolerance", "expected"),
    [
        pytest.param(
            scaled,
            None,
            [
                f"  comparison: differs: {COMPARED} 1.4e-01, 8 of 8 fail; {ALLOWED}",
                SAME_INPUT,
                "  weights: differs: 11 of 12 equal; `module.wide.weight` of `/module/wide/Conv` (Conv), which "
                "should come from `wide`, is 1.5 times what it should be (SNR 6.0 dB)",
                "  operations: differs: first of those that read what PyTorch's read: operation 7 of 22, "
                "`/module/wide/Conv` (Conv), which is convolution of `wide`: 16 of 16 channels: ",
                SAME_HEAD,
                "  tried: without wt-scaled |dp| noise is left on 8 image(s): parity holds",
            ],
            id="a weight",
        ),
        pytest.param(
            swapped,
            None,
            [
                f"  comparison: differs: {COMPARED} 5.0e-01, 6 of 8 fail; {ALLOWED}",
                "  input: differs: pixels 0..254; of a test picture the network reads -2.07..2.61, "
                "mean (0.187, 0.151, 0.632), std (0.955, 0.94, 1.01), PyTorch's -2.05..2.61, "
                "mean (0.276, 0.151, 0.541), std (0.991, 0.94, 0.972)",
                SAME_WEIGHTS,
                "  operations: differs: first of those that read what PyTorch's read: operation 1 of 23, "
                "`faulty image` (Gather): PyTorch has no such operation here; its result 2 of 3 channels changed "
                "places (0 has 2's, 2 has 0's); it is off by 0.78 of its size",
                SAME_HEAD,
                "  tried: without pre-bgr-swap |dp| noise is left on 8 image(s): parity holds",
            ],
            id="the input",
        ),
        pytest.param(
            padding_counts,
            None,
            [
                f"  comparison: differs: {COMPARED} 4.6e-02, 8 of 8 fail; {ALLOWED}",
                SAME_INPUT,
                SAME_WEIGHTS,
                "  operations: differs: first of those that read what PyTorch's read: operation 6 of 22, "
                "`/module/pool/AveragePool` (AveragePool), which is avg_pool2d of `pool`: differs at the border "
                "alone (top, left, 1 pixel(s) wide); it is off by 0.16 of its size",
                SAME_HEAD,
                "  tried: without g-avgpool-include-pad |dp| noise is left on 8 image(s): parity holds",
                f"  tried: without mode-train-bn |dp| 3.4e-01 is left on the 2 worst: {TRAINING}",
            ],
            id="an operation",
        ),
        pytest.param(
            next_label,
            None,
            [
                f"  comparison: differs: {COMPARED} 4.2e-01, 8 of 8 fail; {ALLOWED}",
                SAME_INPUT,
                "  weights: differs: 10 of 12 equal; `module.head.weight` of `/module/head/Gemm` (Gemm), which "
                "should come from `head`, has its output channels in another order (12 of 12 moved: ",
                "  operations: not looked at: the labels are wrong",
                SAME_HEAD,
                "  tried: without lab-off-by-one-background |dp| noise is left on 8 image(s): parity holds",
            ],
            id="the labels",
        ),
        pytest.param(
            nothing,
            1e-9,
            [
                f"  comparison: differs: {COMPARED} noise, 8 of 8 fail; allowed noise (given)",
                SAME_INPUT,
                SAME_WEIGHTS,
                "  operations: none of 22 computes otherwise than PyTorch's of the same inputs, as far as can be "
                "compared",
                SAME_HEAD,
                "  tried: nothing helps",
                f"  tried: without mode-train-bn |dp| 3.1e-01 is left on the 2 worst: {TRAINING}",
            ],
            id="nothing",
        ),
    ],
)
def test_each_step_says_what_was_measured(
    break_it: Callable[[Any], None], tolerance: float | None, expected: list[str]
) -> None:
    subject = known(broken(good(ONNX), break_it), reference(), tolerance)

    head, *lines = (without_rounding(line) for line in how_it_knows(subject))

    assert head == "how it knows:"
    assert len(lines) == len(expected)
    # Where a line goes on with numbers of each channel, its beginning says it.
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


def test_the_figures_are_those_of_the_arrays() -> None:
    artifact = broken(good(ONNX), scaled)
    subject, answers = judge_with_prediction(reference(), artifact, "onnxruntime")
    assert answers is not None

    told = Explainer(thorough=True)(subject, reference(), artifact, answers).checks[0].told

    apart = np.abs(np.asarray(answers.probabilities, np.float64) - reference().prediction.probabilities)
    assert f"|dp| up to {apart.max():.1e}, {(apart.max(axis=1) > 1e-5).sum()} of 8 fail" in told


@pytest.mark.parametrize(
    "faults",
    [
        [swapped],
        [scaled],
        [padding_counts],
        [next_label],
        [without_softmax],
        [swapped, without_softmax],
        [swapped, padding_counts, without_softmax],
        [swapped, scaled, next_label],
    ],
)
def test_what_restores_parity_is_the_confirmed_causes_and_nothing_else_does(
    faults: list[Callable[[Any], None]],
) -> None:
    artifact = broken(good(ONNX), lambda model: [fault(model) for fault in faults])

    subject = known(artifact, reference())

    assert subject.tolerance is not None
    confirmed = {(d.fault, d.message) for d in subject.diagnoses if d.confirmed}
    (helped,) = (attempt for attempt in subject.attempts if attempt.restores)
    assert confirmed
    assert set(zip(helped.faults, helped.messages, strict=True)) == confirmed
    assert helped.left is not None
    assert helped.left <= subject.tolerance
    assert helped.images == 8
    assert subject.attempts[0] == helped
    for attempt in subject.attempts[1:]:
        assert attempt.left is None or attempt.left > subject.tolerance
        assert attempt.reason


def test_without_a_cause_nothing_that_was_tried_restores_parity() -> None:
    subject = known(good(ONNX), reference(), 1e-9)

    assert not any(diagnosis.confirmed for diagnosis in subject.diagnoses)
    assert subject.attempts
    assert not any(attempt.restores for attempt in subject.attempts)


def test_only_who_asks_how_it_knows_is_told() -> None:
    artifact = broken(good(ONNX), swapped)
    subject, answers = judge_with_prediction(reference(), artifact, "onnxruntime")

    explained = Explainer()(subject, reference(), artifact, answers)

    assert explained.diagnoses
    assert (explained.checks, explained.attempts) == ((), ())
    assert list(how_it_knows(explained)) == []


def test_parity_that_holds_has_no_steps() -> None:
    assert known(good(ONNX), reference()).checks == ()


# What is not looked at says so


def test_after_the_time_nothing_more_is_looked_at() -> None:
    artifact = broken(good(ONNX), swapped)
    subject, answers = judge_with_prediction(reference(), artifact, "onnxruntime")

    told = Explainer(thorough=True, seconds=1e-9)(subject, reference(), artifact, answers)

    over = "not looked at: the 0 s of the search were over"
    assert told.checks[1:4] == (Check("input", over), Check("weights", over), Check("operations", over))
    assert list(how_it_knows(told))[-1] == "  tried: nothing"


def test_after_the_time_what_is_known_already_is_said() -> None:
    examination = examined(broken(good(ONNX), swapped), reference())
    assert examination.divergences
    assert examination.weight_audit

    entering, weights, operations, _ = checks_of(examination, seconds=60.0)

    assert entering == Check("input", "not looked at: the 60 s of the search were over")
    assert weights == Check("weights", "12 of 12 equal", True)
    assert "operation 1 of 23, `faulty image` (Gather)" in operations.told


def test_a_file_whose_operations_cannot_be_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(artifact: Artifact, optimised: bool = False) -> None:
        raise ParityError("it is no model")

    examination = examined(broken(good(ONNX), swapped), reference())
    for module in ("file", "locate", "weights"):
        monkeypatch.setattr(f"parity.diagnosis.{module}.read_graph", refuse)
    monkeypatch.setattr("parity.diagnosis.file.open_trace", refuse)

    entering, weights, operations, head = checks_of(examination)

    assert entering == Check("input", "not looked at: the values inside the file cannot be shown")
    assert weights == Check("weights", "not looked at: it is no model")
    assert operations == Check("operations", "not looked at: it is no model")
    assert head.agrees is True


def test_a_file_without_weights_of_pytorchs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.diagnosis.weights.expected_weights", lambda classifier, graph: [])

    weights = checks_of(examined(good(ONNX), reference()))[1]

    assert weights == Check("weights", "not looked at: the file has none that PyTorch has too")


@pytest.mark.breaks
def test_what_breaks_in_a_step_is_the_reason_why_it_was_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("parity.diagnosis.locate.divergences", breaks)

    operations = checks_of(examined(broken(good(ONNX), swapped), reference()))[2]

    assert operations == Check("operations", "not looked at: ZeroDivisionError: a bug")


# Other files and answers


def test_weights_that_fp16_rounds_are_equal() -> None:
    weights = checks_of(examined(good("mlprogram", tiny), reference(tiny)))[1]

    # Kernel and bias of the convolution, into which the batch norm is folded, and of the linear layer.
    assert weights == Check("weights", "4 of 4 equal", True)


@pytest.mark.parametrize(
    ("harmless", "wrong", "told"),
    [
        (2, 0, "4 of 6 equal, 2 apart by what the file's precision costs"),
        (1, 1, "4 of 6 equal, 1 apart by what the file's precision costs; w0 is zero"),
        (0, 5, "1 of 6 equal; w0 is zero; w1 is zero; w2 is zero; and 2 more"),
    ],
)
def test_weights_that_differ_are_counted_and_the_first_are_told(harmless: int, wrong: int, told: str) -> None:
    examination = examined(good(ONNX), reference())
    finding = WeightFinding("conv", "Conv", "W", "w", "stem", "zeroed", "", np.zeros(1, np.float32), 0.0, 1)
    findings = [
        *(replace(finding, message=f"w{n} is zero") for n in range(wrong)),
        *(replace(finding, harmless=True) for _ in range(harmless)),
    ]
    vars(examination)["weight_audit"] = WeightAudit(tuple(findings), {}, 6)

    assert checks_of(examination)[1] == Check("weights", told, not wrong)


@pytest.mark.parametrize(
    ("labels", "told", "agrees"),
    [
        (None, "the file has no labels", None),
        (("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"), "8 labels equal, in the same order", True),
        (
            ("bee", "ant", "cat", "dog", "eel", "fox", "gnu", "hen"),
            "2 of 8 labels are the same in another order, the first is 'bee' for 'ant'",
            False,
        ),
        (
            ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "\x1b[31m"),
            "1 of 8 labels differ, the first is '\\\\x1b[31m' for 'hen'",
            False,
        ),
        (("ant", "bee"), "2 labels, PyTorch 8", False),
    ],
)
def test_labels_are_compared_one_by_one(labels: tuple[str, ...] | None, told: str, agrees: bool | None) -> None:
    examination = examined(good(ONNX, tiny), reference(tiny))
    vars(examination.file)["labels"] = labels

    head = checks_of(examination)[3]

    assert head.told.startswith(f"{told}; an image's numbers add up to 1")
    assert head.agrees is agrees


def test_numbers_that_are_none_are_said_of_the_head() -> None:
    artifact = broken(good(ONNX), lambda model: behind_all(model, "Mul", [np.full(12, np.nan, np.float32)]))

    head = checks_of(examined(artifact, reference()))[3]

    assert head == Check(
        "head and labels", "12 labels equal, in the same order; 96 of 96 numbers are not finite", False
    )


def test_without_an_answer_it_is_said_that_there_is_none() -> None:
    examination = examined(good(ONNX), reference())
    silent = replace(examination, candidate=replace(examination.candidate, prediction=None))
    subject = Subject("mixed", ONNX, "mixed.onnx", "onnxruntime", "fp32", "error", "it broke")

    assert checks_of(silent)[3].told.endswith("; no numbers were given")
    assert check_comparison(subject, reference(), None) == Check("comparison", "`mixed.onnx` gave no answer", None)


@pytest.mark.parametrize(
    ("same_pixels", "same_file", "told"),
    [
        (True, True, "8 image(s) of 48x48: the record's pixels are these, and its file is this one; "),
        (False, True, "8 image(s) of 48x48: the record may be of other pixels, and its file is this one; "),
        (True, False, "8 image(s) of 48x48: the record's pixels are these, and of another file of that name; "),
    ],
)
def test_of_a_record_it_is_said_whether_pixels_and_file_are_these(
    same_pixels: bool, same_file: bool, told: str
) -> None:
    subject, answers = judge_with_prediction(reference(), broken(good(ONNX), swapped), "onnxruntime")
    assert answers is not None
    recorded = replace(answers, same_pixels=same_pixels, same_file=same_file)

    check = check_comparison(replace(subject, backend="recorded"), reference(), recorded)

    assert check.told.startswith(told)


def test_a_comparison_without_numbers_says_why() -> None:
    artifact = broken(good(ONNX), lambda model: behind_all(model, "Concat", [np.zeros((1, 1), np.float32)], axis=1))
    subject, answers = judge_with_prediction(reference(), artifact, "onnxruntime")

    check = check_comparison(subject, reference(), answers)

    assert check.agrees is False
    assert check.told.endswith(subject.reason)
    assert subject.reason


# Many attempts


def test_of_many_attempts_the_nearest_are_printed() -> None:
    attempts = tuple(Attempt((f"g-{n}",), (f"Guess {n}.",), n / 10, 2, False, "2 flip") for n in range(9, 0, -1))
    subject = Subject(
        *("mixed", ONNX, "mixed.onnx", "onnxruntime", "fp32", "fail"),
        images=8,
        checks=(Check("comparison", "it fails", False),),
        attempts=attempts,
    )

    lines = list(how_it_knows(subject))

    assert lines[2] == "  tried: nothing helps"
    assert (
        lines[3] == "  tried: without g-1 |dp| 1.0e-01 is left on the 2 worst: does not help (suspected: Guess 1)"
    )
    assert lines[-1] == "  tried: 4 more, which leave no less"
    assert len(lines) == 9


def test_an_attempt_without_numbers_says_why() -> None:
    attempts = (Attempt(("g-clip",), ("Cut off.",), None, 0, False, "the artefact gives no answer"),)
    subject = Subject(
        *("mixed", ONNX, "mixed.onnx", "onnxruntime", "fp32", "fail"),
        checks=(Check("comparison", "it fails", False),),
        attempts=attempts,
    )

    assert list(how_it_knows(subject))[-1] == (
        "  tried: without g-clip: the artefact gives no answer: does not help (suspected: Cut off)"
    )


def test_a_sound_file_that_is_called_failing_tries_nothing() -> None:
    # It agrees here with nothing undone: what is tried would prove nothing.
    examination = rejudged(examined(good(ONNX), reference()), verdict="fail")

    from parity.diagnosis.search import explain

    explanation = explain(examination, thorough=True)

    assert explanation.attempts == ()
    assert [check.step for check in explanation.checks] == ["input", "weights", "operations", "head and labels"]


def test_the_model_that_is_broken_is_one() -> None:
    # What these tests break is what ONNX calls a model: a check of the tests themselves.
    onnx.checker.check_model(onnx.load(str(broken(good(ONNX), scaled).path)))
