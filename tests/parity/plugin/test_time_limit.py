"""--parity-time-limit: how long an artefact may take before it is ended."""

from __future__ import annotations

import pytest

from parity.backends import limited
from parity.backends.limited import TimeLimit
from tests.parity.plugin.project import Project

SUITE = """
[models.colours]
COLOURS
"""


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_what_is_no_limit_is_refused(project: Project, seconds: str) -> None:
    result = project.run(f"--parity-time-limit={seconds}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --parity-time-limit *: seconds above 0 are needed; inf is without a limit"]
    )


@pytest.mark.parametrize(("option", "limit"), [("=7.5", TimeLimit(7.5)), (None, TimeLimit(600, 10))])
def test_suites_and_tests_in_python_run_within_it(
    project: Project, option: str | None, limit: TimeLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.suite(SUITE)
    project.pytester.makepyfile(
        """
        from models import colours

        def test_mine(parity):
            parity.check(colours(), route="onnx-torchscript", images="images", backends=["onnxruntime"])
        """
    )
    project.pytester.syspathinsert()
    holding: list[TimeLimit] = []

    def here(name: str, backend: object) -> object:
        holding.append(limited.current_limit())
        return backend

    monkeypatch.setattr(limited, "within_limit", here)
    monkeypatch.setattr(limited, "DEFAULT", TimeLimit(600, 10))
    # Without the option of the project's own.
    options = [] if option is None else [f"--parity-time-limit{option}"]
    project.pytester.runpytest_inprocess(f"--parity-artifacts={project.artifacts}", *options).assert_outcomes(
        passed=7
    )

    assert limit in holding
    assert set(holding) == {limit, TimeLimit(float("inf"))}  # collecting runs nothing
    assert limited.current_limit() == TimeLimit(float("inf"))
