"""Every command given the file of another one: one line that says what the file is, and what to give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from parity.cli import main
from tests.parity.commands.command import Refused, lay_out, run_in

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
"""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a file of each kind, written by the command that writes it."""
    place = lay_out(tmp_path_factory.mktemp("kinds"), SUITE, "onnx-torchscript", "mlprogram-fp32")
    Image.new("RGB", (32, 32)).save(place / "photo.jpg")
    for name in ("pointer.json", "pointer.onnx", "pointer.jpg", "pointer.toml", "pointer.csv", "pointer.jsonl"):
        (place / name).write_text(POINTER, encoding="utf-8")
    chosen = ("--backend", "onnxruntime")
    streamed = ("--images", "photos", "--workers", "0", *chosen)
    run_in(
        place,
        ("run", *chosen, "--json", "suite.json"),
        ("run", *streamed, "--json", "s1.json"),
        ("run", *streamed, "--json", "alone.json"),
        ("compare-runs", "suite.json", "suite.json", "--json", "diff.json"),
        ("record", "tiny.onnx", "--images", "photos", "--out", "record.json"),
        ("baseline", "record", *chosen, "--reason", "first", "--json", "drift.json"),
    )
    shutil.copy(next(place.glob("baselines/*/*.json")), place / "baseline.json")
    shutil.move(place / "alone.cases.jsonl", place / "lonely.cases.jsonl")
    return place


RESULTS = "results of a run, which `parity judge` and `parity compare-runs` take"
CASES = "the cases of a run over images, which `parity merge` takes"
RECORD = "predictions made elsewhere, which `parity check --record` takes"
BASELINE = "a stored baseline, which `parity baseline check` reads from beside its suite file"
NOTHING_READS = {
    "diff.json": "what `parity compare-runs` wrote, which no command takes",
    "drift.json": "what `parity baseline` wrote, which no command takes",
}
PULL = "a Git LFS pointer of 64 bytes in the place of the file itself of 5 bytes; run `git lfs pull`"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("s1.json", f"{RESULTS}; give its cases, s1.cases.jsonl"),
        ("alone.json", f"{RESULTS}; this run has no cases file beside it"),
        ("suite.json", f"{RESULTS}; this run has no cases file beside it"),
        ("record.json", RECORD),
        ("baseline.json", BASELINE),
        ("parity.toml", "a suite file, which `parity run` takes"),
        ("photo.jpg", "an image"),
        ("tiny.onnx", "a converted model, which `parity check` and `parity predict` take"),
        ("pointer.jsonl", PULL),
        *NOTHING_READS.items(),
    ],
)
def test_merge_takes_cases(file: str, told: str, refused: Refused) -> None:
    assert refused("merge", file).startswith(f"{file}: {told}")
    assert refused("merge", "s1.cases.jsonl", file).startswith(f"{file}: {told}")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("s1.cases.jsonl", f"{CASES}; give s1.json"),
        ("lonely.cases.jsonl", f"{CASES}; give results.json of a run"),
        ("record.json", RECORD),
        ("baseline.json", BASELINE),
        ("parity.toml", "a suite file, which `parity run` takes"),
        ("photo.jpg", "an image"),
        ("tiny.onnx", "a converted model"),
        ("tiny.mlpackage", "a converted model"),
        ("models.py", "Python source; a model in it is called `file.py:callable`"),
        ("pointer.json", PULL),
        *NOTHING_READS.items(),
    ],
)
def test_judge_and_compare_runs_take_results(file: str, told: str, refused: Refused) -> None:
    assert refused("judge", file).startswith(f"{file}: {told}")
    assert refused("compare-runs", "suite.json", file).startswith(f"{file}: {told}")
    assert refused("compare-runs", file, "suite.json").startswith(f"{file}: {told}")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("suite.json", RESULTS),
        ("s1.cases.jsonl", CASES),
        ("baseline.json", BASELINE),
        ("parity.toml", "a suite file"),
        ("photo.jpg", "an image"),
        ("tiny.onnx", "a converted model"),
        ("pointer.json", PULL),
        *NOTHING_READS.items(),
    ],
)
def test_an_option_for_records_takes_records(file: str, told: str, refused: Refused) -> None:
    check = ("tiny", "tiny.onnx", "--images", "photos", "--record", file)

    assert refused("check", *check).startswith(f"{file}: {told}")
    assert refused("explain", *check).startswith(f"{file}: {told}")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("suite.json", RESULTS),
        ("s1.cases.jsonl", CASES),
        ("record.json", RECORD),
        ("photo.jpg", "an image"),
        ("tiny.onnx", "a converted model"),
        ("models.py", "Python source"),
        ("pointer.toml", PULL),
    ],
)
def test_commands_over_a_suite_take_a_suite_file(file: str, told: str, refused: Refused) -> None:
    for command in (
        ("run",),
        ("baseline", "check"),
        ("audit",),
        ("calibrate",),
        ("upgrade", "--with", "onnx==1.17.0"),
    ):
        assert refused(*command, file).startswith(f"{file}: {told}")
    assert refused("check", "tiny", "tiny.onnx", "--images", "photos", "--suite", file).startswith(
        f"{file}: {told}"
    )


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("photo.jpg", "an image, not a converted model; give a .onnx, a .mlmodel, a .mlpackage or a .aimodel"),
        ("suite.json", "data, not a converted model"),
        ("parity.toml", "a suite file, not a converted model"),
        ("models.py", "Python source, not yet a converted model"),
        ("pointer.onnx", PULL),
    ],
)
def test_an_artefact_is_a_converted_model(file: str, told: str, refused: Refused) -> None:
    assert refused("predict", file, "photos").startswith(f"{file}: {told}")
    assert refused("check", "tiny", file, "--images", "photos").startswith(f"{file}: {told}")
    assert refused("explain", "tiny", file, "--images", "photos").startswith(f"{file}: {told}")
    assert refused("record", file, "--images", "photos", "--out", "new.json").startswith(f"{file}: {told}")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("tiny.onnx", "tiny.onnx is a converted model, not an image"),
        ("tiny.mlpackage", "tiny.mlpackage is a converted model, not a directory of images"),
        ("pointer.jpg", f"pointer.jpg is {PULL}"),
    ],
)
def test_an_image_is_an_image(file: str, told: str, refused: Refused) -> None:
    assert refused("predict", "tiny.onnx", file).startswith(told)
    assert refused("check", "tiny", "tiny.onnx", "--images", file).startswith(told)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("tiny.onnx", "a converted model, which `parity check` and `parity predict` take"),
        ("tiny.mlpackage", "a converted model, which `parity check` and `parity predict` take"),
        ("photo.jpg", "an image"),
        ("models.py", "Python source; a model in it is called `file.py:callable`"),
        ("suite.json", RESULTS),
    ],
)
def test_a_model_is_a_name(
    file: str, told: str, refused: Refused, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = f"{told}; MODEL, which comes first, is a name in the suite file, `file.py:callable`,"
    elsewhere = str(place / file)

    assert expected in refused("check", file, "tiny.onnx", "--images", "photos")
    assert expected in refused("convert", file, "--route", "onnx", "--out", "x")
    # Nor where there is no suite file.
    monkeypatch.chdir(tmp_path)
    assert expected in refused("convert", elsewhere, "--route", "onnx", "--out", "x")


def test_a_model_may_be_called_like_a_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(place / "photos", tmp_path / "photos")
    shutil.copy(place / "models.py", tmp_path / "models.py")
    shutil.copy(place / "tiny.onnx", tmp_path / "net.onnx")
    suite = SUITE.replace("[models.tiny]", '[models."net.onnx"]')
    (tmp_path / "parity.toml").write_text(suite, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as stop:
        main(["check", "net.onnx", "net.onnx", "--images", "photos"])

    assert stop.value.code == 0


@pytest.mark.parametrize(
    ("file", "told"),
    [("suite.json", RESULTS), ("record.json", RECORD), ("photo.jpg", "an image"), ("pointer.csv", PULL)],
)
def test_a_file_of_labels_is_one(file: str, told: str, refused: Refused) -> None:
    labelled = ("run", "--images", "photos", "--workers", "0", "--labels", file)

    assert refused(*labelled).startswith(f"{file}: {told}")


def test_what_is_damaged_is_not_taken_for_another_kind(refused: Refused, tmp_path: Path, place: Path) -> None:
    content = json.loads((place / "suite.json").read_text(encoding="utf-8"))
    del content["subjects"]
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="utf-8")

    told = refused("judge", str(tmp_path / "r.json"))

    assert told == f"{tmp_path / 'r.json'}: not a results.json of schema parity-run/2: subjects: Field required"
