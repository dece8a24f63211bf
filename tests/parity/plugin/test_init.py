"""pytest runs what `parity init` wrote."""

from __future__ import annotations

import pytest

from tests.parity.commands.command import exit_code
from tests.parity.plugin.project import Project


def test_pytest_runs_the_written_suite(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("init", "models.py:colours", "--images", "images", "--no-run") == 0
    capsys.readouterr()

    result, found = project.judged()

    # Three images on onnxruntime, onnx-reference, the evaluator, and Apple's runtime, which is not here.
    assert {s.backend: s.verdict for s in found.subjects if s.verdict != "skipped"} == {
        "onnxruntime": "pass",
        "onnx-reference": "pass",
        "coreml-evaluator": "pass",
    }
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 9
