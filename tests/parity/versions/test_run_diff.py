"""What changed between two runs: verdicts, images, what is new or gone, causes, environment, the exit code."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from parity.core.gate import GATE_VERDICTS, GateResult
from parity.core.results import (
    Answer,
    Case,
    CaseVerdict,
    Diagnosis,
    Divergence,
    Environment,
    KnownIssue,
    Run,
    Subject,
    summarise,
)
from parity.report.run_diff import diff_to_markdown, print_run_diff
from parity.report.terminal import make_console
from parity.versions.run_diff import RunDiff, SubjectDiff, compare_runs, diff_to_json

KNOWN = KnownIssue("upstream", "")
KEPT, OPEN, LOST = (GateResult(verdict, 0.002, 0.95) for verdict in GATE_VERDICTS[::2] + GATE_VERDICTS[1:2])


def case(image: str, verdict: CaseVerdict) -> Case:
    return Case(image, verdict, Answer("ant", 0.5), Answer("ant", 0.5), 0.1)


def subject(verdict: Any = "pass", cases: str = "", **more: Any) -> Subject:
    """Make a subject. cases: verdicts of a.png, b.png, ... by their first letters."""
    kinds: dict[str, CaseVerdict] = {"m": "match", "t": "tie", "d": "drift", "f": "flip", "e": "error"}
    made = tuple(case(f"{chr(97 + i)}.png", kinds[letter]) for i, letter in enumerate(cases))
    names = {"model": "tiny", "route": "onnx", "artifact": "tiny.onnx", "backend": "onnxruntime", **more}
    return Subject(precision="fp32", verdict=verdict, images=len(cases), cases=made, **names)


def run_of(*subjects: Subject, stale: tuple[str, ...] = (), **packages: str) -> Run:
    return Run(Environment("3.11", "Linux", packages), subjects, stale, summarise(subjects))


def diff(old: Subject | None, new: Subject | None) -> SubjectDiff:
    (found,) = compare_runs(*(run_of(*([s] if s else [])) for s in (old, new))).subjects
    return found


@pytest.mark.parametrize(
    ("old", "new", "verdict", "worse"),
    [
        # verdicts
        (subject(), subject(), "same", False),
        (subject(), subject("fail"), "worse", True),
        (subject(), subject("error"), "worse", True),
        (subject(), subject("inconclusive"), "worse", True),
        (subject(), subject("skipped"), "worse", True),
        (subject("fail"), subject("error"), "worse", True),
        (subject("skipped"), subject("fail"), "worse", True),
        (subject("fail"), subject(), "better", False),
        (subject("skipped"), subject(), "better", False),
        (subject("fail"), subject("skipped"), "changed", False),
        (subject("error"), subject("fail"), "changed", False),
        (subject("fail"), subject("fail"), "same", False),
        # the gate on accuracy
        (subject(gate=KEPT), subject(gate=KEPT), "same", False),
        (subject(gate=KEPT), subject(gate=OPEN), "worse", True),
        (subject(gate=KEPT), subject(gate=LOST), "worse", True),
        (subject(gate=KEPT), subject(), "worse", True),
        (subject(gate=OPEN), subject(gate=LOST), "worse", True),
        (subject(gate=LOST), subject(gate=KEPT), "changed", False),
        (subject(), subject(gate=LOST), "changed", False),
        (None, subject(gate=LOST), "new", True),
        # known issues
        (subject("fail", known_issue=KNOWN), subject("fail"), "worse", True),
        (subject("fail"), subject("fail", known_issue=KNOWN), "changed", False),
        (subject(), subject("fail", known_issue=KNOWN), "worse", True),
        (subject("fail", known_issue=KNOWN), subject("fail", known_issue=KNOWN), "same", False),
        # images
        (subject("fail", "md"), subject("fail", "dd"), "worse", True),
        (subject("fail", "dd"), subject("fail", "df"), "worse", True),
        (subject("fail", "ff"), subject("fail", "fe"), "worse", True),
        (subject("fail", "dd"), subject("fail", "dm"), "changed", False),
        (subject("pass", "mm"), subject("pass", "mt"), "changed", False),
        (subject("pass", "m"), subject("pass", "mm"), "changed", False),
        (subject("fail", "d"), subject("fail", "df"), "worse", True),
        (subject("fail", "df"), subject("fail", "d"), "changed", False),
        # counts, where cases are the worst only
        (subject("fail", counts={"flip": 1}), subject("fail", counts={"flip": 2}), "worse", True),
        (subject("fail", counts={"flip": 2}), subject("fail", counts={"flip": 1, "match": 1}), "same", False),
        # new and gone
        (None, subject(), "new", False),
        (None, subject("skipped"), "new", False),
        (None, subject("fail"), "new", True),
        (None, subject("fail", known_issue=KNOWN), "new", False),
        (subject(), None, "gone", True),
        (subject("fail"), None, "gone", False),
        (subject("skipped"), None, "gone", False),
    ],
)
def test_what_is_worse(old: Subject | None, new: Subject | None, verdict: str, worse: bool) -> None:
    found = diff(old, new)

    assert (found.verdict, found.worse) == (verdict, worse)
    assert found.old_verdict == (old.verdict if old else None)
    assert found.new_verdict == (new.verdict if new else None)


def test_images_are_named() -> None:
    images = diff(subject("fail", "mdt"), subject("fail", "fd")).images

    assert [(i.image, i.old, i.new, i.worse) for i in images] == [
        ("a.png", "match", "flip", True),
        ("c.png", "tie", None, False),
    ]


def test_the_worst_of_many_images_are_not_compared() -> None:
    streamed = subject("fail", "f", counts={"flip": 1, "match": 9})

    assert diff(streamed, replace(streamed, cases=(case("z.png", "flip"),))).images == ()


def test_what_else_changed_is_noted() -> None:
    old = subject("fail", "d", tolerance=0.01, reason="1 drift of 1 image(s)", diagnoses=(Diagnosis("eps", "x"),))
    new = subject(
        "fail",
        "d",
        tolerance=0.02,
        reason="another reason",
        guilty_hop="torch -> onnx",
        first_divergence=Divergence("conv_1", "conv", 1, 2),
        diagnoses=(Diagnosis("bgr", "swapped"),),
        known_issue=KNOWN,
    )

    assert diff(old, new).notes == (
        "another reason",
        "tolerance: 0.01 -> 0.02",
        "guilty hop: none -> torch -> onnx",
        "first divergence: none -> conv_1",
        "known issue: none -> upstream",
        "new cause: bgr: swapped",
        "cause gone: eps",
    )


def test_subjects_are_found_by_model_route_and_backend() -> None:
    old = run_of(subject(), subject("fail", model="b"), subject(route="-", artifact="x.onnx"))
    new = run_of(subject(route="-", artifact="x.onnx"), subject("fail"), subject("fail", model="b"))

    assert [(s.model, s.way, s.verdict) for s in compare_runs(old, new).subjects] == [
        ("tiny", "x.onnx", "same"),
        ("tiny", "onnx", "worse"),
        ("b", "onnx", "same"),
    ]


def test_subjects_of_one_name_are_compared_in_their_order() -> None:
    found = compare_runs(run_of(subject(), subject("fail")), run_of(subject(), subject("error")))

    assert [s.verdict for s in found.subjects] == ["same", "worse"]


def test_the_environment_is_compared() -> None:
    old, new = run_of(torch="2.12", numpy="2.3", onnx="1"), run_of(torch="2.13", numpy="2.3", uv="0.5")

    assert compare_runs(old, replace(new, environment=replace(new.environment, python="3.12"))).environment == {
        "python": ("3.11", "3.12"),
        "torch": ("2.12", "2.13"),
        "onnx": ("1", ""),
        "uv": ("", "0.5"),
    }


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (run_of(subject()), run_of(subject()), 0),
        (run_of(subject("fail")), run_of(subject("fail")), 0),
        (run_of(subject()), run_of(subject("fail")), 1),
        (run_of(subject()), run_of(), 1),
        (run_of(subject()), run_of(subject(), stale=("an entry",)), 1),
        (run_of(subject(), stale=("an entry",)), run_of(subject(), stale=("an entry",)), 0),
        (run_of(), run_of(), 3),
        (run_of(subject("skipped")), run_of(subject("skipped")), 3),
        (run_of(), run_of(subject()), 3),
        (run_of(subject("inconclusive")), run_of(subject("inconclusive")), 3),
        (run_of(subject("error")), run_of(subject("error")), 3),
    ],
)
def test_exit_code(old: Run, new: Run, code: int) -> None:
    assert compare_runs(old, new).exit_code == code


# Told


def everything() -> RunDiff:
    old = run_of(subject("pass", "mm", max_abs_diff=1e-6), subject(model="kept"), torch="2.12")
    new = run_of(subject("fail", "mf", max_abs_diff=0.5, reason="1 flip of 2"), subject(model="kept"), torch="2.13")
    return compare_runs(old, replace(new, stale_known_issues=("an old entry",)))


def printed(found: RunDiff) -> list[str]:
    stream = io.StringIO()
    print_run_diff(found, make_console(stream))
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def test_the_terminal_tells_what_changed() -> None:
    lines = printed(everything())

    assert lines[0].split() == ["model", "route", "backend", "before", "now", "max", "|Δp|", "before", "now"]
    assert lines[2].split() == ["worse", "tiny", "onnx", "onnxruntime", "pass", "fail", "1.0e-06", "5.0e-01"]
    assert lines[3:] == [
        "tiny by onnx on onnxruntime: worse",
        "  1 flip of 2",
        "  b.png: match -> flip",
        "torch: 2.12 -> 2.13",
        "an old entry",
        "something got worse: 1 worse, 1 same",
    ]


def test_where_nothing_changed_that_is_all() -> None:
    assert printed(compare_runs(run_of(subject()), run_of(subject()))) == ["nothing got worse: 1 same"]


def test_of_many_images_some_are_named() -> None:
    found = compare_runs(run_of(subject("fail", "m" * 20)), run_of(subject("fail", "f" * 20)))

    assert printed(found)[-2] == "  and 12 other images"


def test_markdown_tells_the_same() -> None:
    text = diff_to_markdown(everything())

    for told in (
        "### ❌ coreml-parity compare-runs: something got worse: 1 worse, 1 same\n",
        "| ❌ worse | <code>tiny</code> | <code>onnx</code> | <code>onnxruntime</code> | pass | fail |",
        "| fail | 1.0e-06 | 5.0e-01 |",
        "<details><summary>❌ <code>tiny</code> by <code>onnx</code> on <code>onnxruntime</code></summary>",
        "- <code>b.png&#58; match -> flip</code>".replace(">flip", "&#62;flip").replace("-> ", "-&#62; "),
        "<code>torch&#58; 2.12 -&#62; 2.13</code>",
        "<code>an old entry</code>",
    ):
        assert told in text, told


def test_markdown_has_a_bound() -> None:
    many = [subject("fail", model=f"model {n}", reason="x" * 200) for n in range(500)]
    text = diff_to_markdown(compare_runs(run_of(), run_of(*many)), 20_000)

    assert len(text) <= 20_000
    assert "Left out for length" in text


def test_json_has_everything() -> None:
    found = json.loads(diff_to_json(everything()))

    assert found["schema"] == "parity-run-diff/1"
    assert found["summary"] == {"worse": 1, "better": 0, "changed": 0, "same": 1, "new": 0, "gone": 0}
    assert found["subjects"][0]["images"] == [{"image": "b.png", "old": "match", "new": "flip"}]
    assert found["environment"] == {"torch": ["2.12", "2.13"]}
    assert found["stale"] == ["an old entry"]


def test_names_are_shown_as_they_are_and_hide_nothing() -> None:
    name = "[red]x[/] \u202e|`<b>"
    found = compare_runs(run_of(subject(model=name)), run_of(subject("fail", model=name, reason=name)))

    assert "[red]x[/] \\u202e|`<b> by onnx on onnxruntime: worse" in printed(found)
    markdown = diff_to_markdown(found)
    assert "\u202e" not in markdown
    assert "<b>" not in markdown
