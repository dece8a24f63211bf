"""`parity record`, and `--record` of `parity check`, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parity.core.results import read_run
from tests.parity.commands.command import Parity, lay_out

RECORD = ("record", "tiny.mlpackage", "--images", "photos", "--out")
CHECK = ("check", "models.py:tiny", "tiny.mlpackage", "--images", "photos")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out converted files, a file of factories, and photos."""
    return lay_out(tmp_path_factory.mktemp("record"), "", "mlprogram", "onnx-torchscript")


def test_what_was_recorded_is_checked(parity: Parity) -> None:
    recorded = parity(*RECORD, "mac.json")

    assert (recorded.code, recorded.out, recorded.err) == (
        0,
        "tiny.mlpackage on coreml-evaluator: 6 image(s), in mac.json\n",
        "",
    )

    done = parity(*CHECK, "--record", "mac.json", "--backend", "recorded", "--json", "results.json")

    assert (done.code, done.err) == (0, "")
    (found,) = read_run(Path("results.json")).subjects
    assert (found.backend, found.verdict, found.images) == ("recorded", "pass", 6)
    assert f"recorded: answers of {found.recorded_by}" in done.out.splitlines()
    assert found.recorded_by.startswith("coreml-evaluator on Linux")


def test_another_model_does_not_hold(parity: Parity) -> None:
    parity(*RECORD, "mac.json")

    done = parity("check", "models.py:shifted", *CHECK[2:], "--record", "mac.json", "--backend", "recorded")

    assert done.code == 1
    assert "shifted by mlprogram on recorded: fail" in done.out


def test_a_record_of_other_pixels_is_an_error(parity: Parity) -> None:
    parity("record", "tiny.mlpackage", "--images", "photos/picture0.png", "--out", "one.json")

    done = parity(*CHECK, "--record", "one.json", "--backend", "recorded")

    assert done.code == 1
    assert "made from other pixels: none for 5 of 6 image(s), picture1.png first (it has picture0.png)" in done.out


def test_a_record_of_something_else_is_skipped(parity: Parity) -> None:
    parity(*RECORD, "mac.json")

    done = parity(
        "check", "models.py:tiny", "tiny.onnx", *CHECK[3:], "--record", "mac.json", "--backend", "recorded"
    )

    assert done.code == 3
    assert "skipped 1 × recorded: mac.json has no record of it (it has tiny.mlpackage)" in done.out


def test_a_suite_has_records(place: Path, parity: Parity) -> None:
    converted_here = parity("convert", "models.py:tiny", "--route", "mlprogram", "--out", "made")
    parity("record", converted_here.out.strip(), "--images", "photos", "--out", "suite.json")
    suite = '{}images = ["photos/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\nroutes = ["mlprogram"]\n'
    for name, records in (("with", 'records = ["suite.js*", "phone.json"]\n'), ("without", "")):
        Path(f"{name}.parity.toml").write_text(suite.format(records), encoding="utf-8")

    done = parity("run", "with.parity.toml", "--json", "with.json")
    chosen = parity("run", "with.parity.toml", "--backend", "recorded-suite", "--json", "chosen.json")
    other = parity("run", "without.parity.toml")

    # Converted in two places: the record holds for both.
    assert (done.code, chosen.code, other.code) == (0, 0, 0)
    assert {s.backend: s.verdict for s in read_run(Path("with.json")).subjects} == {
        "coreml-native": "skipped",
        "coreml-evaluator": "pass",
        "recorded-suite": "pass",
        "recorded-phone": "skipped",
    }
    assert f"skipped 1 × recorded-phone: {Path('phone.json')}: no such record" in done.out
    assert [s.backend for s in read_run(Path("chosen.json")).subjects] == ["recorded-suite"]
    assert "recorded" not in other.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["record", "tiny.mlpackage", "--images", "photos"], "Missing option '--out'."),
        (["record", "tiny.mlpackage", "--out", "x.json"], "Missing option '--images'."),
        (["record", "--images", "photos", "--out", "x.json"], "Missing argument 'ARTIFACTS...'."),
        (["record", "gone.onnx", *RECORD[2:], "x.json"], "gone.onnx: no such file"),
        (["record", "tiny.onnx", "--images", "gone.jpg", "--out", "x.json"], "gone.jpg"),
        ([*RECORD, "gone/x.json"], "gone/x.json: the directory does not exist; create it first"),
        ([*RECORD, "photos"], "photos: is a directory; give the name of a file"),
        ([*RECORD, "x.json", "--backend", "onnxruntime"], "tiny.mlpackage: onnxruntime does not run mlprogram"),
        (
            [*RECORD, "x.json", "--backend", "coreml-native"],
            "coreml-native cannot run here: Apple's Core ML runtime",
        ),
        (
            [*RECORD, "x.json", "--compute-unit", "ALL"],
            "coreml-evaluator takes no compute unit; ALL is for coreml-nat",
        ),
        ([*RECORD, "x.json", "--compute-unit", "GPU"], "'GPU' is not one of 'CPU_ONLY', 'CPU_AND_GPU', "),
        ([*CHECK, "--record", "gone.json"], "File 'gone.json' does not exist."),
        ([*CHECK, "--record", "photos"], "File 'photos' is a directory."),
        ([*CHECK, "--backend", "recorded"], "backend `recorded` reads predictions that were made elsewhere"),
        (["predict", "tiny.onnx", "photos", "--backend", "recorded"], "backend `recorded` reads predictions that"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, place: Path, parity: Parity) -> None:
    done = parity(*arguments)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("parity: ")
    assert told in line
    assert not (place / "x.json").exists()


def test_a_file_that_is_no_record_is_bad_input(parity: Parity) -> None:
    Path("torn.json").write_text(json.dumps({"schema": "parity-record/1"}), encoding="utf-8")

    done = parity(*CHECK, "--record", "torn.json", "--backend", "recorded")

    assert (done.code, done.out) == (2, "")
    assert done.err == "parity: torn.json: not a record of schema parity-record/1: records: Field required\n"
