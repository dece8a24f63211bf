"""A package from anywhere: nothing outside of it is read, written or waited for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion import ConversionError, open_artifact
from conversion.files.packages import read_package
from conversion.shapes import input_size, read_input_shapes
from parity.artifacts.answers import fed_pixels
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from parity.formats.editing import edited
from tests.parity.tiny import converted

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Copy a package into a directory with another one, to be led to."""
    shutil.copytree(converted("mlprogram").path, tmp_path / "other.mlpackage")
    return Path(shutil.copytree(converted("mlprogram").path, tmp_path / "net.mlpackage"))


def refused(package: Path) -> str:
    """Return the line with which it is refused, by each of those that open packages."""
    with pytest.raises(ConversionError) as caught:
        open_artifact(package)
    with pytest.raises(CoreMLError) as caught_too:
        Evaluator(package)
    (line,) = str(caught.value).splitlines()
    assert str(caught_too.value) == line
    assert line.startswith(f"{package}: ")
    return line


def rename(package: Path, write: Callable[[str], object]) -> None:
    """Give the model another path in the table of contents. write: takes the one that it has."""
    manifest = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    model = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
    model["path"] = write(model["path"])
    (package / "Manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    "way", ["../../other.mlpackage/Data/", "../Data/", "com.apple.CoreML/../", "./../../net.mlpackage/Data/"]
)
def test_a_path_out_of_the_package_is_not_followed(package: Path, way: str) -> None:
    rename(package, lambda path: way + path)
    assert "which leads out of the package, and is not followed" in refused(package)


def test_an_absolute_path_is_not_followed(package: Path) -> None:
    rename(package, lambda path: str(package.parent / "other.mlpackage" / "Data" / path))
    assert "which leads out of the package, and is not followed" in refused(package)


def test_nor_is_that_of_another_part(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    manifest["itemInfoEntries"]["more"] = {
        "path": "../../other.mlpackage",
        "author": "",
        "name": "",
        "description": "",
    }
    (package / "Manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "names '../../other.mlpackage', which leads out of the package" in refused(package)


@pytest.mark.parametrize("part", ["Manifest.json", MODEL, WEIGHTS, "Data/com.apple.CoreML/weights", "Data"])
def test_a_link_out_of_the_package_is_not_followed(package: Path, part: str) -> None:
    target = package.parent / "other.mlpackage" / part
    shutil.rmtree(package / part) if (package / part).is_dir() else (package / part).unlink()
    (package / part).symlink_to(target)
    assert refused(package) == (
        f"{package}: {part} in it is a link that leads out of the package, to {target}; copy the package with what "
        "its links lead to (cp -RL)"
    )


def test_links_inside_of_it_and_to_it_are_followed(package: Path, tmp_path: Path) -> None:
    (package / WEIGHTS).rename(package / "Data" / "kept.bin")
    (package / WEIGHTS).symlink_to("../../kept.bin")
    (tmp_path / "link.mlpackage").symlink_to(package, target_is_directory=True)

    assert open_artifact(tmp_path / "link.mlpackage").precision == "fp16"
    assert Evaluator(tmp_path / "link.mlpackage")


def test_links_in_a_circle_are_not_followed(package: Path) -> None:
    (package / "around").symlink_to("around")
    assert "around in it cannot be read (Too many levels of symbolic links)" in refused(package)


@pytest.mark.parametrize("part", ["Manifest.json", MODEL, WEIGHTS, "Data/com.apple.CoreML/more.json"])
def test_nobody_waits_at_a_pipe(package: Path, part: str) -> None:
    (package / part).unlink(missing_ok=True)
    os.mkfifo(package / part)
    assert f"{part} in it is not a regular file but a pipe" in refused(package)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ('{"itemInfoEntries": ' + "9" * 5_000 + "}", "4300 digits"),
        ('{"itemInfoEntries": {}, "itemInfoEntries": {}}', "a key stands twice"),
        ('{"itemInfoEntries": {}, "rootModelIdentifier": []}', "unhashable"),
        ('{"itemInfoEntries": {"a": {"path": 7}}, "rootModelIdentifier": "a"}', "7 is no path"),
        ('{"itemInfoEntries": {"a": {"path": "a\\u0000"}}, "rootModelIdentifier": "a"}', "is no path"),
        ("\udcff", "utf-8"),
    ],
)
def test_a_table_of_contents_that_cannot_be_read(package: Path, content: str, cause: str) -> None:
    (package / "Manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    line = refused(package)
    assert "its Manifest.json cannot be understood" in line
    assert cause in line


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda manifest, item: manifest.update(fileFormatVersion="2.0.0"), "'2.0.0' is none up to 1.0.0"),
        (lambda manifest, item: manifest.update(fileFormatVersion=1), "fileFormatVersion 1 is none"),
        (lambda manifest, item: manifest.pop("fileFormatVersion"), "fileFormatVersion"),
        (lambda manifest, item: item.pop("author"), "author"),
        (lambda manifest, item: item.update(name=7), "name, author, description are texts"),
        (lambda manifest, item: item.update(path="."), "'.' is no path"),
    ],
)
def test_a_table_of_contents_that_apples_reader_refuses(
    package: Path, change: Callable[[Any, Any], object], cause: str
) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    change(manifest, next(iter(manifest["itemInfoEntries"].values())))
    (package / "Manifest.json").write_text(json.dumps(manifest))

    assert cause in refused(package)


def test_a_package_is_read_and_not_written(package: Path) -> None:
    manifest = package / "Manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))
    before = {path: path.stat().st_mtime_ns for path in (package, *package.rglob("*"))}

    artifact = open_artifact(package)
    assert input_size(artifact) == (32, 32)
    assert (1, 3, 32, 32) in read_input_shapes(artifact)
    assert "as an 8-bit image" in fed_pixels(artifact)
    Evaluator(package)

    assert {path: path.stat().st_mtime_ns for path in (package, *package.rglob("*"))} == before


@pytest.mark.parametrize("name", ["@model_path/../../../secret", "/etc/hostname", "@model_path/weights/../../x"])
def test_weights_out_of_the_package_are_not_read(package: Path, name: str) -> None:
    from coremltools.proto import Model_pb2

    (package.parent / "secret").write_bytes(b"secret")
    model = Model_pb2.Model.FromString((package / MODEL).read_bytes())
    for function in model.mlProgram.functions.values():
        for operation in function.block_specializations[function.opset].operations:
            for value in operation.attributes.values():
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = name
    (package / MODEL).write_bytes(model.SerializeToString())

    with pytest.raises(ConversionError, match="outside of its directory, and are not read"):
        open_artifact(package)


def test_what_is_copied_to_be_changed_changes_nothing_else(package: Path, tmp_path: Path) -> None:
    artifact = open_artifact(package)
    other = (tmp_path / "other.mlpackage" / MODEL).read_bytes()
    rename(package, lambda path: "../../other.mlpackage/Data/" + path)

    with pytest.raises(CoreMLError, match="leads out of the package"):
        edited(artifact, (), tmp_path / "changed")
    assert (tmp_path / "other.mlpackage" / MODEL).read_bytes() == other


def test_a_package_names_its_parts(package: Path) -> None:
    found = read_package(package)
    assert found.model == package / MODEL
    assert set(found.parts) == {package / MODEL, package / "Data/com.apple.CoreML/weights"}
