"""A suite of one finished file: which model, which images, and one clear line where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.core.errors import ParityError
from parity.suite.one_file import is_finished, suite_of_file
from tests.parity.commands.command import lay_out

SUITE = 'images = ["photos/*.png"]\n[models.named]\nfactory = "models.py:tiny"\nroutes = ["onnx"]\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return lay_out(tmp_path, SUITE, "onnx-torchscript")


@pytest.mark.parametrize(
    ("path", "finished"),
    [("a.onnx", True), ("a.mlpackage", True), ("a.mlmodel", True), ("a.toml", False), (None, False)],
)
def test_a_finished_file_is_known_by_its_suffix(path: str | None, finished: bool) -> None:
    assert is_finished(Path(path) if path else None) == finished


def test_a_factory_takes_the_images_that_are_named(place: Path) -> None:
    (entry,) = suite_of_file(Path("tiny.onnx"), ["models.py:tiny"], ["photos"]).models

    assert (entry.name, entry.factory, entry.routes, entry.images) == (
        *("tiny", "models.py:tiny", ("tiny.onnx",)),
        ("photos",),
    )
    assert entry.recipe("tiny.onnx").finished == place / "tiny.onnx"


def test_a_name_in_the_suite_has_its_images(place: Path) -> None:
    (entry,) = suite_of_file(Path("tiny.onnx"), ["named"], []).models

    assert (entry.name, entry.routes, entry.images) == ("named", ("tiny.onnx",), ("photos/*.png",))
    (entry,) = suite_of_file(Path("tiny.onnx"), ["named"], ["photos"]).models
    assert entry.images == (str(place / "photos"),)


@pytest.mark.parametrize(
    ("file", "models", "images", "told"),
    [
        ("tiny.onnx", [], ["photos"], "compared with the one that it was made from; name that with --model"),
        ("tiny.onnx", ["named", "other"], [], "compared with the one"),
        ("absent.onnx", ["named"], [], "absent.onnx: no such file"),
        ("tiny.onnx", ["models.py:tiny"], [], "no images to compare it on; name some with --images"),
        ("tiny.onnx", ["nobody"], [], "no model `nobody`"),
    ],
)
def test_what_is_missing_is_told(place: Path, file: str, models: list[str], images: list[str], told: str) -> None:
    with pytest.raises(ParityError, match=told):
        suite_of_file(Path(file), models, images)
