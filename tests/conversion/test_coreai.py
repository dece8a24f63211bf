"""PyTorch -> Core AI: what is in the asset, what is refused, and what does not abort this process."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from conversion import Artifact, ConversionError, convert, coreai, open_artifact
from conversion.coreai import accept_other_versions, described, metadata_of, numpy_name, why_not
from conversion.coreai_description import Feature
from conversion.errors import NotInstalledError
from conversion.shapes import read_input_shapes
from conversion.toolchain_worker import raised_while_importing
from tests.conversion.classifiers import LABELS, tiny
from tests.conversion.needs import needs_coreai

Converted = Callable[[str], Artifact]


@pytest.fixture
def asset(converted: Converted, tmp_path: Path) -> Path:
    """Copy an asset that a test may damage."""
    return Path(shutil.copytree(converted("coreai").path, tmp_path / "net.aimodel"))


def refusal(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        open_artifact(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("route", ["coreai", "coreai-fp16"])
def test_an_asset_says_what_it_takes_and_gives(route: str, converted: Converted) -> None:
    artifact = converted(route)
    told = described(artifact.path)

    assert told.inputs == (Feature("image", "float32", (1, 3, 32, 32)),)
    assert told.outputs == (Feature("classLabelProbs", "float32", (1, 8)),)
    assert told.precision == artifact.precision


@pytest.mark.parametrize("route", ["coreai", "coreai-fp16"])
def test_an_asset_is_opened_as_what_was_converted(route: str, converted: Converted) -> None:
    artifact = converted(route)
    opened = open_artifact(artifact.path)

    assert opened == artifact
    assert opened.provenance is not None
    assert opened.provenance.packages["coreai-torch"] == "0.4.3"


def test_what_was_read_while_converting_is_not_read_again(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = converted("coreai").path
    fresh = described(path)
    coreai._described.cache_clear()
    monkeypatch.setattr(coreai.subprocess, "run", lambda *_, **__: pytest.fail("read again"))

    assert described(path) == fresh


def test_an_asset_without_its_note_is_read(asset: Path, converted: Converted) -> None:
    assert not (asset.parent / "described.json").exists()
    assert described(asset) == described(converted("coreai").path)


@needs_coreai
def test_an_asset_that_cannot_be_read_here_is_converted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise ConversionError(f"{path}: not here")

    monkeypatch.setattr(coreai, "described", refuse)

    artifact = convert(tiny(), "coreai", tmp_path)

    assert artifact.path.is_dir()
    assert not (artifact.path.parent / "described.json").exists()


def test_the_labels_stand_in_the_metadata_for_the_app(converted: Converted) -> None:
    written = json.loads((converted("coreai").path / "metadata.json").read_text(encoding="utf-8"))

    assert written["creatorDefinedMetadata"]["labels"] == list(LABELS)
    assert str(Path.cwd()) not in json.dumps(written)


def test_the_program_has_no_paths_of_this_machine(converted: Converted) -> None:
    assert str(Path.cwd()).encode() not in (converted("coreai").path / "main.mlirb").read_bytes()


@needs_coreai
def test_an_open_batch_is_kept_within_its_bounds(tmp_path: Path) -> None:
    artifact = convert(tiny(), "coreai", tmp_path, dynamic="batch", bounds=(1, 4))

    accepted = read_input_shapes(artifact)

    assert described(artifact.path).inputs[0].shape == (None, 3, 32, 32)
    assert [(n, 3, 32, 32) in accepted for n in (1, 4, 5)] == [True, True, False]


@needs_coreai
def test_sizes_that_are_listed_are_those_that_are_taken(tmp_path: Path) -> None:
    sizes = ((32, 32), (48, 64))
    artifact = convert(tiny(), "coreai", tmp_path, dynamic="size", sizes=sizes)

    accepted = read_input_shapes(artifact)

    assert [(1, 3, *size) in accepted for size in (*sizes, (40, 40))] == [True, True, False]


# Bad assets


@pytest.mark.parametrize("name", ["main.mlirb", "main.hash", "metadata.json"])
def test_a_missing_part_is_named(name: str, asset: Path) -> None:
    (asset / name).unlink()

    assert refusal(asset) == f"{name} is missing; copy the whole .aimodel directory, or convert again"


def test_an_empty_directory_is_no_asset(tmp_path: Path) -> None:
    (tmp_path / "net.aimodel").mkdir()

    assert refusal(tmp_path / "net.aimodel").startswith("metadata.json is missing; ")


def test_a_file_is_no_asset(tmp_path: Path) -> None:
    (tmp_path / "net.aimodel").write_bytes(b"MLIR")

    assert refusal(tmp_path / "net.aimodel").startswith("metadata.json is missing; ")


@pytest.mark.parametrize("length", [0, 20, 900])
def test_a_program_that_is_cut_off_is_told_by_its_hash(length: int, asset: Path) -> None:
    program = (asset / "main.mlirb").read_bytes()
    (asset / "main.mlirb").write_bytes(program[:length])

    assert "main.mlirb is not what main.hash says" in refusal(asset)


def test_a_wrong_hash_is_told(asset: Path) -> None:
    (asset / "main.hash").write_bytes(bytes(32))

    assert "main.mlirb is not what main.hash says" in refusal(asset)


@pytest.mark.parametrize("text", ['{"assetV', "[]", '{"producer": "x"}', "\x00"])
def test_damaged_metadata_are_told(text: str, asset: Path) -> None:
    (asset / "metadata.json").write_text(text, encoding="utf-8")

    assert refusal(asset).startswith("metadata.json is damaged (")


def test_another_version_of_the_format_is_named(asset: Path) -> None:
    text = (asset / "metadata.json").read_text(encoding="utf-8")
    (asset / "metadata.json").write_text(text.replace('"2.0"', '"99.0"'), encoding="utf-8")

    assert "an asset of version '99.0', and 2.0 is the one that is read" in refusal(asset)


def test_random_bytes_with_a_fitting_hash_are_refused_by_the_reader(asset: Path) -> None:
    overwrite(asset, np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())

    assert refusal(asset).startswith("not a program that Core AI's reader takes")


def test_what_aborts_the_reader_does_not_abort_us(asset: Path) -> None:
    """Single bits of the program are wrong, and the hash fits: half of these abort the process that reads them."""
    program = (asset / "main.mlirb").read_bytes()
    draw = np.random.default_rng(1)
    ends = []
    for _ in range(6):
        broken = bytearray(program)
        broken[int(draw.integers(12, len(broken)))] ^= 1 << int(draw.integers(8))
        overwrite(asset, bytes(broken))
        try:
            ends.append(open_artifact(asset).format)
        except ConversionError as error:
            ends.append(str(error).partition("reader takes")[2][:12])

    assert ": it died of" in ends


def overwrite(asset: Path, program: bytes) -> None:
    (asset / "main.mlirb").write_bytes(program)
    (asset / "main.hash").write_bytes(hashlib.sha256(program).digest())


# Without the packages


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    monkeypatch.setattr(
        "conversion.coreai.package_versions", lambda names: {n: versions[n] for n in names if n in versions}
    )


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({"coreai-core": "1.0.0b3"}, "coreai-torch not installed; pip install 'coreml-parity[coreai]'"),
        (
            {"coreai-torch": "0.4.3", "coreai-core": "2.0"},
            "coreai-core 2.0 is installed, and 1.0.0b3 is what was tested; pip install 'coreml-parity[coreai]'",
        ),
    ],
)
def test_without_the_tested_packages_nothing_is_converted(
    versions: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, versions)

    assert why_not() == why
    with pytest.raises(NotInstalledError) as caught:
        convert(tiny(), "coreai", tmp_path)
    assert str(caught.value) == f"the route coreai cannot convert here: {why}"


def test_a_tool_chain_takes_the_versions_that_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"coreai-torch": "0.5.0", "coreai-core": "1.0.0b4"})
    monkeypatch.setattr("conversion.coreai._accepted", set())

    before = why_not()
    accept_other_versions()

    assert before
    assert before.startswith("coreai-torch 0.5.0 is installed")
    assert why_not() is None


def test_without_the_runtime_one_of_ours_is_opened_all_the_same(
    asset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its leg can say why it is skipped."""
    pretend(monkeypatch, {})

    assert (open_artifact(asset).format, open_artifact(asset).precision) == ("coreai", "fp32")


