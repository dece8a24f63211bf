"""--parity-tolerance-scale: every tolerance times a factor."""

from __future__ import annotations

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project, leg

# What the converted model is apart: 0.1777.
SUITE = """
[models.weak]
COLOURS
arguments = {converted = [1.0, 0.5, 1.0]}
[models.weak.tolerance.onnx-torchscript]
probability = 0.1
"""


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_a_factor_lets_more_pass(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(SUITE)

    result, found = project.judged("parity.toml", "--parity-tolerance-scale=2", mode=mode)

    result.assert_outcomes(passed=6)
    assert leg(found, "weak", "onnxruntime").tolerance == pytest.approx(0.2)
    assert leg(found, "weak", "onnxruntime").tolerance_reason == (
        "given in the suite file for onnx-torchscript, times 2"
    )


@pytest.mark.parametrize("factor", ["1", "0.5"])
def test_and_another_does_not(project: Project, factor: str) -> None:
    project.suite(SUITE)

    project.run("parity.toml", f"--parity-tolerance-scale={factor}").assert_outcomes(passed=4, failed=2)


def test_without_it_tolerances_are_what_they_are(project: Project) -> None:
    project.suite(SUITE)

    result, found = project.judged("parity.toml")

    result.assert_outcomes(passed=4, failed=2)
    assert leg(found, "weak", "onnxruntime").tolerance == 0.1


@pytest.mark.parametrize(("factor", "outcome"), [("2", "passed"), ("1", "failed")])
def test_it_counts_for_tests_in_python(project: Project, factor: str, outcome: str) -> None:
    project.pytester.makepyfile(
        """
        from models import colours

        def test_weak(parity):
            weak = colours(converted=(1.0, 0.5, 1.0))
            parity.check(weak, route="onnx-torchscript", images="images", tolerance=0.1)
        """
    )
    project.pytester.syspathinsert()

    project.run(f"--parity-tolerance-scale={factor}").assert_outcomes(**{outcome: 1})


@pytest.mark.parametrize("factor", ["0", "-1", "nan", "inf"])
def test_a_factor_that_is_none_is_refused(project: Project, factor: str) -> None:
    project.suite(SUITE)

    result = project.run("parity.toml", f"--parity-tolerance-scale={factor}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --parity-tolerance-scale: a factor above 0 is needed"])


def test_a_word_is_refused(project: Project) -> None:
    result = project.run("--parity-tolerance-scale=twice")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--parity-tolerance-scale: invalid float value: 'twice'"])
