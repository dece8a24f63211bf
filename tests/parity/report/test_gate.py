"""What the reports show of the gate: both questions, whichever of them decides."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree

import pytest

from parity.core.accuracy import (
    Calibration,
    CalibrationBin,
    ClassLoss,
    Correctness,
    Selective,
    Share,
    Taken,
)
from parity.core.gate import Decides, Gate, GateResult
from parity.core.results import Run
from parity.report.html import to_html
from parity.report.junit import to_junit
from parity.report.markdown import to_markdown
from parity.report.reliability import reliability_chart
from parity.report.terminal import make_console, print_run
from tests.parity.report.samples import streamed_run

LOST = GateResult("fail", 0.002, 0.95, "", 50_000, 0.01, 0.0085, 0.0115)
KEPT = GateResult("pass", 0.002, 0.95, "", 50_000, 0.001, 0.0005, 0.0015)
SURE = Calibration(
    0.04,
    (
        CalibrationBin(0.0, 0.5, 10, 0.3, 0.4),
        CalibrationBin(0.5, 0.9, 0, None, None),
        CalibrationBin(0.9, 1.0, 90, 0.95, 0.9),
    ),
)


def share(count: int, total: int) -> Share:
    return Share(count, total, count / total, 0.0, 1.0)


def gated_run(decides: Decides, result: GateResult = LOST, label: str = "label <3>") -> Run:
    """Make a run whose one comparison fails, with a gate, a threshold and a class that loses."""
    run = streamed_run()
    (s,) = run.subjects
    assert s.accuracy is not None
    side = Correctness(share(900, 1_000), share(990, 1_000), SURE)
    taken = Taken(share(700, 1_000), share(690, 700))
    accuracy = replace(
        s.accuracy,
        reference=side,
        candidate=side,
        losing_classes=(ClassLoss(label, 50, 9, 2, 0.14, 0.02, 0.31),),
        selective=Selective(0.6, taken, replace(taken, right=None), share(2, 1_000), share(30, 1_000)),
    )
    return replace(run, subjects=(replace(s, gate=result, accuracy=accuracy),), gate=Gate(0.002, decides=decides))


def terminal(run: Run) -> str:
    text = StringIO()
    print_run(run, make_console(text))
    return text.getvalue()


@pytest.mark.parametrize("decides", ["both", "accuracy", "parity"])
def test_every_report_shows_both_questions(decides: Decides) -> None:
    run = gated_run(decides)

    for text in (terminal(run), to_markdown(run), to_html(run), to_junit(run)):
        assert "loses 1.000 points of accuracy, with 95 % confidence at least 0.850; 0.2 may be lost" in text
        assert "9 flip of 50000 image(s)" in text


def test_the_terminal_names_classes_and_what_crosses_the_threshold() -> None:
    text = terminal(gated_run("both"))

    assert (
        "at the threshold 0.6 PyTorch answers 70.00 % (0.00 to 100.00) of the images, and is right on 98.57 %"
        in text
    )
    assert "at the threshold 0.6 the candidate answers 70.00 % (0.00 to 100.00) of the images\n" in text
    assert "3.00 % (0.00 to 100.00) of the images fall below the threshold, and 0.20 %" in text
    assert (
        "label <3> 14.00 points (2.00 to 31.00) (9 of 50 images by PyTorch alone, 2 by the candidate alone)" in text
    )
    assert "(95 % for the bounds of all classes together, Bonferroni)" in text


def test_the_page_draws_a_reliability_diagram_and_escapes_labels() -> None:
    page = to_html(gated_run("both"))

    assert 'aria-labelledby="subject-1-reliability-title subject-1-reliability-told"' in page
    assert "<bdi>label &lt;3&gt;</bdi>" in page
    assert "threshold 0.6</text>" in page
    assert "Accuracy of <bdi>model 0</bdi>" in page


def test_the_diagram_says_in_words_what_it_draws() -> None:
    drawing = reliability_chart(SURE, replace(SURE, error=0.1), None, "x")

    ElementTree.fromstring(drawing)
    assert "PyTorch is off by 4.00 points in the mean, over 100 images; candidate is off by 10.00 points" in drawing
    assert drawing.count("<circle") == 2
    assert drawing.count("<rect") == 2
    assert reliability_chart(Calibration(None, ()), Calibration(None, ()), 0.6, "x") == ""


@pytest.mark.parametrize(
    ("decides", "result", "parity", "accuracy"),
    [
        ("both", LOST, "failure", "failure"),
        ("accuracy", LOST, "skipped", "failure"),
        ("parity", LOST, "failure", "skipped"),
        ("both", KEPT, "failure", "system-out"),
        ("both", GateResult("inconclusive", 0.002, 0.95, "no labels"), "failure", "error"),
    ],
)
def test_the_gate_is_a_test_of_its_own(decides: Decides, result: GateResult, parity: str, accuracy: str) -> None:
    root = ElementTree.fromstring(to_junit(gated_run(decides, result)))
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}

    assert [child.tag for child in cases["onnxruntime"]] == [parity]
    assert [child.tag for child in cases["onnxruntime keeps its accuracy"]] == [accuracy]


def test_a_page_says_what_needs_attention_by_the_question_that_decides() -> None:
    by_accuracy, by_parity = (to_html(gated_run(decides)) for decides in ("accuracy", "parity"))

    sections = [page.partition('id="attention"')[2].partition("</section>")[0] for page in (by_accuracy, by_parity)]
    assert ["Accuracy of" in section for section in sections] == [True, False]
    assert ["9 flip" in section for section in sections] == [False, True]
