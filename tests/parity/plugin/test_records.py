"""Records of a suite file: tests of a backend of their own, skipped where missing, absent where not named."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.artifacts.record_file import record
from parity.suite.records import to_json
from tests.parity.plugin.project import Project

GOOD = "[models.good]\nCOLOURS\n"
NAMED = 'records = ["mac.json"]\n'


def recorded(project: Project, images: str = "images") -> Path:
    """Record what the converted model answers."""
    project.suite(GOOD)
    project.run("parity.toml", "-k", "onnxruntime").assert_outcomes(passed=3, deselected=3)
    artifact = next(project.artifacts.glob("good/onnx-torchscript-*/good.onnx"))
    file = project.path / "mac.json"
    file.write_text(to_json(record([artifact], str(project.path / images))), encoding="utf-8")
    return file


def test_a_record_is_tested_image_by_image(project: Project) -> None:
    recorded(project)
    project.suite(GOOD + NAMED)

    result = project.run("parity.toml", "-v")

    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(
        [
            *(f"*::good[[]onnx-torchscript-recorded-{name}.png[]] PASSED*" for name in ("blue", "green", "red")),
            " good * onnx-torchscript (fp32) * recorded *pass * 3 *",
            "recorded: answers of onnxruntime on *",
            "parity holds: 3 pass",
        ]
    )
    project.run("parity.toml", "-m", "recorded").assert_outcomes(passed=3, deselected=6)


def test_a_missing_record_is_skipped_with_its_reason(project: Project) -> None:
    project.suite(GOOD + NAMED)

    result = project.run("parity.toml")

    result.assert_outcomes(passed=6, skipped=3)
    result.stdout.fnmatch_lines(["skipped 1 × recorded: *mac.json: no such record; `parity record` writes it*"])


def test_without_a_record_nothing_is_said_of_any(project: Project) -> None:
    project.suite(GOOD)

    result = project.run("parity.toml", "-v")

    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*recorded*")


@pytest.mark.parametrize("arguments", ["arguments = {converted = [1.0, 0.5, 1.0]}\n"])
def test_a_record_of_another_artefact_fails(project: Project, arguments: str) -> None:
    recorded(project)
    project.suite(GOOD + arguments + NAMED)

    result = project.run("parity.toml", "-k", "recorded")

    result.assert_outcomes(failed=3, deselected=6)
    result.stdout.fnmatch_lines(
        ["good by onnx-torchscript on recorded: error: *mac.json: made from another good.onnx: its sha256 is *"]
    )
