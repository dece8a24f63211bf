"""A plan -> a workflow of GitHub Actions: Linux for every pull request, macOS too before a release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parity.starting.files import MARK

if TYPE_CHECKING:
    from parity.starting.plan import Plan


def workflow_text(plan: Plan) -> str:
    """Write the workflow; without a file that Apple's runtime runs it has no job on macOS."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"""{MARK}; yours to change.
name: parity

on:
  pull_request:
  push:
    tags: ["*"]
  workflow_dispatch:

permissions:
  contents: read

jobs:
  # Every pull request, and every release: an evaluator runs Core ML files here.
  linux:
    runs-on: ubuntu-latest
    timeout-minutes: 45
    steps:"""
    yield from _steps(plan, "linux")
    if plan.on_apple:
        yield """
  # Before a release, on tags and by hand: Apple's own runtime answers.
  macos:
    if: github.event_name != 'pull_request'
    runs-on: macos-15
    timeout-minutes: 45
    steps:"""
        yield from _steps(plan, "macos")
        yield """      # Were Apple's runtime skipped, nothing would pass here, and this step would fail.
      - run: parity run --backend coreml-native"""


def _steps(plan: Plan, system: str) -> Iterator[str]:
    yield f"""      - uses: actions/checkout@v5
        with:
          persist-credentials: false
      - uses: actions/setup-python@v6
        with:
          python-version: "{plan.python}"
"""[:-1]
    yield from (f"      - run: pip install {one}" for one in plan.installs)
    yield f"""      # `pytest` runs the same suite, beside tests of your own.
      - run: parity run --json results.json --markdown "$GITHUB_STEP_SUMMARY"
      - uses: actions/upload-artifact@v6
        if: always()
        with:
          name: parity-{system}
          path: results.json"""
