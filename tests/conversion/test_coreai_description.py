"""A note of what an asset says holds for that program, reader and machine, and a damaged one for nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion import coreai_description
from conversion.coreai_description import FILE, Described, Feature, read_note, write_note

SAYS = Described((Feature("image", "float32", (None, 3, 8, 8)),), (Feature("scores", "float16", (1, 5)),), "fp16")
DIGEST = b"\x01\xff"


@pytest.fixture
def asset(tmp_path: Path) -> Path:
    write_note(tmp_path / "net.aimodel", SAYS, DIGEST, "1.0")
    return tmp_path / "net.aimodel"


names = st.text(min_size=1, max_size=5)
features = st.builds(Feature, names, names, st.lists(st.none() | st.integers(1, 99), max_size=4).map(tuple))
several = st.lists(features, max_size=3).map(tuple)


@given(says=st.builds(Described, several, several, st.sampled_from(["fp16", "fp32"])))
def test_a_note_gives_what_was_noted(says: Described, tmp_path_factory: pytest.TempPathFactory) -> None:
    asset = tmp_path_factory.mktemp("note") / "net.aimodel"

    write_note(asset, says, DIGEST, "1.0")

    assert read_note(asset, DIGEST, "1.0") == says


def test_without_a_note_there_is_none(tmp_path: Path) -> None:
    assert read_note(tmp_path / "net.aimodel", DIGEST, "1.0") is None


def test_a_note_is_of_one_asset_program_and_reader(asset: Path) -> None:
    assert read_note(asset, DIGEST, "1.0") == SAYS
    assert read_note(asset.with_name("other.aimodel"), DIGEST, "1.0") is None
    assert read_note(asset, DIGEST + b"\x00", "1.0") is None
    assert read_note(asset, DIGEST, "1.1") is None


def test_a_note_of_another_kind_of_machine_does_not_count(asset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreai_description.platform, "machine", lambda: "arm65")

    assert read_note(asset, DIGEST, "1.0") is None


def drop(content: dict[str, Any], *keys: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


@pytest.mark.parametrize(
    "keys",
    [("asset",), ("read",), ("says",), ("says", "precision"), ("says", "inputs"), ("says", "inputs", 0, "shape")],
)
def test_a_note_that_lacks_a_part_does_not_count(keys: tuple[Any, ...], asset: Path) -> None:
    content = json.loads((asset.parent / FILE).read_text(encoding="utf-8"))
    drop(content, *keys)
    (asset.parent / FILE).write_text(json.dumps(content), encoding="utf-8")

    assert read_note(asset, DIGEST, "1.0") is None


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"asset": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_note_does_not_count(text: str, asset: Path) -> None:
    (asset.parent / FILE).write_bytes(text.encode(errors="surrogateescape"))

    assert read_note(asset, DIGEST, "1.0") is None


def test_a_precision_that_is_none_does_not_count(asset: Path) -> None:
    note = asset.parent / FILE
    note.write_text(note.read_text(encoding="utf-8").replace('"fp16"', '"int4"'), encoding="utf-8")

    assert read_note(asset, DIGEST, "1.0") is None
