"""A streamed run from its job to its results: the same as a run that is not, and the same however it is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import ParityError, pipeline
from parity.backends import onnxruntime as runtime
from parity.core.noise import FP32, SAMPLE
from parity.core.results import Prediction, to_json
from parity.stream.aggregate import read_results
from parity.stream.engines import stream
from parity.stream.job import Shard
from parity.stream.legs import Sample
from parity.stream.lines import HeadLeg
from parity.stream.listing import list_images
from parity.stream.merging import merge_cases
from parity.stream.running import Shardwork, _compare, prepare, run_shard, write_cases
from parity.suite.suite import read_suite
from tests.parity import tiny
from tests.parity.stream.jobs import BATCH, PICTURES, job_over, picture, save_pictures, save_suite

Broken = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite and pictures, one of them damaged."""
    place = tmp_path_factory.mktemp("streamed")
    save_suite(place)
    save_pictures(place / "pictures")
    (place / "pictures" / "017.png").write_bytes(b"")
    return place


@pytest.fixture(scope="module")
def work(place: Path) -> Shardwork:
    """Load everything once."""
    return prepare(job_over(place / "pictures", place))


@pytest.fixture(scope="module")
def whole(place: Path, work: Shardwork) -> bytes:
    """Run without any interruption."""
    job = job_over(place / "pictures", place, cases=place / "whole.cases.jsonl")
    return write_cases(job, work).cases.read_bytes()


def test_the_results_are_those_of_a_run_that_holds_all_images(place: Path, tmp_path: Path) -> None:
    few = save_pictures(tmp_path / "few", 9)
    save_suite(
        tmp_path, f'images = ["{few}/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\nroutes = ["onnx"]\n'
    )
    held = pipeline.run(read_suite(tmp_path / "parity.toml"), artifacts=place / "artifacts")

    streamed = stream(job_over(few, tmp_path, backends=(), artifacts=place / "artifacts")).run

    for one, other in zip(streamed.subjects, held.subjects, strict=True):
        assert (one.model, one.route, one.backend, one.verdict) == (other.model, other.route, other.backend, "pass")
        assert (one.images, one.tolerance, one.top1_agreement) == (9, other.tolerance, other.top1_agreement)
        theirs = {case.image: case for case in other.cases}
        assert {case.image for case in one.cases} == theirs.keys()
        for case in one.cases:
            # In a batch PyTorch adds up in another order: as far apart as the product lets two kernels be.
            assert case.reference.label == theirs[case.image].reference.label
            assert case.reference.probability == pytest.approx(
                theirs[case.image].reference.probability, abs=FP32["onnx"][0]
            )


@settings(max_examples=25)
@given(st.data())
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bytes(
    place: Path, work: Shardwork, whole: bytes, data: st.DataObject
) -> None:
    job = job_over(place / "pictures", place, cases=place / "cut.cases.jsonl")
    assert job.cases is not None
    job.cases.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    done = write_cases(job, work)

    assert done.cases.read_bytes() == whole


KILLED = """
import os, signal, sys
from pathlib import Path
from parity.stream.job import Job
from parity.stream.journal import Journal
from parity.stream.running import run_shard

append, left = Journal.append, [int(sys.argv[2])]

def half(self, lines):
    left[0] -= 1
    if left[0] < 0:
        # In the middle of writing: some of the batch is there.
        append(self, lines[:1])
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, lines)

Journal.append = half
place = Path(sys.argv[1])
suite, pictures, cases = (place / name for name in ("parity.toml", "pictures", "killed.cases.jsonl"))
run_shard(
    Job(suite, pictures, ("tiny",), backends=("onnxruntime",), batch=4, artifacts=place / "artifacts", cases=cases)
)
"""


def test_a_run_that_was_killed_twice_ends_with_the_same_bytes(place: Path, work: Shardwork, whole: bytes) -> None:
    for batches in (2, 1):
        command = [sys.executable, "-c", KILLED, str(place), str(batches)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
        assert done.returncode == -signal.SIGKILL
        assert (place / "killed.cases.jsonl.lock").is_file()
    job = job_over(place / "pictures", place, cases=place / "killed.cases.jsonl")
    assert job.cases is not None
    # Batches 0, 1, 2 and the first image of the next, below the header.
    assert len(job.cases.read_bytes().splitlines()) == 1 + 3 * BATCH + 1

    done_now = write_cases(job, work)

    assert done_now.cases.read_bytes() == whole
    assert not (place / "killed.cases.jsonl.lock").exists()
    assert "3 of 6 batches were done before; --fresh starts anew" in done_now.remarks[0]


@pytest.mark.parametrize("of", [2, 4])
def test_shards_together_are_the_whole_run(
    place: Path, tmp_path: Path, work: Shardwork, whole: bytes, of: int
) -> None:
    paths = []
    for number in range(1, of + 1):
        shard = Shard(number, of)
        job = job_over(place / "pictures", place, cases=tmp_path / f"{number}.cases.jsonl", shard=shard)
        paths.append(write_cases(job, replace(work, header=replace(work.header, shard=shard))).cases)

    merge_cases(paths, tmp_path / "whole.cases.jsonl")

    assert (tmp_path / "whole.cases.jsonl").read_bytes() == whole
    merged, found = (
        read_results(path, 0.1) for path in (tmp_path / "whole.cases.jsonl", place / "whole.cases.jsonl")
    )
    assert to_json(merged) == to_json(found)


def test_workers_change_nothing(place: Path, work: Shardwork, whole: bytes) -> None:
    job = job_over(place / "pictures", place, cases=place / "workers.cases.jsonl", workers=1)

    assert write_cases(job, work).cases.read_bytes() == whole


def test_the_progress_counts_images(place: Path, work: Shardwork, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.cases.jsonl"
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: 1 + 2 * BATCH]))
    told: list[tuple[str, int, int | None]] = []

    write_cases(job_over(place / "pictures", place, cases=path), work, lambda *given: told.append(given))

    assert told[0] == ("looking for images that changed", 0, None)
    assert told[1:] == [("comparing", done, PICTURES) for done in (8, 12, 16, 20, 23)]


