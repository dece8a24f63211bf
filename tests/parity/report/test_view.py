"""The view model: what is chosen, in which order, how numbers are written, and that names are safe to look at."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from parity.core.compare import assert_parity
from parity.core.distribution import Distribution
from parity.core.results import Answer, Case, ClassPair, Diagnosis, Divergence, KnownIssue, Part, to_json
from parity.report.html import to_html
from parity.report.junit import to_junit
from parity.report.markdown import to_markdown
from parity.report.terminal import make_console, print_run
from parity.report.text import clipped, compact, counted, visible, visible_lines
from parity.report.view import make_view
from tests.parity.report.samples import case, complete_run, full_run, hostile_run, run_of, streamed_run, subject

# What is shown


def test_the_answer_is_told_in_a_line() -> None:
    view = make_view(full_run())

    assert view.told == "parity does not hold: 1 pass, 2 fail, 1 error, 1 inconclusive, 1 skipped (1 known)"
    assert view.headline == "parity does not hold"
    assert (view.known, view.ties, view.exit_code) == (1, 1, 1)


def test_a_shard_says_that_it_is_one() -> None:
    view = make_view(run_of(subject(), shard=Part(2, 3)))

    assert view.told == "parity holds on shard 2/3 of the images: 1 pass"
    assert (view.shard, make_view(run_of(subject())).shard) == ("2/3", "")


@pytest.mark.parametrize(
    ("explained_on", "images", "told"),
    [
        (0, 3, "confirmed: undoing it restores parity"),
        (16, 16, "confirmed: undoing it restores parity"),
        (16, 0, "confirmed: undoing it restores parity"),
        (16, 17, "confirmed on 16 of the images, the worst among them: undoing it restores parity"),
    ],
)
def test_a_cause_that_was_confirmed_on_some_images_says_so(explained_on: int, images: int, told: str) -> None:
    cause = Diagnosis("pre-bgr-swap", "channels are swapped", True)
    failed = subject("fail", diagnoses=(cause,), explained_on=explained_on, images=images)

    (shown,) = make_view(run_of(failed)).subjects

    assert [found.told for found in shown.causes] == [told]
    assert f"  cause: channels are swapped ({told}) [pre-bgr-swap]" in shown.explanation


@pytest.mark.parametrize("told", ["", "operation 19 of 71, `conv_12` (conv): scaled by 2"])
def test_all_reports_give_the_same_fix_and_count_operations_from_one(
    told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    causes = (Diagnosis("eps", "another epsilon", True, "norm.eps = 1e-5", "PyTorch with it agrees"),)
    where = Divergence("conv_12", "conv", 18, 71, told=told)
    run = run_of(subject("fail", diagnoses=causes, first_divergence=where))
    print_run(run, make_console())

    texts = (capsys.readouterr().out, to_html(run), to_markdown(run), to_junit(run))

    for text in map(html.unescape, texts):
        assert "norm.eps = 1e-5" in text
        assert "confirmed: PyTorch with it agrees" in text
        assert "operation 19 of 71, `conv_12` (conv)" in text
        assert "18 of 71" not in text
    assert json.loads(to_json(run))["subjects"][0]["first_divergence"]["index"] == 18


def test_what_cannot_be_explained_says_why() -> None:
    (shown,) = make_view(run_of(subject("fail", unexplained="chance has a part in it"))).subjects

    assert shown.unexplained == "chance has a part in it"
    assert "  unexplained: chance has a part in it" in shown.explanation


def test_a_run_of_nothing_says_so() -> None:
    assert make_view(run_of()).told == "nothing can be concluded: nothing was run"


def test_the_matrix_has_a_row_for_each_model_and_route() -> None:
    view = make_view(full_run())

    assert view.backends == ("-", "onnxruntime", "coreml-evaluator", "onnx-reference", "coreml-native")
    assert [(r.model, r.way, r.precision) for r in view.matrix] == [
        ("tiny", "onnx", "fp32"),
        ("tiny", "mlprogram", "fp32"),
        ("tiny", "onnx-coreml", "fp32"),
        ("flat", "onnx", "fp32"),
    ]
    assert {b: [s.verdict for s in cell] for b, cell in view.matrix[0].cells.items()} == {
        "onnxruntime": ["pass"],
        "onnx-reference": ["fail"],
    }


def test_artefacts_of_one_name_share_a_cell() -> None:
    (row,) = make_view(run_of(subject(), subject("fail"))).matrix

    assert [s.verdict for s in row.cells["onnxruntime"]] == ["pass", "fail"]


def test_what_keeps_the_run_from_holding_matters() -> None:
    assert [s.verdict for s in make_view(full_run()).subjects if s.matters] == ["fail", "error", "inconclusive"]


def test_the_facts_of_a_failure() -> None:
    failed = make_view(full_run()).subjects[1]

    assert failed.title == "tiny by mlprogram on coreml-evaluator"
    assert (failed.top1, failed.max_abs_diff_told, failed.tolerance_told) == ("33%", "5.0e-01", "1.0e-02")
    assert (failed.would_pass, failed.guilty_hop) == ("0.5", "torch -> mlprogram")
    assert failed.divergence == "operation 19 of 71, `conv_12` (conv)"
    assert [(c.fault, c.confirmed, c.fix) for c in failed.causes] == [
        ("pre-bgr-swap", True, "image = image[:, [2, 1, 0]]"),
        ("eps", False, ""),
    ]
    assert failed.explanation[0] == "tiny by mlprogram on coreml-evaluator: fail: 1 flip, 1 error of 3 image(s)"
    assert make_view(full_run()).subjects[0].explanation == ()


def test_the_worst_come_first() -> None:
    failed = make_view(full_run()).subjects[1]

    assert [c.image for c in failed.worst] == ["nan.png", "bad.png", "good.png"]
    assert dict(failed.counts) == {"error": 1, "flip": 1, "match": 1}
    assert failed.worst[1].thumbnail.startswith("data:image/jpeg;base64,")
    assert (failed.worst[0].thumbnail, failed.worst[0].max_abs_diff_told) == ("", "–")
    assert failed.worst[1].worst == "ant (0.7500 against 0.5000)"
    assert [(c.label, c.reference_answer, c.candidate_answer) for c in failed.worst[1].classes] == [
        ("ant", True, False),
        ("bee", False, True),
        ("cat", False, False),
    ]


def test_another_models_picture_of_that_name_is_its_own() -> None:
    run = run_of(
        *(subject(model=m, cases=(case(),)) for m in "ab"), thumbnails={"a.png": "data:1", "b: a.png": "data:2"}
    )

    assert [s.worst[0].thumbnail for s in make_view(run).subjects] == ["data:1", "data:2"]


def test_points_say_whether_they_are_within_the_tolerance() -> None:
    pairs = (ClassPair("ant", 0.5, 0.505), ClassPair("bee", 0.4, 0.42), ClassPair("cat", None, 0.1))
    found = make_view(run_of(subject(tolerance=0.01, cases=(case(top=pairs),)))).subjects[0].pairs

    assert [(p.reference, p.candidate, p.apart) for p in found] == [(0.4, 0.42, True), (0.5, 0.505, False)]


def test_what_was_skipped_for_one_reason_is_one_group() -> None:
    skipped = [subject("skipped", "coreml-native", model=name, reason="no Mac") for name in "ab"]

    (group,) = make_view(run_of(*skipped)).skipped

    assert (group.backend, group.reason, group.legs) == ("coreml-native", "no Mac", ("a by onnx", "b by onnx"))


# Many images


def test_counts_and_distribution_are_the_subjects_own_where_it_has_them() -> None:
    found = make_view(streamed_run()).subjects[0]

    assert dict(found.counts) == {"flip": 9, "tie": 3, "match": 49_988}
    assert found.distribution.total == 50_000
    assert (len(found.rows), found.unlisted) == (32, 50_000 - 32)


def test_counts_and_distribution_are_computed_from_the_cases_elsewhere() -> None:
    found = make_view(full_run()).subjects[1]

    assert found.distribution == Distribution().add([1e-3, 0.5])


def test_of_many_cases_the_worst_and_a_sample_are_shown() -> None:
    found = make_view(complete_run(1, 1_000)).subjects[0]

    assert len(found.worst) == 6
    assert len(found.rows) == 40
    assert found.unlisted == 960
    assert [c.verdict for c in found.rows[:20]] == ["drift"] * 20
    differences = [c.max_abs_diff for c in found.rows]
    assert differences == sorted(differences, reverse=True)
    assert differences[-1] < 1e-4  # the sample reaches to the best
    assert len(found.pairs) <= 400


def test_many_subjects_share_a_bound() -> None:
    view = make_view(complete_run(300, 10))

    assert sum(len(s.rows) for s in view.subjects) <= 1_200
    assert all(len(s.worst) == 1 for s in view.subjects)


def test_accuracy_and_unreadable_images_are_told() -> None:
    view = make_view(streamed_run())
    accuracy = view.subjects[0].accuracy

    assert accuracy is not None
    assert accuracy.sides[0] == ("PyTorch", "76.10 % (75.70 to 76.50)", "76.10 % (75.70 to 76.50)", "3.10 %")
    assert accuracy.change.startswith("-0.10 points (95 % interval -0.20 to +0.00), 70 images right by PyTorch")
    assert view.unreadable == "2 images could not be read and were skipped: 0.004 % of all, 1 % allowed"
    assert view.unreadable_images == (("broken.jpg", "truncated"),)
    assert not view.unreadable_fails


# Names


def strings(value: Any) -> list[str]:
    """List every string anywhere in a view."""
    if isinstance(value, str):
        return [value]
    if is_dataclass(value):
        return [text for field in fields(value) for text in strings(getattr(value, field.name))]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    return [text for part in value for text in strings(part)] if isinstance(value, tuple) else []


def test_no_name_hides_anything() -> None:
    found = strings(make_view(hostile_run()))

    assert len([text for text in found if "alert(1)" in text]) > 40
    for text in found:
        assert not set(text.replace("\n", "")) & set("\x00\x1b\r\u202e\u2066\ufffe\ud800"), text
        text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tabby cat", "tabby cat"),
        ("日本 é \U0001f468\u200d\U0001f469", "日本 é \U0001f468\u200d\U0001f469"),
        ("a\u202eb", "a\\u202eb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\ufeff\u200b\u2028", "\\ufeff\\u200b\\u2028"),
        ("\ud800", "\\ud800"),
        ("\x85\x7f", "\\x85\\x7f"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_stay_lines() -> None:
    assert visible_lines("a\nb\x00") == ("a", "b\\x00")


@pytest.mark.parametrize(
    ("text", "most", "shown"), [("abcdef", 6, "abcdef"), ("abcdefg", 5, "ab…fg"), ("abcdefgh", 6, "ab…gh")]
)
def test_what_is_long_is_cut_in_the_middle(text: str, most: int, shown: str) -> None:
    assert clipped(text, most) == shown


def test_long_labels_and_file_names_are_cut() -> None:
    name = "x" * 5_000
    long = Case(name, "flip", Answer(name, 0.5), Answer(name, 0.5), 0.1, top=(ClassPair(name, 0.5, 0.5),))
    shown = make_view(run_of(subject("fail", cases=(long,)))).subjects[0].worst[0]

    assert max(map(len, strings(replace(shown)))) <= 120


def test_numbers_are_written_for_people() -> None:
    assert [compact(n) for n in (0.912, 0.0085, 1.9e-6, 0.01, None)] == ["0.91", "0.0085", "1.9e-06", "0.01", ""]
    assert [counted(1, "image"), counted(12_000, "image"), counted(2, "class", "classes")] == [
        "1 image",
        "12,000 images",
        "2 classes",
    ]


def test_every_report_says_the_same_in_one_line() -> None:
    run = run_of(subject("fail", known_issue=KnownIssue("why", "")), subject("skipped"))
    told = "nothing can be concluded, because nothing passed: 1 fail, 1 skipped (1 known)"
    screen = io.StringIO()
    print_run(run, make_console(screen))

    assert screen.getvalue().splitlines()[-1] == told
    assert to_markdown(run).splitlines()[0] == f"### ❔ coreml-parity: {told}"
    assert f'<meta name="description" content="{told}">' in to_html(run)
    assert "Nothing can be concluded, because nothing passed</h1>" in to_html(run)
    assert f'message="{told}"' in to_junit(run)
    with pytest.raises(AssertionError, match=re.escape(told)):
        assert_parity(run)
