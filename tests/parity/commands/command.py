"""The command as tests call it, and what a user has in a directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from parity.cli import main
from tests.parity import tiny
from tests.parity.tiny import converted, save_pictures


class Done(NamedTuple):
    """Hold how a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


Parity = Callable[..., Done]
Refused = Callable[..., str]


def exit_code(*arguments: str) -> int:
    """Run the command as its console script does, and return its exit code."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


def run_in(directory: Path, *commands: tuple[str, ...]) -> None:
    """Run commands that must succeed in a directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for command in commands:
            assert exit_code(*command) == 0, command


def lay_out(directory: Path, suite: str = "", *artifacts: str, factories: str = "models.py") -> Path:
    """Write what a user has: a file of factories, photos, a suite, and `tiny` converted by each of these routes.

    The converted files are called tiny.onnx, tiny.mlpackage and tiny.mlmodel.
    """
    shutil.copy(tiny.__file__, directory / factories)
    save_pictures(directory / "photos")
    if suite:
        (directory / "parity.toml").write_text(suite, encoding="utf-8")
    for route in artifacts:
        path = converted(route).path
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, directory / f"tiny{path.suffix}")
    return directory
