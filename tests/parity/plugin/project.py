"""A project of somebody who uses the plugin: a model, pictures and a suite file; pytest runs there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import parity.cli
from parity.core.results import Run, Subject, read_run
from tests.parity.plugin import colours, quick

INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings =
    error
    ignore::DeprecationWarning:torch.*
    ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning
"""
# In one process, and in two that share the work.
ALONE, XDIST, XDIST_ANYHOW = (), ("-n2", "--dist", "loadgroup"), ("-n2",)
NO_LIMIT = "--parity-time-limit=inf"


class Project:
    """Serve one test."""

    def __init__(self, pytester: pytest.Pytester, artifacts: Path) -> None:
        self.pytester, self.path, self.artifacts = pytester, pytester.path, artifacts
        self.quick = True  # workers do without torch
        pytester.makefile(".ini", pytest=INI)
        shutil.copy(colours.__file__, self.path / "models.py")
        colours.save_images(self.path / "images")

    def suite(self, content: str, name: str = "parity.toml", images: str = "images/*.png") -> Path:
        """Write a suite file; its models go by onnx-torchscript unless they say otherwise."""
        file = self.path / name
        head = f'images = ["{images}"]\nroutes = ["onnx-torchscript"]\n'
        file.write_text(head + content.replace("COLOURS", 'factory = "models.py:colours"'), encoding="utf-8")
        return file

    def run(self, *arguments: str | Path, mode: Sequence[str] = ALONE) -> pytest.RunResult:
        """Run pytest here, in this process; the workers of pytest-xdist are processes of their own."""
        if mode and self.quick:
            shutil.copy(quick.__file__, self.path / "conftest.py")
        # Artefacts run in the processes that there are: another for them would take seconds to start.
        limit = () if any(str(given).startswith("--parity-time-limit") for given in arguments) else (NO_LIMIT,)
        # In one word: where no path is given, pytest takes a directory that is a second word for one to look in.
        return self.pytester.runpytest_inprocess(f"--parity-artifacts={self.artifacts}", *limit, *mode, *arguments)

    def judged(self, *arguments: str | Path, mode: Sequence[str] = ALONE) -> tuple[pytest.RunResult, Run]:
        """Run pytest with --parity-json, and read that."""
        result = self.run("--parity-json=found.json", *arguments, mode=mode)
        return result, read_run(self.path / "found.json")

    def command(self, *arguments: str) -> int:
        """Run the command `parity` here, on the same artefacts."""
        with pytest.raises(SystemExit) as stop:
            parity.cli.main([*arguments, "--artifacts", str(self.artifacts)])
        assert isinstance(stop.value.code, int)
        return stop.value.code


def leg(found: Run, model: str, backend: str) -> Subject:
    """Find what was found out about a model on a backend."""
    (subject,) = (s for s in found.subjects if (s.model, s.backend) == (model, backend))
    return subject


def figures(found: Run) -> list[tuple[Any, ...]]:
    """List what was found out, without what depends on the machine."""
    return [
        (s.model, s.route, s.backend, s.verdict, s.tolerance, s.required_tolerance, s.cases) for s in found.subjects
    ]
