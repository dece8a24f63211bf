"""Code of a user's that ends a process or a test leaves no green, nor does a session whose suites did not run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity import ParityError
from parity.core.results import read_run
from parity.plugin import _Findings, pytest_load_initial_conftests
from parity.testing.session import Watch
from tests.parity.plugin.project import ALONE, XDIST, Project

FACTORIES = """

def quits():
    raise SystemExit(0)


def skips():
    import pytest
    pytest.skip("not on a Sunday")


def leaves():
    import pytest
    pytest.exit("all is well", returncode=0)


class Leaving(Colours):
    def forward(self, image):
        import pytest
        pytest.exit("all is well", returncode=0)


class Skipping(Colours):
    def named_modules(self, *given, **named):
        import pytest
        pytest.skip("not on a Sunday")


def leaves_when_called():
    return Classifier("leaving", Leaving((1.0, 1.0, 1.0), 0, "").eval(), PREPROCESSING, LABELS)


def skips_when_asked():
    module = Colours((1.0, 1.0, 1.0), 0, "").eval()
    module.__class__ = Skipping
    return Classifier("skipping", module, PREPROCESSING, LABELS)
"""
NAMES = ("quits", "skips", "leaves", "leaves_when_called", "skips_when_asked")
SKIPPING = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if "parity.toml" in item.nodeid:
            item.add_marker(pytest.mark.skip("not here"))
"""


@pytest.fixture
def factories(project: Project) -> Project:
    with (project.path / "models.py").open("a", encoding="utf-8") as file:
        file.write(FACTORIES)
    return project


def test_tests_of_a_suite_fail(factories: Project) -> None:
    factories.suite(
        "\n".join(f'[models.{name}]\nfactory = "models.py:{name}"' for name in NAMES), images="images/red.png"
    )

    result, found = factories.judged("parity.toml", "-k", "onnxruntime")

    result.assert_outcomes(failed=len(NAMES))
    assert [(s.model, s.verdict) for s in found.subjects] == [(name, "error") for name in NAMES]
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*models.py:quits: models.py:quits raises SystemExit: 0, which would end everything without a result*",
            "*models.py:skips: models.py:skips raises Skipped: not on a Sunday, which *",
            "*models.py:leaves: models.py:leaves raises Exit: all is well, which *",
            "*leaves_when_called: models.py:Leaving.forward raises Exit: all is well, which *",
            "*models.py:skips_when_asked: models.py:Skipping.named_modules raises Skipped: not on a Sunday, *",
        ]
    )


def test_tests_by_the_fixture_fail(factories: Project) -> None:
    factories.pytester.makepyfile(
        test_mine="import pytest\n"
        f"@pytest.mark.parametrize('name', {NAMES!r})\n"
        "def test_it(parity, name):\n"
        "    parity.check(f'models.py:{name}', 'onnx-torchscript', 'images', backends=['onnxruntime'])\n"
    )

    result = factories.run("test_mine.py")

    result.assert_outcomes(failed=len(NAMES))
    assert result.ret == pytest.ExitCode.TESTS_FAILED


# A session that ends before its tests


def test_a_conftest_that_exits_is_no_success(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS")
    project.pytester.makeconftest("import sys\nsys.exit(0)")

    result = project.run("parity.toml", "--parity-json=found.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: conftest.py:<module> raises SystemExit: 0: no test of the suite was run"])
    with pytest.raises(ParityError, match="the run that was to write it"):
        read_run(project.path / "found.json")


def test_a_conftest_of_another_project_may_exit(tmp_path: Path) -> None:
    options = SimpleNamespace(parity_json=None, help=False, version=0)
    config: Any = SimpleNamespace(known_args_namespace=options, rootpath=tmp_path)
    loading = pytest_load_initial_conftests(config, ["tests"])
    next(loading)

    with pytest.raises(SystemExit):
        loading.throw(SystemExit(0))


def test_a_test_that_ends_the_session_leaves_no_green(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS", images="images/red.png")
    project.pytester.makepyfile(test_a="import pytest\ndef test_a(): pytest.exit('enough', returncode=0)")

    result = project.run("test_a.py", "parity.toml", "--parity-json=found.json")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*parity.toml: 2 of the 2 selected tests were not run: the session ended before"])
    with pytest.raises(ParityError, match="the run that was to write it"):
        read_run(project.path / "found.json")


def test_what_a_worker_that_died_had_found_is_missing() -> None:
    findings = _Findings.__new__(_Findings)
    findings.watch = Watch()

    findings.pytest_testnodedown(error=None)
    assert not findings.watch.stopped
    findings.pytest_testnodedown(error="Not properly terminated")
    assert findings.watch.stopped


# A session in which no test of a suite passes


def test_a_suite_of_which_all_is_skipped_fails_a_session_that_passes_else(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS", images="images/red.png")
    project.pytester.makepyfile(test_a="def test_a(): pass")
    project.pytester.makeconftest(SKIPPING)

    result = project.run("test_a.py", "parity.toml")

    result.assert_outcomes(passed=1, skipped=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*parity.toml: none of the 2 selected tests passed: nothing can be concluded"])


@pytest.mark.skipif(sys.platform == "darwin", reason="Apple's runtime is there")
@pytest.mark.parametrize(
    ("mode", "selection"),
    [(ALONE, ["-m", "coreml-native"]), (ALONE, ["-k", "native"]), (XDIST, ["-m", "coreml-native"])],
    ids=["mark", "keyword", "xdist"],
)
def test_a_runtime_that_is_not_here(project: Project, mode: tuple[str, ...], selection: list[str]) -> None:
    project.suite('[models.good]\nCOLOURS\nroutes = ["mlprogram-fp32"]', images="images/red.png")

    result = project.run("parity.toml", *selection, mode=mode)

    result.assert_outcomes(skipped=1, deselected=1 if not mode else 0)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*nothing can be concluded*"])


def test_a_suite_that_nobody_selects_fails_nothing(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS", images="images/red.png")
    project.pytester.makepyfile(test_a="def test_a(): pass")

    result = project.run("test_a.py", "parity.toml", "-k", "test_a")

    result.assert_outcomes(passed=1, deselected=2)
    assert result.ret == 0


def test_a_suite_that_is_only_listed_fails_nothing(project: Project) -> None:
    project.suite("[models.good]\nCOLOURS", images="images/red.png")

    assert project.run("parity.toml", "--collect-only").ret == 0
