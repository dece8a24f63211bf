"""Where a library's own transform gives other pixels, a stream says so as a run that holds its images does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conversion import Classifier
from parity import pipeline
from parity.stream import legs
from parity.stream.engines import stream
from parity.suite.suite import read_suite
from tests.parity.stream.jobs import job_over, save_pictures, save_suite

SUITE = """
images = ["pictures/*.png"]

[models.tiny]
factory = "models.py:{factory}"
routes = ["onnx-torchscript", "onnx"]
"""
# One transform makes every pixel brighter by 7 of 255, the other is ours.
OWN = """

from conversion.sources.transform_check import OwnTransform


def _numbers(offset):
    def function(picture):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).double()
        mean, std = (torch.tensor(s).reshape(3, 1, 1) for s in (PREPROCESSING.mean, PREPROCESSING.std))
        return ((pixels + offset) / 255 - mean) / std
    return function


def other():
    return replace(tiny(), own_transform=OwnTransform("birdlib", _numbers(7.0), "it rounds"))


def ours():
    return replace(tiny(), own_transform=OwnTransform("birdlib", _numbers(0.0)))
"""


def lay_out(place: Path, factory: str) -> Path:
    save_suite(place, SUITE.format(factory=factory))
    with (place / "models.py").open("a", encoding="utf-8") as file:
        file.write(OWN)
    return save_pictures(place / "pictures", 11)


def test_it_is_said_of_each_leg_and_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = lay_out(tmp_path, "other")
    (pictures / "000.png").write_bytes(b"")  # what cannot be read is no picture to compare on
    measured: list[int] = []
    told = legs.difference_told

    def counting(classifier: Classifier, files: Sequence[Path]) -> str:
        measured.append(len(files))
        return told(classifier, files)

    monkeypatch.setattr(legs, "difference_told", counting)

    subjects = stream(job_over(pictures, tmp_path)).run.subjects

    assert [s.remarks for s in subjects] == [
        ("birdlib's own transform gives other pixels: up to 7/255 (it rounds)",)
    ] * 2
    assert measured == [7]


@pytest.mark.parametrize("factory", ["other", "ours"])
def test_a_run_that_holds_its_images_says_the_same(factory: str, tmp_path: Path) -> None:
    pictures = lay_out(tmp_path, factory)
    held = pipeline.run(
        read_suite(tmp_path / "parity.toml"), backends=["onnxruntime"], artifacts=tmp_path / "artifacts"
    )

    streamed = stream(job_over(pictures, tmp_path)).run

    remarks = [subject.remarks for subject in streamed.subjects]
    assert remarks == [subject.remarks for subject in held.subjects]
    assert [any("birdlib" in remark for remark in each) for each in remarks] == [factory == "other"] * 2
