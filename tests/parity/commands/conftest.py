"""What the tests of all commands share: a directory to stand in, and the command itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.commands.command import Done, Parity, Refused, exit_code


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the directory in which the command is called; a test file may lay out one of its own."""
    return tmp_path


@pytest.fixture(autouse=True)
def _in_its_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    # On a Mac the same tests must say the same.
    monkeypatch.setattr("platform.system", lambda: "Linux")


@pytest.fixture
def parity(capfd: pytest.CaptureFixture[str]) -> Parity:
    """Run the command as its console script does."""

    def run(*arguments: str) -> Done:
        code = exit_code(*arguments)
        return Done(code, *capfd.readouterr())

    return run


@pytest.fixture
def refused(parity: Parity) -> Refused:
    """Run the command, and return the one line with which it is refused."""

    def run(*arguments: str) -> str:
        done = parity(*arguments)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        return line.removeprefix("parity: ")

    return run