def test_without_the_runtime_a_foreign_one_says_what_reads_it(asset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((asset / "metadata.json").read_text(encoding="utf-8"))
    del content["creatorDefinedMetadata"]
    (asset / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    pretend(monkeypatch, {})

    assert metadata_of(asset) == {}
    assert refusal(asset) == (
        "Core AI files cannot be read here: coreai-core not installed; pip install 'coreml-parity[coreai]'"
    )


def test_another_interface_of_the_runtime_is_no_fault_of_the_file(
    asset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of coreai-core 1.0.0b2, whose programs have no `_module`: a tool chain of it is one that was not tried."""
    pretend(monkeypatch, {"coreai-core": "1.0.0b2"})
    monkeypatch.setattr("conversion.coreai._accepted", {"coreai-core"})
    told = '\n{"interface": "no `_module`"}'
    monkeypatch.setattr("subprocess.run", lambda *given, **options: CompletedProcess(given, 0, told, ""))

    with pytest.raises(NotInstalledError) as caught:
        described(asset)

    assert "coreai-core 1.0.0b2 has another interface than 1.0.0b3" in str(caught.value)
    assert raised_while_importing(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("f16", "float16"), ("bf16", "bfloat16"), ("si32", "int32"), ("ui8", "uint8"), ("i1", "bool"), ("q", "q")],
)
def test_types_are_called_as_numpy_calls_them(kind: str, name: str) -> None:
    assert numpy_name(kind) == name