# What is settled first


def test_without_a_place_for_them_the_cases_go_when_all_is_done(place: Path) -> None:
    found = stream(job_over(place / "pictures", place, cases=None), allowed_unreadable=0.1)

    assert found.run.exit_code == 0
    assert found.run.cases_file == ""
    assert list((place / "artifacts" / "runs").iterdir()) == []


def test_a_run_that_is_started_again_without_a_place_goes_on(place: Path, whole: bytes) -> None:
    job = job_over(place / "pictures", place, cases=None)
    path = run_shard(job).cases
    assert path.parent == place / "artifacts" / "runs"
    path.write_bytes(path.read_bytes()[:-1])

    again = run_shard(job)

    assert again.cases == path
    assert path.read_bytes() == whole
    path.unlink()


def test_an_artefact_that_takes_whole_batches_gets_them_and_others_do_not(place: Path, tmp_path: Path) -> None:
    save_suite(
        tmp_path,
        'images = ["own/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\nroutes = ["onnx-torchscript"]\n'
        '[models.bounded]\nfactory = "models.py:tiny"\nroutes = ["onnx-torchscript"]\n'
        'dynamic = "batch"\nbounds = [1, 3]\n',
    )
    pictures = save_pictures(tmp_path / "pictures", 7)

    found = prepare(job_over(pictures, tmp_path, models=()))

    assert {leg.model: leg.at_once for leg in found.header.legs} == {"tiny": BATCH, "bounded": 3}
    assert {
        leg.model: leg.at_once for leg in prepare(job_over(pictures, tmp_path, models=(), batch=1)).header.legs
    } == {
        "tiny": 1,
        "bounded": 1,
    }


def test_images_in_batches_agree_with_images_one_by_one(place: Path) -> None:
    pictures = place / "pictures"
    alone, together = (
        stream(job_over(pictures, place, cases=None, batch=batch), allowed_unreadable=0.1).run for batch in (1, 8)
    )

    assert [s.verdict for s in alone.subjects] == [s.verdict for s in together.subjects] == ["pass"]
    assert alone.subjects[0].counts == together.subjects[0].counts


def test_what_fp16_costs_is_measured_on_images_spread_over_the_whole_list(tmp_path: Path) -> None:
    pictures = save_pictures(tmp_path / "pictures", 70)
    (pictures / "000.png").write_bytes(b"")
    sample = Sample(tiny.tiny(), list_images(pictures))

    cost = sample.cost("fp16")

    assert len(list(sample._places())) == SAMPLE == 64
    assert (list(sample._places())[:2], list(sample._places())[-1]) == ([0, 1], 68)
    assert sample.measured_on("fp16") == "63 images, evenly spaced over all 70"
    assert sample.measured_on("fp32") == "8 images, evenly spaced over all 70"
    assert 0 < cost < 0.05
    np.testing.assert_array_equal(sample.one[0], np.asarray(picture(1)))


def test_a_tolerance_for_fp16_says_what_it_was_measured_on(place: Path, tmp_path: Path) -> None:
    tiny_alone = '[models.tiny]\nfactory = "models.py:tiny"\n'
    suite = f'images = ["own/*.png"]\n{tiny_alone}routes = ["mlprogram", "mlprogram-fp32"]\n'
    save_suite(tmp_path, suite)
    job = job_over(place / "pictures", tmp_path, backends=("coreml-evaluator",), artifacts=place / "artifacts")

    half, full = prepare(job).header.legs

    assert "costs on 22 images, evenly spaced over all 23 (" in half.tolerance_reason
    assert "is off float64 on 8 images, evenly spaced over all 23 (" in full.tolerance_reason
    assert (full.tolerance, full.at_once) == (1e-4, 1)
    assert prepare(replace(job, tolerance_scale=2)).header.legs[1].tolerance == 2e-4


