"""The spot check: a slow backend sees 64 of many images, the same ones however the run is cut, and all say so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from parity import ParityError
from parity.cli import cli
from parity.core.results import read_run, to_json
from parity.metrics.classification.variety import variety_of
from parity.stream.aggregate import aggregate, read_results
from parity.stream.cases_file import read_header, read_lines
from parity.stream.engines import stream
from parity.stream.job import Job, Shard
from parity.stream.legs import spots_of
from parity.stream.lines import Line, pack
from parity.stream.merging import merge_cases
from tests.parity.stream.jobs import job_over, save_pictures, save_suite
from tests.parity.stream.test_aggregate import ANT, DOG, LEG, header, lines

COUNT = 150
# 64 of 150 images: the first, and then every one where another 64th of the list begins.
EXPECTED = [
    *(
        0,
        2,
        4,
        7,
        9,
        11,
        14,
        16,
        18,
        21,
        23,
        25,
        28,
        30,
        32,
        35,
        37,
        39,
        42,
        44,
        46,
        49,
        51,
        53,
        56,
        58,
        60,
        63,
        65,
    ),
    *(
        67,
        70,
        72,
        75,
        77,
        79,
        82,
        84,
        86,
        89,
        91,
        93,
        96,
        98,
        100,
        103,
        105,
        107,
        110,
        112,
        114,
        117,
        119,
        121,
        124,
    ),
    *(126, 128, 131, 133, 135, 138, 140, 142, 145, 147),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("spots")
    save_suite(place)
    save_pictures(place / "pictures", COUNT)
    (place / "pictures" / "077.png").write_bytes(b"")  # one of the spots
    return place


def job_of(place: Path, **more: object) -> Job:
    return job_over(place / "pictures", place, backends=(), batch=8, **more)


@pytest.fixture(scope="module")
def whole(place: Path) -> bytes:
    job = job_of(place)
    stream(job, allowed_unreadable=0.5)
    assert job.cases is not None
    return job.cases.read_bytes()


def test_a_slow_backend_sees_64_images_evenly_spaced(place: Path, whole: bytes) -> None:
    path = place / "r.cases.jsonl"
    run = read_results(path, 0.5)
    head = read_header(path)

    fast, slow = run.subjects

    assert [leg.backend for leg in head.running] == ["onnxruntime", "onnx-reference"]
    with path.open("rb") as file:
        file.readline()
        seen = [line.index for line in read_lines(path, head, file) if len(line.cases) == 2]
    assert seen == [place for place in EXPECTED if place != 77]
    assert len(EXPECTED) == 64
    assert (fast.images, slow.images) == (COUNT - 1, 63)
    assert (fast.verdict, slow.verdict) == ("pass", "pass")
    assert (fast.top1_agreement, slow.top1_agreement) == (1.0, 1.0)
    assert sum(slow.counts.values()) == 63
    assert fast.remarks == ()
    assert slow.remarks == ("spot check on 63 of 150 images, evenly spaced; --backend onnx-reference asks for all",)


@pytest.mark.parametrize("of", [2, 3])
def test_shards_see_the_same_images(place: Path, tmp_path: Path, whole: bytes, of: int) -> None:
    paths = [tmp_path / f"{number}.cases.jsonl" for number in range(1, of + 1)]
    for number, path in enumerate(paths, start=1):
        stream(job_of(place, shard=Shard(number, of), cases=path), allowed_unreadable=0.5)

    merge_cases(paths, tmp_path / "whole.cases.jsonl")

    assert (tmp_path / "whole.cases.jsonl").read_bytes() == whole


def test_a_run_that_was_stopped_sees_the_same_images(place: Path, tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(whole[: len(whole) // 2])

    stream(job_of(place, cases=path), allowed_unreadable=0.5)

    assert path.read_bytes() == whole


def test_every_report_says_so(place: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (tmp_path / "r.cases.jsonl").write_bytes(whole)
    files = {kind: tmp_path / f"r.{kind}" for kind in ("json", "html", "md")}

    done = CliRunner().invoke(
        cli,
        [
            *("run", "--model", "tiny", "--images", "pictures", "--batch", "8", "--workers", "0"),
            *("--artifacts", "artifacts", "--max-unreadable", "0.5"),
            *("--json", str(files["json"]), "--html", str(files["html"]), "--markdown", str(files["md"])),
        ],
        standalone_mode=False,
        terminal_width=200,
    )

    told = "spot check on 63 of 150 images"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert told in " ".join(done.output.split())
    assert [s.images for s in read_run(files["json"]).subjects] == [149, 63]
    assert told in json.loads(files["json"].read_text(encoding="utf-8"))["subjects"][1]["remarks"][0]
    for kind in ("html", "md"):
        assert told in files[kind].read_text(encoding="utf-8")


def test_asked_for_by_name_it_sees_all(place: Path, tmp_path: Path) -> None:
    job = job_over(
        place / "pictures", place, backends=("onnx-reference",), batch=8, cases=tmp_path / "r.cases.jsonl"
    )

    (subject,) = stream(job, allowed_unreadable=0.5).run.subjects

    assert (subject.images, subject.remarks) == (COUNT - 1, ())


@pytest.mark.parametrize(
    ("backend", "asked", "images", "spots"),
    [
        ("onnx-reference", (), 64, 0),
        ("onnx-reference", (), 65, 64),
        ("onnx-reference", ("onnxruntime",), 65, 64),
        ("onnx-reference", ("onnx-reference",), 10**6, 0),
        ("onnxruntime", (), 10**6, 0),
        ("coreml-evaluator", (), 10**6, 0),
    ],
)
def test_who_is_checked_in_spots(backend: str, asked: tuple[str, ...], images: int, spots: int) -> None:
    assert spots_of(Job(Path("s"), Path("i"), backends=asked), backend, images) == spots


@given(st.integers(1, 2000), st.integers(1, 100))
def test_spots_are_as_many_as_asked_for_and_evenly_spaced(images: int, spots: int) -> None:
    leg = replace(LEG, spots=spots)

    seen = [place for place in range(images) if leg.sees(place, images)]

    assert len(seen) == min(spots, images)
    assert seen[0] == 0
    gaps = np.diff([*seen, images])
    assert gaps.max() - gaps.min() <= 1


# What is concluded from them

SPOT = replace(LEG, backend="onnx-reference", spots=2)


def spotted(answers: list[list[float]], found: list[list[float]], unreadable: tuple[int, ...] = ()) -> list[Line]:
    """Write the lines of a run whose second leg sees two of the images."""
    head = header(len(answers), batch=len(answers))
    expected = np.array(answers)
    made = lines(head, expected, np.array(found), unreadable)
    seen = [place for place in range(len(answers)) if SPOT.sees(place, len(answers)) and place not in unreadable]
    made = [replace(line, cases=line.cases * 2) if line.index in seen else line for line in made]
    spots = (pack(variety_of(expected[seen]), expected.dtype),) if seen else ()
    return [*made[:-1], replace(made[-1], spots=spots)]


def legs_over(answers: list[list[float]], found: list[list[float]], unreadable: tuple[int, ...] = ()) -> list[str]:
    head = header(len(answers), batch=len(answers), legs=(LEG, SPOT))
    return [f"{s.verdict} {s.images}" for s in aggregate(head, spotted(answers, found, unreadable), 1.0).subjects]


def test_a_leg_is_judged_by_the_images_that_it_saw() -> None:
    answers = [ANT, DOG, DOG, ANT]  # the spots are 0 and 2
    wrong_elsewhere = [ANT, ANT, DOG, ANT]
    wrong_there = [ANT, DOG, ANT, ANT]

    assert legs_over(answers, answers) == ["pass 4", "pass 2"]
    assert legs_over(answers, wrong_elsewhere) == ["fail 4", "pass 2"]
    assert legs_over(answers, wrong_there) == ["fail 4", "fail 2"]


def test_spots_that_are_all_of_one_class_prove_nothing() -> None:
    answers = [ANT, DOG, ANT, DOG]

    assert legs_over(answers, answers) == ["pass 4", "inconclusive 2"]


def test_spots_that_cannot_be_read_prove_nothing() -> None:
    answers = [ANT, DOG, DOG, ANT]

    assert legs_over(answers, answers, unreadable=(0, 2)) == ["pass 2", "inconclusive 0"]


def test_a_line_with_cases_of_legs_that_do_not_see_it_is_damaged(tmp_path: Path, whole: bytes) -> None:
    head, first, second, *rest = whole.splitlines(keepends=True)
    line = json.loads(second)
    line["cases"] *= 2
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(b"".join([head, first, json.dumps(line).encode() + b"\n", *rest]))

    with pytest.raises(
        ParityError, match=r":3: contradicts itself: 001.png has 2 cases, and 1 legs see it; run anew"
    ):
        read_results(path, 0.5)


def test_saved_results_are_judged_again_by_the_legs_that_saw_each_image(
    place: Path, whole: bytes, tmp_path: Path
) -> None:
    from parity.stream.judge_saved import judge_file

    (tmp_path / "r.cases.jsonl").write_bytes(whole)
    run = read_results(tmp_path / "r.cases.jsonl", 0.5)
    (tmp_path / "r.json").write_text(to_json(run), encoding="utf-8")

    judged = judge_file(tmp_path / "r.json", 0.3)

    assert [(s.verdict, s.images, s.tolerance) for s in judged.subjects] == [("pass", 149, 0.3), ("pass", 63, 0.3)]
