"""What is given in the place of a converted model, or of images, is called by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conversion import ConversionError, open_artifact
from conversion.images import find_images, load_image


def refused(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        open_artifact(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["Flowers.mlmodelc", "Flowers.mlpackage", "Flowers"])
def test_a_compiled_model_is_told_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    # What Xcode and `coremlcompiler compile` leave.
    path = tmp_path / name
    (path / "weights").mkdir(parents=True)
    (path / "coremldata.bin").write_bytes(b"\x01")
    (path / "model.mil").write_text("program(1.0)", encoding="utf-8")

    assert refused(path) == (
        "a compiled model, which only Apple's runtime reads; give the .mlpackage or .mlmodel that it was compiled "
        "from"
    )


def test_a_compiled_model_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "Flowers.mlmodelc").mkdir()

    assert refused(tmp_path / "Flowers.mlmodelc").startswith("a compiled model, ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("photo.JPG", "an image, not a converted model"),
        ("photo.heic", "an image, not a converted model"),
        ("weights.pth", "weights of PyTorch, not yet a converted model"),
        ("weights.safetensors", "weights of PyTorch, not yet a converted model"),
        ("models.py", "Python source, not yet a converted model"),
        ("parity.toml", "a suite file, not a converted model"),
        ("results.json", "data, not a converted model"),
        ("results.cases.jsonl", "data, not a converted model"),
    ],
)
def test_a_file_of_something_else_is_called_by_its_name(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")

    assert refused(tmp_path / name) == f"{told}; give a .onnx, a .mlmodel, a .mlpackage or a .aimodel"


def test_a_model_in_the_place_of_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "net.mlpackage").mkdir()

    with pytest.raises(ConversionError, match=r"net\.onnx is a converted model, not an image: give a photo"):
        load_image(tmp_path / "net.onnx")
    with pytest.raises(
        ConversionError, match=re.escape("net.mlpackage is a converted model, not a directory of images")
    ):
        find_images([tmp_path / "net.mlpackage"], tmp_path)
