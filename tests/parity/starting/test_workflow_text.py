"""The workflow as GitHub's schema has it: Linux for every pull request, macOS before a release."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from parity.starting.workflow_text import workflow_text
from tests.parity.starting.test_suite_text import PLAN


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("on_apple", [True, False])
def test_it_is_valid(on_apple: bool, tmp_path: Path) -> None:
    path = tmp_path / "parity.yml"
    path.write_text(workflow_text(replace(PLAN, on_apple=on_apple)), encoding="utf-8")

    done = check(path)

    assert done.returncode == 0, done.stdout


def test_one_that_is_not_valid_is_told(tmp_path: Path) -> None:
    path = tmp_path / "parity.yml"
    path.write_text(workflow_text(PLAN).replace("runs-on", "runs-of"), encoding="utf-8")

    assert check(path).returncode == 1


def test_pull_requests_run_on_linux_and_releases_on_macos_too() -> None:
    workflow = yaml.safe_load(workflow_text(PLAN))

    # YAML 1.1 reads `on` as true.
    assert workflow[True] == {"pull_request": None, "push": {"tags": ["*"]}, "workflow_dispatch": None}
    assert workflow["permissions"] == {"contents": "read"}
    linux, macos = workflow["jobs"]["linux"], workflow["jobs"]["macos"]
    assert (linux["runs-on"], macos["runs-on"]) == ("ubuntu-latest", "macos-15")
    assert "if" not in linux
    assert macos["if"] == "github.event_name != 'pull_request'"
    assert [step["run"] for step in macos["steps"] if "run" in step] == [
        "pip install coreml-parity==0.1.0",
        'parity run --json results.json --markdown "$GITHUB_STEP_SUMMARY"',
        "parity run --backend coreml-native",
    ]
    versions = [step["with"]["python-version"] for step in linux["steps"] if "setup-python" in step.get("uses", "")]
    assert versions == ["3.12"]


def test_what_apple_does_not_run_has_no_job_there() -> None:
    workflow = yaml.safe_load(workflow_text(replace(PLAN, on_apple=False)))

    assert list(workflow["jobs"]) == ["linux"]


def test_everything_that_is_needed_is_installed() -> None:
    text = workflow_text(replace(PLAN, installs=("coreml-parity==0.1.0", "-r requirements.txt")))

    steps = yaml.safe_load(text)["jobs"]["linux"]["steps"]
    assert [step["run"] for step in steps if "pip" in step.get("run", "")] == [
        "pip install coreml-parity==0.1.0",
        "pip install -r requirements.txt",
    ]
