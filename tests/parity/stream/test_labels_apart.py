"""Labels that are judged apart: a stream says of them what a run says that holds its images."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import ParityError, pipeline
from parity.core.results import Case, Run, to_json
from parity.stream.aggregate import read_results
from parity.stream.engines import stream
from parity.stream.job import Job, Shard
from parity.stream.judge_saved import judge_file
from parity.stream.merging import merge_cases
from parity.stream.running import Shardwork, prepare, write_cases
from parity.suite.suite import read_suite
from tests.parity.stream.jobs import job_over, save_pictures, save_suite

IMAGES = 8
SUITE = """
images = ["pictures/*.png"]

[models.apart]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
sigmoid = "added"

[models.broken]
factory = "models.py:one_label_off"
routes = ["onnx-torchscript"]
sigmoid = "added"
"""
# Its file has the third label's bias wrong, as if the app's list had moved.
OFF = """

class Off(Tiny):
    def forward(self, image):
        logits = super().forward(image)
        off = torch.zeros(len(LABELS))
        off[2] = 30.0
        return logits + off if torch.jit.is_tracing() else logits


def one_label_off():
    return Classifier("broken", Off().eval(), PREPROCESSING, LABELS)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("apart")
    save_suite(place, SUITE)
    with (place / "models.py").open("a", encoding="utf-8") as file:
        file.write(OFF)
    save_pictures(place / "pictures", IMAGES)
    return place


def job(place: Path, **more: Any) -> Job:
    """Give models one image at a time, as a run that holds its images does: then not even the last bit differs."""
    return job_over(place / "pictures", place, **{"models": ("apart", "broken"), "batch": 1} | more)


@pytest.fixture(scope="module")
def work(place: Path) -> Shardwork:
    return prepare(job(place))


@pytest.fixture(scope="module")
def whole(place: Path, work: Shardwork) -> bytes:
    return write_cases(job(place, cases=place / "whole.cases.jsonl"), work).cases.read_bytes()


@pytest.fixture(scope="module")
def streamed(place: Path, whole: bytes) -> Run:
    return read_results(place / "whole.cases.jsonl", 0.0)


def named(cases: tuple[Case, ...]) -> dict[str, Case]:
    return {Path(case.image).name: replace(case, image=Path(case.image).name) for case in cases}


def test_it_agrees_in_every_number_with_a_run_that_holds_all_images(place: Path, streamed: Run) -> None:
    suite = read_suite(place / "parity.toml")
    held = pipeline.run(suite, backends=["onnxruntime"], artifacts=place / "artifacts", explain=False)

    assert [s.verdict for s in streamed.subjects] == ["pass", "fail"]
    for one, other in zip(streamed.subjects, held.subjects, strict=True):
        assert len(one.cases) == IMAGES
        assert named(one.cases) == named(other.cases)
        assert one.outputs == other.outputs
        assert [output.name for output in one.outputs] == ["labelProbs"]
        for field in ("verdict", "reason", "images", "max_abs_diff", "top1_agreement", "required_tolerance"):
            assert getattr(one, field) == getattr(other, field), field


def test_a_broken_label_is_caught_and_named(streamed: Run) -> None:
    broken = streamed.subjects[1]
    assert broken.verdict == "fail"
    assert {case.worst_label for case in broken.cases if case.verdict == "flip"} == {"cat"}
    assert broken.required_tolerance is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.55, 0.9, 0.999])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    share: float, place: Path, work: Shardwork, whole: bytes
) -> None:
    cut = job(place, cases=place / "cut.cases.jsonl")
    assert cut.cases is not None
    cut.cases.write_bytes(whole[: int(share * len(whole))])

    assert write_cases(cut, work).cases.read_bytes() == whole


def test_shards_together_are_the_whole_run(
    place: Path, tmp_path: Path, work: Shardwork, whole: bytes, streamed: Run
) -> None:
    paths = []
    for number in (1, 2, 3):
        shard = Shard(number, 3)
        part = job(place, cases=tmp_path / f"{number}.cases.jsonl", shard=shard)
        paths.append(write_cases(part, replace(work, header=replace(work.header, shard=shard))).cases)

    merge_cases(paths, tmp_path / "whole.cases.jsonl")

    assert (tmp_path / "whole.cases.jsonl").read_bytes() == whole
    assert to_json(read_results(tmp_path / "whole.cases.jsonl", 0.0)) == to_json(streamed)


def test_judged_again_by_another_tolerance_it_passes_and_fails(place: Path, tmp_path: Path, whole: bytes) -> None:
    done = stream(job(place, models=("apart",), cases=tmp_path / "r.cases.jsonl"))
    (tmp_path / "r.json").write_text(to_json(done.run), encoding="utf-8")
    (subject,) = done.run.subjects
    assert subject.max_abs_diff is not None
    assert 0 < subject.max_abs_diff < 1e-5

    assert judge_file(tmp_path / "r.json").subjects[0].verdict == "pass"
    assert judge_file(tmp_path / "r.json", subject.max_abs_diff / 2).subjects[0].verdict == "fail"


def test_images_that_are_all_alike_prove_nothing(place: Path, tmp_path: Path) -> None:
    alike = save_pictures(tmp_path / "alike", 1)
    (alike / "again.png").write_bytes((alike / "000.png").read_bytes())
    (subject,) = stream(replace(job(place, models=("apart",), cases=None), images=alike)).run.subjects

    assert subject.verdict == "inconclusive"
    assert subject.reason.startswith("the reference answers the same for every image")


def test_directories_are_no_truth_and_a_file_of_labels_is_refused(place: Path, tmp_path: Path) -> None:
    images = save_pictures(tmp_path / "images" / "ant", 2).parent
    save_pictures(images / "bee", 2)
    (subject,) = stream(replace(job(place, models=("apart",), cases=None), images=images)).run.subjects
    assert subject.accuracy is None

    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\nant,ant\n", encoding="utf-8")
    with pytest.raises(ParityError, match=r"labels.csv: gives an image one label, and the labels of apart"):
        prepare(replace(job(place, models=("apart",)), images=images, labels=labels))


# A journal that contradicts itself


def changed(line: bytes, change: Any) -> bytes:
    content = json.loads(line)
    change(content)
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def with_classes(content: Any) -> None:
    content["varieties"][0]["classes"] = [0, 1]


def with_other_bounds(content: Any) -> None:
    zeros = base64.b64encode(np.zeros(8, np.float32).tobytes()).decode()
    content["varieties"][0] |= {"low": zeros, "high": zeros}


def with_a_strange_label(content: Any) -> None:
    content["cases"][0]["worst_label"] = "yak"


def with_another_distance(content: Any) -> None:
    content["cases"][0]["outputs"][0]["distance"] = 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_classes, "there are classes, and the numbers are probabilities of labels apart"),
        (with_other_bounds, "is from 0 to 0, and a case has"),
        (with_a_strange_label, "label 'yak' is none of its model's"),
        (with_another_distance, "and that of the outputs is 0.5"),
    ],
)
def test_what_cannot_be_true_is_refused(change: Any, told: str, whole: bytes, tmp_path: Path) -> None:
    header, first, *others = whole.splitlines(keepends=True)
    path = tmp_path / "r.cases.jsonl"
    path.write_bytes(b"".join([header, changed(first, change), *others]))

    with pytest.raises(ParityError) as caught:
        read_results(path, 0.0)

    assert str(caught.value).startswith(f"{path}:2: contradicts itself: ")
    assert told in str(caught.value)
