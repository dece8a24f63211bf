"""Reports from the command: --html, --junit, --markdown, `parity judge` and `parity compare-runs`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parity.core.results import read_run
from tests.parity.commands.command import Parity, lay_out

CHECK = ("check", "models.py:tiny", "tiny.onnx", "--images", "photos", "--backend", "onnxruntime")
SHIFTED = ("check", "models.py:shifted", *CHECK[2:])
SUITE = 'images = ["photos/*.png"]\n[models.tiny]\nfactory = "models.py:tiny"\nroutes = ["onnx-torchscript"]\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, a file of factories, photos and a converted model."""
    return lay_out(tmp_path_factory.mktemp("reports"), SUITE, "onnx-torchscript")


def test_a_check_is_written_as_every_report(place: Path, parity: Parity) -> None:
    files = ("--json", "a.json", "--html", "a.html", "--junit", "a.xml", "--markdown", "a.md")
    done = parity(*SHIFTED, *files)

    assert (done.code, done.err) == (1, "")
    page = (place / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count('src="data:image/jpeg;base64,') == 6
    assert ElementTree.parse(place / "a.xml").getroot().attrib["failures"] == "1"
    assert (
        (place / "a.md")
        .read_text(encoding="utf-8")
        .startswith("### ❌ coreml-parity: parity does not hold: 1 fail")
    )
    assert set(read_run(place / "a.json").thumbnails) == {f"picture{i}.png" for i in range(6)}


def test_a_suite_is_written_as_every_report(place: Path, parity: Parity) -> None:
    done = parity("run", "--html", "b.html", "--junit", "b.xml", "--markdown", "b.md", "--backend", "onnxruntime")

    assert (done.code, done.err) == (0, "")
    assert "Parity holds" in (place / "b.html").read_text(encoding="utf-8")
    assert ElementTree.parse(place / "b.xml").getroot().attrib["tests"] == "1"
    assert "parity holds: 1 pass" in (place / "b.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--html", "--junit", "--markdown", "--json"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(option: str, parity: Parity) -> None:
    for command in (("run", "missing.toml"), CHECK, ("judge", "missing.json")):
        done = parity(*command, option, "gone/report")
        assert (done.code, done.out) == (2, "")
        assert done.err == "parity: gone/report: the directory does not exist; create it first\n"


def test_two_reports_do_not_share_a_file(parity: Parity) -> None:
    done = parity(*CHECK, "--html", "x", "--junit", "./x")

    assert (done.code, done.err) == (2, "parity: two reports go to one file; give each a file of its own\n")


def test_saved_results_are_judged_again(place: Path, parity: Parity) -> None:
    assert parity(*CHECK, "--json", "c.json").code == 0

    strict = parity("judge", "c.json", "--tolerance", "1e-12", "--json", "d.json", "--html", "d.html")
    same = parity("judge", "c.json", "--markdown", "c.md")

    assert strict.code == 1
    assert strict.out.splitlines()[-1] == "parity does not hold: 1 fail"
    assert read_run(place / "d.json").subjects[0].tolerance == 1e-12
    assert "given when judged again" in (place / "d.html").read_text(encoding="utf-8")
    assert (same.code, same.err) == (0, "")
    assert "parity holds: 1 pass" in (place / "c.md").read_text(encoding="utf-8")
    assert parity("judge", "d.json", "--tolerance", "0.01").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["judge", "gone.json"], "gone.json: no such file"),
        (["judge", "parity.toml"], "parity.toml: a suite file, which `parity run` takes"),
        (["judge", "e.json", "--tolerance", "2"], "a tolerance is a difference of probabilities between 0 and 1"),
        (["compare-runs", "e.json", "gone.json"], "gone.json: no such file"),
        (["compare-runs", "e.json"], "Missing argument 'NEW'."),
        (["compare-runs", "e.json", "e.json", "--markdown", "gone/x"], "gone/x: the directory does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, parity: Parity) -> None:
    assert parity(*CHECK, "--json", "e.json").code == 0

    done = parity(*arguments)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert told in line


def test_two_runs_are_compared(place: Path, parity: Parity) -> None:
    assert parity(*CHECK, "--json", "old.json").code == 0
    assert parity("judge", "old.json", "--tolerance", "1e-12", "--json", "new.json").code == 1

    worse = parity("compare-runs", "old.json", "new.json", "--json", "diff.json", "--markdown", "diff.md")
    better, same = parity("compare-runs", "new.json", "old.json"), parity("compare-runs", "old.json", "old.json")

    assert (worse.code, worse.err) == (1, "")
    assert worse.out.splitlines()[-1] == "something got worse: 1 worse"
    assert "tolerance: 1e-05 -> 1e-12" in worse.out
    assert json.loads((place / "diff.json").read_text(encoding="utf-8"))["subjects"][0]["verdict"] == "worse"
    assert "something got worse: 1 worse" in (place / "diff.md").read_text(encoding="utf-8")
    assert (better.code, better.out.splitlines()[-1]) == (0, "nothing got worse: 1 better")
    assert (same.code, same.out.splitlines()[-1]) == (0, "nothing got worse: 1 same")


def test_a_run_over_many_images_is_judged_by_all_its_cases(place: Path, parity: Parity) -> None:
    run = ("run", "--images", "photos", "--backend", "onnxruntime", "--workers", "0", "--no-explain")
    assert parity(*run, "--json", "many.json", "--html", "many.html").code == 0
    assert parity(*run, "--json", "close.json", "--tolerance-scale", "1e-4").code == 1

    assert parity("judge", "many.json", "--tolerance", "1e-9", "--json", "again.json").code == 1
    assert parity("judge", "many.json", "--json", "same.json").code == 0

    (expected,), (found,) = (read_run(place / name).subjects for name in ("close.json", "again.json"))
    assert found == replace(expected, tolerance=found.tolerance, tolerance_reason="given when judged again")
    assert found.tolerance == pytest.approx(expected.tolerance)
    assert sum(found.counts.values()) == 6
    assert read_run(place / "same.json") == read_run(place / "many.json")
    (place / "many.cases.jsonl").unlink()
    assert "many.cases.jsonl, which has all, is not beside it" in parity("judge", "many.json").err
