"""--parity-update-baselines: stored answers, written where somebody asks for it and says why, and never else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.core.results import Prediction
from tests.parity.plugin.project import ALONE, XDIST, XDIST_ANYHOW, Project

GOOD = "[models.good]\nCOLOURS\n"
UPDATE = "--parity-update-baselines"
FIRST = (UPDATE, "--parity-reason=the first")
ACCEPT = "to accept it: pytest --parity-update-baselines --parity-reason '...'"
FILES = [f"good/onnx-torchscript.{backend}.json" for backend in ("onnx-reference", "onnxruntime")]


def stored(project: Project) -> list[str]:
    home = project.path / "baselines"
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def edit(project: Project, **images: Any) -> None:
    """Change what is stored of images; None takes one out."""
    for name in FILES:
        file = project.path / "baselines" / name
        content = json.loads(file.read_text(encoding="utf-8"))
        for image, entry in images.items():
            content["images"].pop(f"{image}.png", None)
            if entry:
                content["images"][f"{image}.png"] = entry
        file.write_text(json.dumps(content), encoding="utf-8")


def answers(red: int, green: int, blue: int, *top: tuple[str, float]) -> dict[str, Any]:
    return {"pixels": hashlib.sha256(bytes([red, green, blue] * 64)).hexdigest(), "top": top}


@pytest.mark.parametrize("mode", [ALONE, XDIST_ANYHOW], ids=["alone", "xdist-anyhow"])
def test_files_are_written_with_the_flag_and_named(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(GOOD)

    result = project.run("parity.toml", *FIRST, mode=mode)

    result.assert_outcomes(passed=6)
    assert stored(project) == FILES
    for name in FILES:
        assert result.outlines.count(f"baseline written: {project.path / 'baselines' / name}") == 1


def test_files_are_not_written_without_it(project: Project) -> None:
    project.suite(GOOD)

    result = project.run("parity.toml", "--parity-reason=one that is not asked for")

    result.assert_outcomes(passed=6)
    assert stored(project) == []
    result.stdout.no_fnmatch_line("*baseline*")


@pytest.mark.parametrize("reason", [(), ("--parity-reason=",), ("--parity-reason= ",)])
def test_without_a_reason_it_is_refused(project: Project, reason: tuple[str, ...]) -> None:
    project.suite(GOOD)

    result = project.run("parity.toml", UPDATE, *reason)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --parity-update-baselines: say with --parity-reason TEXT why answers change*"]
    )
    assert stored(project) == []


def test_a_file_is_plain_sorted_and_without_a_clock(project: Project) -> None:
    project.suite(GOOD)

    project.run("parity.toml", *FIRST)

    text = (project.path / "baselines" / FILES[1]).read_text(encoding="utf-8")
    content = json.loads(text)
    assert {key: content[key] for key in ("schema", "model", "route", "backend", "precision", "reason")} == {
        "schema": "parity-baseline/1",
        "model": "good",
        "route": "onnx-torchscript",
        "backend": "onnxruntime",
        "precision": "fp32",
        "reason": "the first",
    }
    assert len(content["weights"]) == 64
    assert set(content["environment"]) == {"python", "platform", "packages"}
    assert list(content["images"]) == ["blue.png", "green.png", "red.png"]
    red = content["images"]["red.png"]
    assert red["pixels"] == answers(255, 0, 0)["pixels"]
    assert red["top"] == [
        ["red", pytest.approx(0.964663, abs=1e-5)],
        ["green", pytest.approx(0.017668, abs=1e-5)],
        ["blue", pytest.approx(0.017668, abs=1e-5)],
    ]
    # An image per line, so that a diff names those that changed.
    assert sum('.png": {' in line and line.rstrip(",").endswith("]]}") for line in text.splitlines()) == 3


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_the_same_answers_pass_and_their_files_stay_as_they_are(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    before = {name: (project.path / "baselines" / name).read_bytes() for name in FILES}

    again = project.run("parity.toml", mode=mode)
    updated = project.run("parity.toml", UPDATE, "--parity-reason=the second")

    for result in (again, updated):
        result.assert_outcomes(passed=6)
        result.stdout.no_fnmatch_line("*baseline*")
    # What nobody had to accept keeps the reason for which it was accepted.
    assert {name: (project.path / "baselines" / name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_what_moved_or_flipped_fails_until_it_is_accepted(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    edit(
        project,
        red=answers(255, 0, 0, ("red", 0.9), ("green", 0.05), ("blue", 0.05)),
        green=answers(0, 255, 0, ("blue", 0.6), ("green", 0.3), ("red", 0.1)),
        blue=answers(0, 0, 254, ("blue", 0.9), ("green", 0.05), ("red", 0.05)),
    )

    result = project.run("parity.toml", mode=mode)

    result.assert_outcomes(failed=6)
    head = "good by onnx-torchscript on onnxruntime: "
    command = "  look further: parity run parity.toml --model good --route onnx-torchscript --backend onnxruntime"
    for line in (
        f"{head}red.png: 'red' at 0.9 in the baseline, 'red' at 0.9647 now, largest difference 0.0647, "
        f"noise is 1e-05; {ACCEPT}",
        f"{head}green.png: 'blue' at 0.6 in the baseline, 'green' at 0.9647 now, largest difference 0.665; "
        f"{ACCEPT}",
        f"{head}blue.png: the baseline was made from other pixels; {ACCEPT}",
    ):
        assert result.outlines[result.outlines.index(line) + 1] == command
    # Parity holds all the same: the table says so.
    result.stdout.fnmatch_lines(["parity holds: 2 pass"])
    result.stdout.no_fnmatch_line("*.py:[0-9]*")
    assert json.loads((project.path / "baselines" / FILES[0]).read_text(encoding="utf-8"))["reason"] == "the first"

    accepted = project.run("parity.toml", UPDATE, "--parity-reason=green is green again")

    accepted.assert_outcomes(passed=6)
    assert json.loads((project.path / "baselines" / FILES[0]).read_text(encoding="utf-8"))["reason"] == (
        "green is green again"
    )
    project.run("parity.toml").assert_outcomes(passed=6)


def test_what_else_changed_stands_below_what_moved(project: Project) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    edit(project, red=answers(255, 0, 0, ("red", 0.9), ("green", 0.05), ("blue", 0.05)))
    file = project.path / "baselines" / FILES[1]
    content = json.loads(file.read_text(encoding="utf-8"))
    content["environment"]["packages"]["torch"] = "1.0"
    content["artifact"]["operations"]["Identity"] = 2
    file.write_text(json.dumps(content), encoding="utf-8")

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(passed=2, failed=1, deselected=3)
    head = next(i for i, line in enumerate(result.outlines) if line.endswith(f"noise is 1e-05; {ACCEPT}"))
    told = result.outlines[head + 1 : head + 4]
    assert told[0] == "  since then: operations: Identity 2 -> gone"
    assert told[1].startswith("  since then: torch: 1.0 -> ")
    assert told[2].startswith("  look further: ")


@pytest.mark.parametrize("mode", [ALONE, XDIST_ANYHOW], ids=["alone", "xdist-anyhow"])
def test_what_is_new_gone_or_unused_is_listed_and_fails_nothing(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    edit(project, red=None, white=answers(255, 255, 255, ("red", 0.9)))
    unused = project.path / "baselines" / "old" / "onnx.onnxruntime.json"
    unused.parent.mkdir()
    unused.write_text("{}", encoding="utf-8")

    result = project.run("parity.toml", mode=mode)

    result.assert_outcomes(passed=6)
    assert result.ret == 0
    for line in (
        "good by onnx-torchscript on onnxruntime: red.png has no baseline",
        "good by onnx-torchscript on onnx-reference: white.png is in the baseline alone",
        f"{unused}: nothing in the suite uses this baseline",
    ):
        assert result.outlines.count(line) == 1


def test_a_part_of_a_suite_does_not_call_the_rest_of_the_baselines_unused(project: Project) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)

    result = project.run("parity.toml", "-k", "onnxruntime")

    result.stdout.no_fnmatch_line("*nothing in the suite uses this baseline*")


def test_noise_passes(project: Project) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    edit(project, red=answers(255, 0, 0, ("red", 0.964668), ("green", 0.017668), ("blue", 0.017668)))

    project.run("parity.toml").assert_outcomes(passed=6)


def test_a_damaged_file_fails_in_a_line_and_is_written_anew(project: Project) -> None:
    project.suite(GOOD)
    project.run("parity.toml", *FIRST)
    file = project.path / "baselines" / FILES[1]
    file.write_text(file.read_text(encoding="utf-8")[:200], encoding="utf-8")

    result = project.run("parity.toml")

    result.assert_outcomes(passed=3, failed=3)
    told = [line for line in result.outlines if line.startswith(f"{file}: not a baseline (")]
    assert len(told) == 3
    assert told[0].endswith("; record it again, or delete it")
    result.stdout.no_fnmatch_line("*.py:[0-9]*")

    project.run("parity.toml", UPDATE, "--parity-reason=it was torn").assert_outcomes(passed=6)
    project.run("parity.toml").assert_outcomes(passed=6)


def test_a_failure_stays_one_whatever_the_baseline_says(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}")

    project.run("parity.toml", *FIRST).assert_outcomes(passed=4, failed=2)
    result = project.run("parity.toml")

    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["  a tolerance of 0.178 would have passed"])


@pytest.mark.parametrize("answer", [np.full((3, 3), np.nan), np.full((3, 2), 0.5)])
def test_answers_that_are_no_probabilities_of_the_labels_are_not_written(
    project: Project, monkeypatch: pytest.MonkeyPatch, answer: np.ndarray
) -> None:
    monkeypatch.setattr("parity.backends.onnxruntime.load", lambda *_: lambda pixels: Prediction(answer))
    project.suite(GOOD)

    result = project.run("parity.toml", *FIRST)

    result.assert_outcomes(passed=3, failed=3)
    result.stdout.no_fnmatch_line("*.py:[0-9]*")
    assert stored(project) == FILES[:1]


def test_tests_in_python_have_no_baselines(project: Project) -> None:
    project.pytester.makepyfile(
        """
        def test_it(parity):
            parity.check("models.py:colours", route="onnx-torchscript", images="images")
        """
    )

    project.run(*FIRST).assert_outcomes(passed=1)

    assert list(Path(project.path).rglob("baselines")) == []


def test_a_file_in_the_place_of_a_baseline_is_kept_unless_forced(project: Project) -> None:
    project.suite(GOOD)
    file = project.path / "baselines" / FILES[1]
    file.parent.mkdir(parents=True)
    file.write_text("my notes\n", encoding="utf-8")

    result = project.run("parity.toml", *FIRST)

    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines([f"{file}: holds something else and no earlier output of this kind; *"])
    assert file.read_text(encoding="utf-8") == "my notes\n"
    project.run("parity.toml", *FIRST, "--parity-force").assert_outcomes(passed=6)
    assert json.loads(file.read_text(encoding="utf-8"))["schema"] == "parity-baseline/1"
