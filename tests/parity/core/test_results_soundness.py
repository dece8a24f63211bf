"""Results that contradict themselves: judged by their numbers, or refused in one line; sound ones are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.cli import main
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.results import Environment, Prediction, Run, Subject, summarise, to_json
from parity.core.tolerance import Tolerance
from parity.judging import with_comparison
from parity.stream.judge_saved import judge_file, read_judged

LABELS = ("ant", "bee", "cat", "dog")
ANT, DOG, CAT = [0.75, 0.125, 0.125, 0.0], [0.0625, 0.0625, 0.125, 0.75], [0.0, 0.25, 0.5, 0.25]
NEAR = [[0.75 - 2**-10, 0.125 + 2**-10, 0.125, 0.0], DOG, CAT]


def content(found: list[list[float]] = NEAR) -> Any:
    """Write a run over three images, as Python objects; the answers of NEAR pass."""
    names = ["a.png", "d.png", "c.png"]
    both = (Prediction(np.array(answers), LABELS) for answers in ([ANT, DOG, CAT], found))
    empty = Subject("tiny", "onnx", "tiny.onnx", "onnxruntime", "fp32", "skipped")
    subject = with_comparison(empty, compare(*both, Tolerance(0.01), names))
    skipped = Subject("tiny", "onnx", "tiny.onnx", "coreml-native", "fp32", "skipped", "needs macOS")
    subjects = (subject, skipped)
    return json.loads(to_json(Run(Environment("3", "Linux", {}), subjects, summary=summarise(subjects))))


def saved(run: Any, path: Path) -> Path:
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def test_sound_results_are_read(tmp_path: Path) -> None:
    for number, (answers, code) in enumerate(
        [(NEAR, 0), ([ANT, ANT, CAT], 1), ([[8.0, 7.0, 6.0, 6.0], DOG, CAT], 1)]
    ):
        path = saved(content(answers), tmp_path / f"{number}.json")

        assert judge_file(path).exit_code == read_judged(path).exit_code == code


# What the numbers decide


def say(verdict: str, of_case: str) -> Callable[[Any], None]:
    """Make a change: another verdict for all images and for the first one."""

    def change(run: Any) -> None:
        subject = run["subjects"][0]
        subject["verdict"] = verdict
        subject["cases"][0]["verdict"] = of_case
        run["summary"] = {"pass": 0, "fail": 0, "error": 0, "inconclusive": 0, "skipped": 1}
        run["summary"][verdict] += 1

    return change


@pytest.mark.parametrize(
    ("found", "change", "expected"),
    [
        pytest.param([[0.0, 0.0, 0.0, 0.9], DOG, CAT], say("pass", "match"), "flip", id="match for flip"),
        pytest.param([[0.0, 0.0, 0.0, 0.9], DOG, CAT], say("pass", "tie"), "flip", id="tie for flip"),
        pytest.param([[0.5, 0.0, 0.0, 0.0], DOG, CAT], say("pass", "match"), "drift", id="match for drift"),
        pytest.param([[float("nan")] * 4, DOG, CAT], say("pass", "match"), "error", id="match for error"),
        pytest.param(NEAR, say("inconclusive", "flip"), "match", id="flip for match"),
    ],
)
def test_the_verdict_of_an_image_follows_from_its_numbers(
    found: list[list[float]], change: Callable[[Any], None], expected: str, tmp_path: Path
) -> None:
    run = content(found)
    change(run)
    path = saved(run, tmp_path / "r.json")

    for judged in (judge_file(path), read_judged(path)):
        assert judged.subjects[0].cases[0].verdict == expected
        assert judged.subjects[0].verdict == ("fail" if expected in ("flip", "drift", "error") else "inconclusive")
        assert judged.exit_code == (1 if expected in ("flip", "drift", "error") else 3)


# What cannot be true


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        *tables, key = path
        for part in tables:
            run = run[part]
        run[key] = value

    return change


def drop(*path: Any) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        *tables, key = path
        for part in tables:
            run = run[part]
        del run[key]

    return change


def twice(run: Any) -> None:
    subject = run["subjects"][0]
    subject["cases"].append(subject["cases"][0])
    subject["images"] = 4


CASE = ("subjects", 0, "cases", 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("subjects", 0, "cases", value=[]), "images is 3, and there are 0 cases"),
        (drop(*CASE), "images is 3, and there are 2 cases"),
        (put("subjects", 1, "verdict", value="pass"), "verdict is pass, with 0 images and a tolerance of None"),
        (put("subjects", 0, "images", value=300), "images is 300, and there are 3 cases"),
        (put("subjects", 0, "top1_agreement", value=0.5), "top1_agreement is 0.5, and that of the cases is 1"),
        (
            put("subjects", 0, "max_abs_diff", value=0.0),
            "max_abs_diff is 0.0, and that of the cases is 0.000976562",
        ),
        (put("subjects", 0, "tolerance", value=-1.0), "tolerance is -1, and a tolerance is between 0 and 1"),
        (put("subjects", 0, "tolerance", value=1.5), "tolerance is 1.5, and a tolerance is between 0 and 1"),
        (
            put("subjects", 0, "tolerance", value=float("nan")),
            "subjects.0.tolerance: Input should be a finite number",
        ),
        (put("subjects", 0, "tolerance", value=None), "tolerance None, and there are 3 cases"),
        (put("subjects", 0, "verdict", value="skipped"), "verdict is skipped and tolerance 0.01, and there are 3"),
        (
            put("subjects", 0, "required_tolerance", value=0.5),
            "required_tolerance is 0.5, and max_abs_diff is 0.0009",
        ),
        (
            put("summary", "pass", value=9),
            "the summary counts 9 pass, 1 skipped, and the subjects are 1 pass, 1 skip",
        ),
        (
            put("summary", "fail", value=1),
            "the summary counts 1 pass, 1 fail, 1 skipped, and the subjects are 1 pass",
        ),
        (put("shard", value={"number": 3, "of": 2}), "shard is 3/2, and there is no such shard"),
        (
            put("unreadable", value={"count": 1, "share": float("nan"), "allowed": 0.01}),
            "unreadable.share: Input should be a finite number",
        ),
        (put("unreadable", value={"count": 1, "share": 0.5, "allowed": 2.0}), "unreadable.allowed is 2.0, and a"),
        (twice, "a.png is there 2 times, and an image is counted once"),
        (put(*CASE, "max_abs_diff", value=0.0), "a.png: max_abs_diff is 0, and 'ant' is 0.75 against 0.749023"),
        (put(*CASE, "max_abs_diff", value=-0.5), "a.png: max_abs_diff is -0.5, and a distance is at least 0"),
        (
            put(*CASE, "max_abs_diff", value=float("inf")),
            "subjects.0.cases.0.max_abs_diff: Input should be a finite number",
        ),
        (put(*CASE, "worst_candidate", value=0.1), "and its class 'ant' is 0.75 against 0.1"),
        (put(*CASE, "reference", "probability", value=0.9), "'ant' at 0.9, and at 0.75 in the top classes"),
        (put(*CASE, "reference", "label", value="bee"), "the reference is 'bee' at 0.75, and at 0.125 in the top"),
        (put(*CASE, "candidate", "label", value="cat"), "the candidate is 'cat' at 0.749023, and at 0.125 in the"),
        (
            put(*CASE, "top", 0, "reference", value=float("nan")),
            "subjects.0.cases.0.top.0.reference: Input should be a finite number",
        ),
        (put(*CASE, "top", 1, "reference", value=-0.5), "the reference of 'bee' is -0.5, and a probability is"),
        (put(*CASE, "top", 1, "candidate", value=0.9), "the candidate is 'ant' at 0.749023, and 'bee' is at 0.9"),
        (put(*CASE, "top5_overlap", value=7.0), "top5_overlap: Input should be less than or equal to 1"),
    ],
)
def test_numbers_that_deny_each_other_are_refused_in_one_line(
    change: Callable[[Any], None], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = content()
    sound = saved(run, tmp_path / "sound.json")
    change(run)
    path = saved(run, tmp_path / "r.json")

    for arguments in (
        ["judge", str(path)],
        ["judge", str(path), "--tolerance", "0.5"],
        ["compare-runs", str(sound), str(path)],
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        out, err = capfd.readouterr()
        assert (stop.value.code, out) == (2, "")
        assert err.startswith(f"parity: {path}: ")
        assert told in err
        if "Input should" not in told:  # by its type alone
            assert err.endswith("; write it anew by the run that it is of\n")
        assert err.count("\n") == 1


# A run over many images, which keeps the worst


def streamed(**more: Any) -> Any:
    run = content()
    run["subjects"][0] |= {"images": 100, "counts": {"match": 100}, **more}
    run["cases_file"] = "r.cases.jsonl"
    return run


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"counts": {"match": 99}}, "images is 100, and the counts are 99 match"),
        ({"counts": {"match": 101, "flip": -1}}, "images is 100, and the counts are 101 match, -1 flip"),
        (
            {"counts": {"match": 2, "tie": 98}},
            "the counts are 2 match, 98 tie, and the cases that are listed 3 match",
        ),
        ({"counts": {"match": 90, "flip": 10}}, "verdict is pass, and the counts are 90 match, 10 flip"),
        ({"tolerance": 1e-4}, "a.png is `match` with |dp| 0.000976562, and 0.0001 is allowed"),
        ({"max_abs_diff": 0.0, "required_tolerance": None}, "max_abs_diff is 0.0, and that of the cases is 0.0009"),
        ({"top1_agreement": 1.5}, "top1_agreement: Input should be less than or equal to 1"),
    ],
)
def test_what_is_said_of_many_images_is_held_against_those_that_are_there(
    more: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = saved(streamed(**more), tmp_path / "r.json")

    for read in (judge_file, read_judged):
        with pytest.raises(ParityError) as raised:
            read(path)
        assert told in str(raised.value)


def test_a_sound_run_over_many_images_is_read(tmp_path: Path) -> None:
    assert read_judged(saved(streamed(), tmp_path / "r.json")).exit_code == 0


def test_the_worst_cases_alone_are_not_judged(tmp_path: Path) -> None:
    run = streamed()
    run["cases_file"] = ""

    with pytest.raises(ParityError, match="holds only the worst cases, and names no file that has all"):
        judge_file(saved(run, tmp_path / "r.json"))
