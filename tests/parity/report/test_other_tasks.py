"""Runs of models that are no classifiers, in every report: the distance has its own name, and no class is told."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parity import Tolerance, compare
from parity.core.metric import METRICS
from parity.core.results import Run, to_json
from parity.judging import with_comparison
from parity.report.html import to_html
from parity.report.junit import to_junit
from parity.report.markdown import to_markdown
from parity.report.terminal import make_console, print_run
from parity.report.view import make_view
from parity.stream.judge_saved import judge_file, judge_run
from tests.parity.report.samples import run_of, subject
from tests.parity.tasks import DENSE, MASK, dense

IMAGES = ("a.png", "b.png", "c.png")
RIGHT, WRONG = [[0.0], [0.5], [1.0]], [[0.0], [0.5], [0.75]]


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Make a run of two files, one sound and one that is 0.25 off on one image, with 0.1 allowed."""
    monkeypatch.setitem(METRICS, "dense", DENSE)
    pairs = [compare(dense(MASK, mask=RIGHT), dense(mask=rows), Tolerance(0.1), IMAGES) for rows in (RIGHT, WRONG)]
    return run_of(*(with_comparison(subject(model="toy"), found) for found in pairs))


def test_the_view_says_what_was_measured(segmented: Run) -> None:
    view = make_view(segmented)

    assert view.headings == ("same answer", "max mean |Δ|")
    assert view.explained == "the largest mean |Δ| over all images"
    assert [case.worst for case in view.subjects[1].worst] == [
        "mask: mean |Δ| 2.5e-01",
        "mask: mean |Δ| 0.0e+00",
        "mask: mean |Δ| 0.0e+00",
    ]


def test_beside_a_classifier_both_are_named(segmented: Run) -> None:
    assert make_view(run_of(subject(), *segmented.subjects)).headings == (
        "top-1 / same answer",
        "max |Δp| / mean |Δ|",
    )


def test_every_report_names_the_distance_and_no_probability(segmented: Run) -> None:
    print_run(segmented, make_console(printed := io.StringIO()))
    texts = [printed.getvalue(), to_html(segmented), to_markdown(segmented).replace("\\|", "|")]

    for text in texts:
        assert "mean |Δ|" in text
        assert "|Δp|" not in text
    failure = ElementTree.fromstring(to_junit(segmented)).find(".//failure")
    assert failure is not None
    assert "output `mask`: mean |Δ| 0.25, allowed 0.1" in (failure.text or "")


@pytest.mark.parametrize(
    ("allowed", "verdicts", "told"),
    [
        (None, ["pass", "fail"], ""),
        (0.25, ["inconclusive", "pass"], "what is saved does not tell whether the reference's answers differ"),
        (0.05, ["pass", "fail"], ""),
    ],
)
def test_saved_results_are_judged_again(
    segmented: Run, allowed: float | None, verdicts: list[str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text(to_json(segmented), encoding="utf-8")

    again = judge_file(tmp_path / "r.json", allowed)

    assert [s.verdict for s in again.subjects] == verdicts
    assert again.subjects[0].reason.startswith(told)
    if allowed is None:
        assert judge_run(segmented) == segmented
