"""What stands at the end of the terminal's output: who agrees with PyTorch, and who was skipped why."""

from __future__ import annotations

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project

ROUTES = 'routes = ["onnx-torchscript", "mlprogram-fp32"]\n'
WHY = "the machine of this test has no such runtime"


def rows(result: pytest.RunResult) -> list[list[str]]:
    """Cut the table's rows into words."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if line.strip("= ") == "parity")
    body = lines[next(i for i in range(start, len(lines)) if "───" in lines[i]) + 1 :]
    return [line.split() for line in body[: next(i for i, line in enumerate(body) if not line.strip())]]


def test_a_row_for_each_model_route_and_backend(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.backends.coreml_native.why_not", lambda: WHY)
    project.suite(
        "[models.weak]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}\n[models.good]\nCOLOURS\n" + ROUTES
    )

    result = project.run("parity.toml", "-rs")

    result.assert_outcomes(passed=13, failed=2, skipped=3)
    found = rows(result)
    assert [row[:4] for row in found] == [
        ["weak", "onnx-torchscript", "(fp32)", "onnxruntime"],
        ["weak", "onnx-torchscript", "(fp32)", "onnx-reference"],
        ["good", "onnx-torchscript", "(fp32)", "onnxruntime"],
        ["good", "onnx-torchscript", "(fp32)", "onnx-reference"],
        ["good", "mlprogram-fp32", "(fp32)", "coreml-native"],
        ["good", "mlprogram-fp32", "(fp32)", "coreml-evaluator"],
    ]
    assert found[0][4:] == ["fail", "3", "100%", "1.8e-01", "1.0e-05"]
    assert found[4][4:] == ["skipped"]
    assert found[5][4:7] == ["pass", "3", "100%"]
    result.stdout.fnmatch_lines(
        [
            f"skipped 1 × coreml-native: {WHY}",
            "parity does not hold: 3 pass, 2 fail, 1 skipped",
            f"SKIPPED [[]3[]] parity.toml:1: {WHY}",
        ]
    )


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_it_is_the_same_whoever_ran_the_tests(project: Project, mode: tuple[str, ...]) -> None:
    project.suite("[models.weak]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}")

    result = project.run("parity.toml", "-q", mode=mode)

    assert [row[3:6] for row in rows(result)] == [["onnxruntime", "fail", "3"], ["onnx-reference", "fail", "3"]]
    # What failed was told above, image by image.
    assert sum("would have passed" in line for line in result.outlines) == 2


def test_all_skipped_is_not_parity(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.backends.coreml_native.why_not", lambda: WHY)
    project.suite("[models.good]\nCOLOURS\n" + ROUTES)

    result = project.run("parity.toml", "-k", "native")

    result.assert_outcomes(skipped=3, deselected=9)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing can be concluded: 1 skipped"])


def test_a_session_that_compares_nothing_has_no_table(project: Project) -> None:
    project.pytester.makepyfile("def test_a(): pass")

    result = project.run()

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= parity =*")