def test_pictures_that_are_all_damaged_conclude_nothing(place: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(5):
        (pictures / f"{number}.png").write_bytes(b"")

    found = stream(job_over(pictures, place, cases=None)).run

    assert (found.subjects[0].verdict, found.exit_code) == ("inconclusive", 3)


def test_answers_recorded_elsewhere_are_not_asked_about_other_images(place: Path, tmp_path: Path) -> None:
    suite = 'images = ["own/*.png"]\nrecords = ["r.json"]\n[models.tiny]\nfactory = "models.py:tiny"\n'
    save_suite(tmp_path, f'{suite}routes = ["onnx-torchscript"]\n')

    legs = prepare(job_over(place / "pictures", tmp_path, backends=())).header.legs

    assert [(leg.backend, leg.verdict) for leg in legs] == [
        ("onnxruntime", None),
        ("onnx-reference", None),
        ("recorded", "skipped"),
    ]
    assert legs[2].reason.endswith("run without --images")


def test_a_name_that_is_not_utf8_is_run_and_written(place: Path, tmp_path: Path) -> None:
    pictures = save_pictures(tmp_path / "pictures", 3)
    try:
        picture(3).save(os.fsdecode(os.fsencode(pictures) + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    found = stream(job_over(pictures, place, cases=None)).run

    assert found.unreadable is None
    assert {case.image for case in found.subjects[0].cases} == {"000.png", "001.png", "002.png", r"\xff.png"}


# What breaks


def test_a_runtime_that_cannot_load_is_an_error_and_the_rest_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        raise ParityError("the file is broken")

    monkeypatch.setattr(runtime, "load", load)

    found = stream(job_over(place / "pictures", place, cases=None, backends=()), allowed_unreadable=0.1).run

    assert [(s.backend, s.verdict, s.reason) for s in found.subjects] == [
        ("onnxruntime", "error", "the file is broken"),
        ("onnx-reference", "pass", ""),
    ]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda calls, answer: 1 / 0, "ZeroDivisionError: division by zero"),
        (
            lambda calls, answer: Prediction(answer.probabilities[:1], answer.labels),
            "another number of answers than images",
        ),
    ],
)
def test_a_runtime_that_breaks_on_a_batch_fails_those_images_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, broken: Broken, told: str
) -> None:
    load, calls = runtime.load, [0]

    def breaking(*given: Any) -> Any:
        predict = load(*given)

        def run(pixels: np.ndarray) -> Prediction:
            calls[0] += 1
            answer = predict(pixels)
            # The first call is the trial, the third the second batch.
            return broken(calls, answer) if calls[0] == 3 else answer

        return run

    monkeypatch.setattr(runtime, "load", breaking)

    (subject,) = stream(job_over(place / "pictures", place, cases=None), allowed_unreadable=0.1).run.subjects

    assert (subject.verdict, subject.reason) == ("fail", f"{BATCH} error of 22 image(s)")
    assert [case.reason for case in subject.cases[:BATCH]] == [told] * BATCH
    assert [case.image for case in subject.cases[:BATCH]] == [f"{number:03}.png" for number in range(4, 8)]


def test_answers_under_other_labels_fail_before_the_images_are_run(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        return lambda pixels: Prediction(np.ones((len(pixels), 2)), ("x", "y"))

    monkeypatch.setattr(runtime, "load", load)

    (subject,) = stream(job_over(place / "pictures", place, cases=None), allowed_unreadable=0.1).run.subjects

    assert subject.verdict == "fail"
    assert subject.reason.startswith("the candidate has 2 labels, the classifier 8")


def test_an_untrained_model_proves_nothing_over_any_number_of_batches(place: Path) -> None:
    job = job_over(place / "pictures", place, cases=None, models=("untrained",))

    (subject,) = stream(job, allowed_unreadable=0.1).run.subjects

    assert (subject.verdict, subject.reason[:32]) == ("inconclusive", "the reference answers about 1/8 ")


def test_what_adds_up_better_than_pytorch_agrees() -> None:
    answers = np.array([[0.75, 0.125, 0.125], [0.125, 0.75, 0.125], [0.0, 0.25, 0.75]])
    reference = Prediction(answers * 1.0004, ("a", "b", "c"))  # whose sum is 0.0004 too small
    moved = answers.copy()
    moved[2] = [0.25, 0.0, 0.75]
    head = HeadLeg("m", "onnx", "onnx-reference", "m.onnx", "fp32", tolerance=1e-4)
    names = ["a.png", "b.png", "c.png"]

    cases = _compare(head, lambda pixels: Prediction(moved), np.zeros((3, 1, 1, 3)), reference, names, [None] * 3)

    assert [case.verdict for case in cases] == ["match", "match", "drift"]
    assert [case.max_abs_diff for case in cases[:2]] == [pytest.approx(0, abs=1e-15)] * 2
