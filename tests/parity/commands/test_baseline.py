"""`parity baseline` from outside: what is stored, what is printed, exit codes, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.parity.commands.command import Parity, lay_out

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
"""
FILES = ["onnx-torchscript.onnx-reference.json", "onnx-torchscript.onnxruntime.json"]
ACCEPT = "parity baseline record --reason '...'"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what is converted, for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Lay out a suite, a file of factories, and photos."""
    return lay_out(tmp_path, SUITE)


@pytest.fixture
def baseline(parity: Parity, artifacts: Path) -> Parity:
    """Run `parity baseline`."""
    return lambda *arguments: parity("baseline", *arguments, "--artifacts", str(artifacts))


def stored(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((place / "baselines").rglob("*.json"))}


def edit(place: Path, name: str, **answers: list[list[object]] | None) -> None:
    """Change what is stored of images, and what it was made by."""
    file = place / "baselines" / "tiny" / name
    content = json.loads(file.read_text(encoding="utf-8"))
    for image, top in answers.items():
        if top is None:
            del content["images"][f"{image}.png"]
        else:
            content["images"][f"{image}.png"]["top"] = top
    content["environment"]["packages"]["onnxscript"] = "0.5.6"
    content["artifact"]["operations"]["Identity"] = 2
    content["artifact"]["version"] = "opset 12"
    file.write_text(json.dumps(content), encoding="utf-8")


def test_recording_and_checking(place: Path, baseline: Parity) -> None:
    recorded = baseline("record", "--reason", "the first")

    assert (recorded.code, recorded.err) == (0, "")
    assert sorted(stored(place)) == FILES
    assert [line for line in recorded.out.splitlines() if line.startswith("written: ")] == [
        f"written: {Path('baselines', 'tiny', name)}" for name in reversed(FILES)
    ]
    assert recorded.out.splitlines()[-1] == "2 baseline(s) written, 0 said the same already"
    before = stored(place)

    checked = baseline("check", "--json", "drift.json")

    assert (checked.code, checked.err) == (0, "")
    assert checked.out.splitlines()[-1] == "answers are as stored: 12 same bits"
    assert json.loads(Path("drift.json").read_text(encoding="utf-8"))["legs"][0]["counts"] == {"same bits": 6}
    again = baseline("record", "--reason", "the second", "--json", "again.json")
    assert again.code == 0
    assert again.out.splitlines()[-1] == "0 baseline(s) written, 2 said the same already"
    assert stored(place) == before


def test_what_moved_is_shown_after_what_else_changed(place: Path, baseline: Parity) -> None:
    baseline("record", "--reason", "the first")
    edit(place, FILES[1], picture0=[["ant", 0.5], ["cat", 0.25]], picture1=[["hen", 0.875], ["dog", 0.125]])

    done = baseline("check")

    assert done.code == 1
    lines = done.out.splitlines()
    head = lines.index("tiny by onnx-torchscript on onnxruntime: 2 of 6 answer(s) moved")
    assert lines[head + 1 : head + 3] == [
        "  since then: operations: Identity 2 -> gone",
        "  since then: version: opset 12 -> opset 17",
    ]
    assert lines[head + 3].startswith("  since then: onnxscript: 0.5.6 -> ")
    assert lines[head + 4].startswith("  picture0.png: 'ant' at 0.5 in the baseline, 'ant' at 0.96")
    assert lines[head + 5].startswith("  picture1.png: 'hen' at 0.875 in the baseline, 'dog' at 0.72")
    assert lines[-1] == f"answers moved: 10 same bits, 1 moved, 1 flip; to accept them: {ACCEPT}"
    # In the table too.
    assert any("4 same bits, 1 moved, 1 flip" in line for line in lines[:head])
    # What only this leg's file said of its artefact is no reason to tell of the other's.
    assert done.out.count("since then") == 3

    assert baseline("record", "--reason", "hens are dogs").code == 0
    assert baseline("check").code == 0
    assert json.loads(stored(place)[FILES[1]])["reason"] == "hens are dogs"
    assert json.loads(stored(place)[FILES[0]])["reason"] == "the first"


def test_many_answers_that_moved_are_cut_short(place: Path, baseline: Parity) -> None:
    baseline("record", "--reason", "the first")
    edit(place, FILES[0], **{f"picture{i}": [["ant", 0.25]] for i in range(6)})

    lines = baseline("check").out.splitlines()

    assert sum(line.startswith("  picture") for line in lines) == 5
    assert "  and 1 more" in lines


def test_what_is_new_or_unused_is_listed_and_fails_nothing(place: Path, baseline: Parity) -> None:
    baseline("record", "--reason", "the first")
    edit(place, FILES[0], picture0=None)
    old = Path("baselines", "old", "onnx.onnxruntime.json")
    old.parent.mkdir()
    old.write_text("{}", encoding="utf-8")

    done = baseline("check")

    assert done.code == 0
    lines = done.out.splitlines()
    assert "tiny by onnx-torchscript on onnx-reference: picture0.png has no baseline" in lines
    assert f"{old}: nothing in the suite uses this baseline" in lines
    assert lines[-1] == "answers are as stored: 11 same bits, 1 new"


def test_answers_to_other_images_alone_are_nothing_to_compare_with(place: Path, baseline: Parity) -> None:
    baseline("record", "--reason", "first release")
    for number, file in enumerate(sorted((place / "photos").iterdir())):
        file.rename(file.with_name(f"another{number}.png"))

    done = baseline("check")

    assert done.code == 3
    assert done.out.splitlines()[-1] == (
        f"nothing to compare with: no image that has an answer of then and one of now; {ACCEPT} stores them"
    )


def test_without_baselines_there_is_nothing_to_compare_with(place: Path, baseline: Parity) -> None:
    done = baseline("check")

    assert (done.code, done.err) == (3, "")
    assert done.out.splitlines()[-1] == (
        f"nothing to compare with: no baseline of what runs here; {ACCEPT} stores them"
    )
    assert "no baseline" in done.out
    assert stored(place) == {}


def test_a_part_of_a_suite(place: Path, baseline: Parity) -> None:
    assert baseline("record", "--reason", "a part", "--backend", "onnxruntime").code == 0
    assert sorted(stored(place)) == FILES[1:]

    done = baseline("check", "--model", "tiny", "--route", "onnx-torchscript")

    assert done.code == 0
    assert "no baseline" in done.out


def test_a_damaged_baseline_fails(place: Path, baseline: Parity) -> None:
    baseline("record", "--reason", "the first")
    file = Path("baselines", "tiny", FILES[0])
    file.write_text("{", encoding="utf-8")

    done = baseline("check")

    assert done.code == 1
    assert f"tiny by onnx-torchscript on onnx-reference: {file}: not a baseline (" in done.out


def test_a_conversion_that_fails_is_told(place: Path, baseline: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline("record", "--reason", "the first")
    before = stored(place)

    def fail(*_: object) -> None:
        from conversion import ConversionError

        raise ConversionError("the converter crashed")

    monkeypatch.setattr("parity.entries.convert", fail)

    checked, recorded = baseline("check"), baseline("record", "--reason", "why")

    assert (checked.code, recorded.code) == (1, 1)
    for backend in ("onnxruntime", "onnx-reference"):
        assert f"tiny by onnx-torchscript on {backend}: error: the converter crashed" in checked.out
        assert f"not stored: tiny by onnx-torchscript on {backend}: error: the converter crashed" in recorded.out
    assert stored(place) == before


def test_a_record_is_no_baseline(place: Path, baseline: Parity) -> None:
    Path("parity.toml").write_text('records = ["mac.json"]\n' + SUITE, encoding="utf-8")

    done = baseline("record", "--reason", "why")

    assert done.code == 0
    assert sorted(stored(place)) == FILES
    assert "skipped 1 × recorded: " in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["record"], "Missing option '--reason'. (see `parity baseline record --help`)"),
        (["record", "--reason", " "], "say why these answers are right from now on"),
        (["record", "missing.toml", "--reason", "why"], "missing.toml: no such suite file"),
        (["check", "--model", "tinny"], "no model `tinny`; did you mean tiny?"),
        (["check", "--backend", "coreml-native"], "no backend `coreml-native` (backends: onnxruntime, onnx-ref"),
        (["check", "--backend", "recorded"], "backend `recorded` reads predictions that were made elsewhere"),
        (["check", "--json", "gone/drift.json"], "gone/drift.json: the directory does not exist; create it first"),
        (["check", "--reason", "why"], "No such option"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, place: Path, baseline: Parity) -> None:
    done = baseline(*arguments)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("parity: ")
    assert told in line
    assert stored(place) == {}
