"""Cases files that contradict themselves: judged by their numbers, or refused with the line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.cli import main
from parity.core.results import Run, to_json
from parity.stream.aggregate import read_results
from parity.stream.judge_saved import judge_file
from parity.stream.lines import Header, HeadLeg, to_line
from tests.parity.stream.test_aggregate import ANT, DOG, LEG, header, lines

# Eight images in batches of three.
EXPECTED = np.array([ANT, DOG] * 4)
FOUND = np.array([[0.75 - 2**-10, 0.125 + 2**-10, 0.125, 0.0], DOG] * 4)
HEAD = header(8, legs=(LEG, replace(LEG, backend="coreml-native", verdict="skipped", reason="needs macOS")))


def written(path: Path, head: Header = HEAD, found: np.ndarray = FOUND) -> Path:
    text = b"".join(map(to_line, lines(head, EXPECTED, found)))
    path.write_bytes(head.to_json() + text)
    return path


def changed(path: Path, number: int, change: Callable[[Any], None]) -> Path:
    """Change a line, counted from 1, of a cases file."""
    texts = path.read_bytes().splitlines()
    line = json.loads(texts[number - 1])
    change(line)
    texts[number - 1] = json.dumps(line, separators=(",", ":")).encode()
    path.write_bytes(b"\n".join(texts) + b"\n")
    return path


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(table: Any) -> None:
        *tables, key = path
        for part in tables:
            table = table[part]
        table[key] = value

    return change


def merged(*paths: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["merge", *map(str, paths)])
    out, err = capfd.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def test_a_sound_file_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert merged(written(tmp_path / "r.cases.jsonl"), capfd=capfd)[0] == 0


@pytest.mark.parametrize("verdict", ["match", "tie", "drift", "flip"])
def test_the_verdict_of_an_image_follows_from_its_numbers(
    verdict: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = FOUND.copy()
    bad[1] = [0.9, 0.0, 0.0, 0.0]
    for found, code, counts in ((bad, 1, {"flip": 1, "match": 7}), (FOUND, 0, {"match": 8})):
        path = written(tmp_path / f"{code}.cases.jsonl", found=found)
        changed(path, 3, put("cases", 0, "verdict", value=verdict))

        assert read_results(path, 1.0).subjects[0].counts == counts
        assert merged(path, capfd=capfd)[0] == code


CASE = ("cases", 0)
PACKED_NAN = base64.b64encode(np.full(4, np.nan).tobytes()).decode()


@pytest.mark.parametrize(
    ("number", "change", "told"),
    [
        (1, put("images", value=0), "images is 0, and at least 1 is needed"),
        (1, put("batch", value=0), "batch is 0, and at least 1 is needed"),
        (1, put("threads", value=10**6), "threads is 1000000, and no machine has more than 4096"),
        (1, put("shard", value={"number": 2, "of": 1}), "shard is 2/1, and there is no such shard"),
        (1, put("shard", value={"number": 1, "of": 0}), "shard is 1/0, and there is no such shard"),
        (1, put("legs", 0, "model", value="other"), "a leg is of model other, and the models are tiny"),
        (1, put("legs", 1, "backend", value="onnxruntime"), "the leg tiny by onnx on onnxruntime is there 2 times"),
        (
            1,
            put("legs", 1, "verdict", value="pass"),
            "tiny by onnx on coreml-native is said to pass without a case",
        ),
        (1, put("legs", 0, "tolerance", value=None), "the tolerance of tiny by onnx on onnxruntime is None, and a"),
        (1, put("models", 0, "labels", value=["ant", "ant", "cat", "dog"]), "model tiny has label 'ant' 2 times"),
        (1, put("models", 0, "labels", value=[]), "a model has no labels"),
        (
            3,
            put(*CASE, "max_abs_diff", value=0.9),
            "max_abs_diff is 0.9, and its class 'ant' is 0.0625 against 0.06",
        ),
        (2, put(*CASE, "max_abs_diff", value=0.0), "max_abs_diff is 0, and 'ant' is 0.75 against 0.749023"),
        (
            2,
            put(*CASE, "reference", "probability", value=1.5),
            "the reference of 'ant' is 1.5, and a probability is",
        ),
        (2, put(*CASE, "candidate", "probability", value=float("nan")), "Input should be a finite number"),
        (2, put(*CASE, "image", value="9.png"), "the image is 0.png there, and 9.png in its case"),
        (2, put(*CASE, "truth", value="bee"), "0.png shows None there, and 'bee' in its case"),
        (2, put(*CASE, "worst_label", value="zebra"), "label 'zebra' is none of its model's"),
        (2, put(*CASE, "top", 3, "label", value="zebra"), "label 'zebra' is none of its model's"),
        (2, put("unreadable", value="torn"), "0.png has 1 cases, and 0 legs see it"),
        (4, put("varieties", 0, "images", value=300), "varieties of tiny is of 300 images, and the batch has 3"),
        (
            4,
            put("varieties", 0, "low", value="AAAA"),
            "of tiny cannot be read: the bounds are not of 4 classes",
        ),
        (4, put("varieties", 0, "low", value="x"), "of tiny cannot be read: "),
        (4, put("varieties", 0, "low", value=""), "of tiny cannot be read: the bounds are not of 4 classes"),
        (4, put("varieties", 0, "high", value=PACKED_NAN), "of tiny cannot be read: a bound is not finite"),
        (4, put("varieties", 0, "images", value=0), "varieties of tiny is of 0 images, and the batch has 3"),
        (4, put("varieties", 0, "classes", value=[0, 1]), "has the classes [0, 1], and its cases [0, 3]"),
        (4, put("varieties", 0, "classes", value=[0, 4]), "has the classes [0, 4], and there are 4"),
        (4, put("varieties", value=[]), ""),
        (
            4,
            lambda line: line["varieties"][0].update(low=line["varieties"][0]["high"]),
            "says that 'dog' is from 0.75 to 0.75, and a case has 0;",
        ),
        (4, lambda line: line["varieties"].append(line["varieties"][0]), "has 2 entries, and the models are 1"),
    ],
)
def test_what_cannot_be_true_is_refused_with_its_line(
    number: int, change: Callable[[Any], None], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = changed(written(tmp_path / "r.cases.jsonl"), number, change)

    code, out, err = merged(path, capfd=capfd)

    if not told:  # what is not said of a batch is no proof, and no contradiction
        assert code == 0
        return
    # What is wrong with the answers of a batch is told of its last line.
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith((f"parity: {path}:{number}: contradicts itself: ", f"parity: {path}:{number}: damaged: "))
    assert told in err
    assert err.endswith("; run anew\n")


def test_an_image_that_is_counted_twice_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def renamed(line: Any) -> None:
        line["image"] = line["cases"][0]["image"] = "7.png"

    whole = changed(written(tmp_path / "r.cases.jsonl"), 3, renamed)

    code, _, err = merged(whole, capfd=capfd)

    assert code == 2
    assert "images 1 and 7 have one name, and an image is counted once" in err


def test_an_image_of_two_shards_is_told_and_nothing_is_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from parity.stream.job import Shard

    text = b"".join(map(to_line, lines(HEAD, EXPECTED, FOUND))).splitlines(keepends=True)
    paths = []
    for number, rows in ((1, (0, 1, 2, 6, 7)), (2, (3, 4, 5))):
        paths.append(tmp_path / f"{number}.cases.jsonl")
        head = replace(HEAD, shard=Shard(number, 2))
        paths[-1].write_bytes(head.to_json() + b"".join(text[row] for row in rows))
    assert merged(*paths, capfd=capfd)[0] == 0

    def renamed(line: Any) -> None:
        line["image"] = line["cases"][0]["image"] = "0.png"

    changed(paths[1], 2, renamed)
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["merge", *map(str, paths), "--json", str(tmp_path / "out" / "r.json")])

    assert stop.value.code == 2
    assert "images 0 and 3 have one name" in capfd.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


# Results beside their cases


def results(path: Path, run: Run) -> Path:
    path.write_text(to_json(run), encoding="utf-8")
    return path


def test_judge_goes_by_the_cases(tmp_path: Path) -> None:
    bad = FOUND.copy()
    bad[1] = [0.9, 0.0, 0.0, 0.0]
    sound = read_results(written(tmp_path / "r.cases.jsonl"), 1.0)
    path = results(tmp_path / "r.json", sound)
    assert judge_file(path).exit_code == 0

    written(tmp_path / "r.cases.jsonl", found=bad)

    assert judge_file(path).exit_code == judge_file(path, 0.9).exit_code == 1


@pytest.mark.parametrize(
    ("legs", "told"),
    [
        ((LEG,), "has tiny by onnx on coreml-native where r.cases.jsonl has nothing; put the cases of this run"),
        (
            (replace(LEG, route="mlprogram"),),
            "has tiny by onnx on onnxruntime where r.cases.jsonl has tiny by mlprog",
        ),
    ],
)
def test_legs_that_the_cases_do_not_have_are_refused(legs: tuple[HeadLeg, ...], told: str, tmp_path: Path) -> None:
    path = results(tmp_path / "r.json", read_results(written(tmp_path / "r.cases.jsonl"), 1.0))
    written(tmp_path / "r.cases.jsonl", replace(HEAD, legs=legs))

    with pytest.raises(Exception, match=told) as raised:
        judge_file(path)

    assert "\n" not in str(raised.value)
