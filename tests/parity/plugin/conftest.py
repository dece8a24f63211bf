"""The project in which the plugin is tested, and the artefacts that all these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

import parity.report.terminal
import parity.testing.findings
import parity.testing.fixture
import parity.testing.items  # noqa: F401 - all of these: what is loaded out here, the pytest inside need not load
from conversion import convert
from parity import check
from tests.parity.plugin import colours
from tests.parity.plugin.project import Project


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all tests keep what is converted.

    Converting and comparing once out here loads what a pytest inside this one would forget and load again.
    """
    home = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its workers a directory in the one that they share.
    directory = (home.parent if home.name.startswith("popen-") else home) / "artifacts"
    pictures = tmp_path_factory.mktemp("warm") / "images"
    colours.save_images(pictures)
    classifier = colours.colours()
    made = [convert(classifier, route, directory) for route in ("onnx-torchscript", "mlprogram-fp32")]
    assert check(classifier, made, pictures).exit_code == 0
    return directory


@pytest.fixture
def project(pytester: pytest.Pytester, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project with a model and three pictures, without a suite file."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)  # these tests may themselves be run by a worker
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)  # where these are set, pytest's summary repeats whole failures
    return Project(pytester, artifacts)
