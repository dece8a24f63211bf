"""Opening model files: good ones in each form, and what is wrong with the others in one line."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from parity.coreml.reading.files import open_model
from tests.coreml.image_models import image_model


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "tiny.mlpackage"
    image_model().save(str(path))
    return path


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy.mlpackage"))


def test_a_package_is_read_by_its_path_as_text_or_path(package: Path) -> None:
    assert open_model(package).specification == open_model(str(package)).specification


def test_a_loaded_mlmodel_is_read_with_its_weights(package: Path) -> None:
    with chatter_to():
        model = import_coremltools().models.MLModel(str(package), skip_model_load=True)

    opened = open_model(model)

    assert opened.weights_dir == package / "Data" / "com.apple.CoreML" / "weights"
    assert opened.specification == open_model(package).specification


@pytest.mark.parametrize("given", [None, 3, b"model.mlpackage"])
def test_another_kind_of_object(given: object) -> None:
    with pytest.raises(CoreMLError, match="path of a .mlpackage or .mlmodel"):
        open_model(given)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CoreMLError, match="no such file"):
        open_model(tmp_path / "ghost.mlpackage")


def test_a_package_without_its_manifest(copied: Path) -> None:
    (copied / "Manifest.json").unlink()

    with pytest.raises(CoreMLError, match=r"no Manifest\.json"):
        open_model(copied)


def test_a_manifest_that_is_no_json(copied: Path) -> None:
    (copied / "Manifest.json").write_text("{")

    with pytest.raises(CoreMLError, match="cannot be understood"):
        open_model(copied)


def test_a_manifest_that_names_nothing(copied: Path) -> None:
    (copied / "Manifest.json").write_text(json.dumps({"itemInfoEntries": {}}))

    with pytest.raises(CoreMLError, match="cannot be understood"):
        open_model(copied)


def test_a_package_without_its_model(copied: Path) -> None:
    (copied / "Data" / "com.apple.CoreML" / "model.mlmodel").unlink()

    with pytest.raises(CoreMLError, match="is missing"):
        open_model(copied)


def test_a_package_without_its_weights(copied: Path) -> None:
    shutil.rmtree(copied / "Data" / "com.apple.CoreML" / "weights")

    with pytest.raises(CoreMLError, match="the weight file is missing"):
        Evaluator(copied)


def test_a_truncated_weight_file(copied: Path) -> None:
    weights = copied / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:100])

    with pytest.raises(CoreMLError, match="truncated"):
        Evaluator(copied)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_bytes_that_are_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.mlmodel").write_bytes(content)

    with pytest.raises(CoreMLError, match=r"odd\.mlmodel: "):
        open_model(tmp_path / "odd.mlmodel")


def test_a_compiled_model(tmp_path: Path) -> None:
    (tmp_path / "tiny.mlmodelc").mkdir()

    with pytest.raises(CoreMLError, match=r"tiny\.mlmodelc: a compiled model, which only Apple's runtime reads"):
        open_model(tmp_path / "tiny.mlmodelc")


def test_a_git_lfs_pointer_says_what_to_do(copied: Path, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    (tmp_path / "tiny.mlmodel").write_text(pointer, encoding="utf-8")
    (copied / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").write_text(pointer, encoding="utf-8")

    for path in (tmp_path / "tiny.mlmodel", copied):
        with pytest.raises(CoreMLError, match="a Git LFS pointer .*; run `git lfs pull` in its repository"):
            Evaluator(path)


def test_an_encrypted_model_says_so_among_what_it_may_be(tmp_path: Path) -> None:
    # What `coremlcompiler --encrypt` leaves is no protobuf; 16 bytes of a block cipher do for it.
    (tmp_path / "secret.mlmodel").write_bytes(bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a"))

    with pytest.raises(CoreMLError, match="a truncated or an encrypted one .*convert again without encryption"):
        open_model(tmp_path / "secret.mlmodel")


@pytest.mark.parametrize("path", ["\0", "x" * 5000, "", ".", "missing", 1, None])
def test_a_manifest_that_names_no_file(copied: Path, path: object) -> None:
    manifest = json.loads((copied / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (copied / "Manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(CoreMLError, match="cannot be understood|is missing|too long|is a directory"):
        open_model(copied)


def test_an_offset_past_the_end_of_the_weight_file(copied: Path) -> None:
    file = copied / "Data" / "com.apple.CoreML" / "model.mlmodel"
    specification = open_model(copied).specification
    function = specification.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    const = next(o for o in operations if o.attributes["val"].HasField("blobFileValue"))
    const.attributes["val"].blobFileValue.offset = 2**63
    file.write_bytes(specification.SerializeToString())

    with pytest.raises(
        CoreMLError, match=rf"weight\.bin: `{const.outputs[0].name}` stands at offset {2**63}, past"
    ):
        Evaluator(copied)


def test_a_tree_ensemble_is_outside_the_scope(tmp_path: Path) -> None:
    specification = import_coremltools().proto.Model_pb2.Model(specificationVersion=1)
    specification.treeEnsembleClassifier.SetInParent()
    (tmp_path / "trees.mlmodel").write_bytes(specification.SerializeToString())

    with pytest.raises(CoreMLError, match=r"trees\.mlmodel: a model of type treeEnsembleClassifier; .* on a Mac"):
        Evaluator(tmp_path / "trees.mlmodel")


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    specification = import_coremltools().proto.Model_pb2.Model()
    specification.specificationVersion = 1
    specification.identity.SetInParent()
    (tmp_path / "identity.mlmodel").write_bytes(specification.SerializeToString())

    with pytest.raises(CoreMLError, match="a model of type identity; the evaluator runs mlProgram"):
        Evaluator(tmp_path / "identity.mlmodel")


def test_opening_a_model_leaves_the_screen_to_other_threads(
    package: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    def print_in_another_thread(*_: object) -> None:
        printed.append(f"line {len(printed)}")
        thread = threading.Thread(target=lambda: (print(printed[-1], flush=True), os.write(1, b"raw\n")))
        thread.start()
        thread.join()

    # Whenever one of the process's descriptors has just become another, and where the file is read.
    dup2, read_bytes = os.dup2, Path.read_bytes
    monkeypatch.setattr(os, "dup2", lambda *given: (dup2(*given), print_in_another_thread())[0])
    monkeypatch.setattr(Path, "read_bytes", lambda path: (print_in_another_thread(), read_bytes(path))[1])
    open_model(package)
    monkeypatch.undo()

    assert printed
    assert capfd.readouterr().out == "".join(f"{line}\nraw\n" for line in printed)
