"""Other interpreters: on PATH, among pyenv's, among uv's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.versions import pythons
from parity.versions.pythons import find_python, find_uv


@pytest.fixture(autouse=True)
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is found but what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(pythons, "find_uv", lambda: None)
    find_python.cache_clear()
    yield
    find_python.cache_clear()


def interpreter(path: Path, version: str, code: int = 0) -> Path:
    """Write a program that says it is Python of a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_nothing_is_found_where_there_is_none() -> None:
    assert find_python("3.7") is None


def test_one_on_path_is_asked_for_its_version(tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / "python3", "3.12.1")
    wanted = interpreter(tmp_path / "bin" / "python", "3.7.16")

    assert find_python("3.7") == wanted
    assert find_python("3.7.16") == wanted
    assert find_python("3.7.1") is None


def test_a_stand_in_that_leads_nowhere_does_not_hide_pyenvs_own(tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / "python3.7", "3.7.16", code=127)
    wanted = interpreter(tmp_path / "pyenv" / "versions" / "3.7.16" / "bin" / "python", "3.7.16")

    assert find_python("3.7") == wanted


def test_3_1_is_not_3_11(tmp_path: Path) -> None:
    interpreter(tmp_path / "pyenv" / "versions" / "3.11.7" / "bin" / "python", "3.11.7")

    assert find_python("3.1") is None


def test_one_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "python3"
    broken.write_text("no program")
    broken.chmod(0o755)

    assert find_python("3.7") is None


def test_uv_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = interpreter(tmp_path / "managed" / "python", "3.7.9")
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho {wanted}\n")
    uv.chmod(0o755)
    monkeypatch.setattr(pythons, "find_uv", lambda: uv)

    assert find_python("3.7") == wanted


def test_uv_is_the_one_that_was_installed_beside() -> None:
    found = find_uv.__wrapped__()

    assert found is not None
    assert subprocess.run([found, "--version"], capture_output=True, text=True).stdout.startswith("uv ")


def test_without_that_package_it_is_the_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    assert find_uv.__wrapped__() is None

    wanted = interpreter(tmp_path / "bin" / "uv", "uv")
    assert find_uv.__wrapped__() == wanted
