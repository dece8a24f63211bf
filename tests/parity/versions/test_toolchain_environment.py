"""Environments of tool chains: whole or not there, built once, checked before use. uv is a stand-in: no network."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conversion.errors import ConversionError
from parity.versions import toolchain_environment
from parity.versions.toolchain_environment import (
    STATE,
    Environment,
    ToolChain,
    ToolChainError,
    ToolChainFailure,
    health,
    last_lines,
    prepare,
    why_not,
)


class Uv:
    """Stands in for uv: resolves to what it is told, writes metadata of what is installed, notes what was asked."""

    def __init__(self) -> None:
        self.resolved = "fakeconverter==8.3.0\nnumpy==1.0 ; python_version > '3'\n"
        self.calls: list[str] = []
        self.preferred = self.overrides = self.wants = ""
        self.fails_at = ""

    def __call__(self, stage: str, arguments: Sequence[Any], given: str = "") -> None:
        command = arguments[0] if arguments[0] == "venv" else " ".join(arguments[:2])
        self.calls.append(command)
        if command == "venv":
            environment(Path(arguments[-1]))
        elif command == "pip compile":
            pins = Path(arguments[arguments.index("-o") + 1])
            self.preferred = pins.read_text() if pins.exists() else ""
            self.overrides = Path(arguments[arguments.index("--override") + 1]).read_text()
            pins.write_text(self.resolved)
        else:
            (site,) = Path(arguments[arguments.index("--python") + 1]).parent.parent.glob(
                "lib/python*/site-packages"
            )
            for line in Path(arguments[arguments.index("-r") + 1]).read_text().splitlines():
                name, _, version = line.partition("==")
                home = site / f"{name}-{version}.dist-info"
                home.mkdir()
                (home / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{self.wants}")
        if command == self.fails_at:
            raise ToolChainError(ToolChainFailure(stage, ("error: no such package",)))


def environment(home: Path) -> None:
    """Make a virtual environment of this interpreter, as `python -m venv` does in far more time."""
    (home / "bin").mkdir(parents=True)
    (home / f"lib/python3.{sys.version_info[1]}/site-packages").mkdir(parents=True)
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (home / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    (home / "bin" / "python").symlink_to(base)


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> Uv:
    stand_in = Uv()
    monkeypatch.setattr(toolchain_environment, "_uv", stand_in)
    return stand_in


CHAIN = ToolChain("old", ("fakeconverter==8.3.0",))


def built(chain: ToolChain, directory: Path) -> Environment:
    found = prepare(chain, directory)
    assert isinstance(found, Environment), found
    return found


def test_it_has_what_was_asked_for_and_what_that_needs(uv: Uv, tmp_path: Path) -> None:
    found = built(CHAIN, tmp_path / "chains")

    assert found.packages == {"fakeconverter": "8.3.0", "numpy": "1.0"}
    assert found.python.is_file()
    assert health(found.python.parent.parent) is None


def test_what_is_installed_is_preferred_and_not_installed_again(uv: Uv, tmp_path: Path) -> None:
    import numpy

    uv.resolved = f"fakeconverter==8.3.0\nnumpy=={numpy.__version__}\n"
    found = built(CHAIN, tmp_path / "chains")

    assert f"numpy=={numpy.__version__}\n" in uv.preferred
    assert found.packages == {"fakeconverter": "8.3.0"}


def test_uv_is_told_to_leave_torch_alone(uv: Uv, tmp_path: Path) -> None:
    built(CHAIN, tmp_path / "chains")

    assert uv.overrides == 'torch ; python_version < "0"\n'


def test_the_second_time_it_is_there(uv: Uv, tmp_path: Path) -> None:
    first = built(CHAIN, tmp_path / "chains")
    assert uv.calls == ["venv", "pip compile", "pip install"]

    assert built(CHAIN, tmp_path / "chains") == first
    assert len(uv.calls) == 3


def test_a_name_does_not_count_but_packages_do(uv: Uv, tmp_path: Path) -> None:
    first = built(CHAIN, tmp_path / "chains")

    assert built(replace(CHAIN, name="renamed"), tmp_path / "chains").python == first.python
    assert built(replace(CHAIN, packages=("fakeconverter<9",)), tmp_path / "chains").python != first.python


def test_another_environment_around_it_makes_another(
    uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(CHAIN, tmp_path / "chains")
    monkeypatch.setattr(toolchain_environment, "installed", lambda: {"torch": "2.0"})

    assert built(CHAIN, tmp_path / "chains").python != first.python


def not_finished(home: Path) -> None:
    (home / STATE).unlink()


def another_version(home: Path) -> None:
    (there,) = home.glob("lib/python*/site-packages/fakeconverter-*")
    there.rename(there.with_name("fakeconverter-9.0.dist-info"))


def no_interpreter(home: Path) -> None:
    shutil.rmtree(home / "bin")


def half_a_state(home: Path) -> None:
    (home / STATE).write_text('{"packages": ')


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (not_finished, "it was not built to its end"),
        (half_a_state, "it was not built to its end"),
        (another_version, "fakeconverter 8.3.0 was installed there, and it has 9.0"),
        (no_interpreter, "its interpreter does not run"),
    ],
)
def test_a_damaged_one_is_told_and_built_again(
    uv: Uv, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    home = built(CHAIN, tmp_path / "chains").python.parent.parent
    damage(home)

    assert told in (health(home) or "")
    assert built(CHAIN, tmp_path / "chains").packages["fakeconverter"] == "8.3.0"
    assert health(home) is None


@pytest.mark.parametrize(
    ("command", "stage"), [("venv", "install"), ("pip compile", "resolve"), ("pip install", "install")]
)
def test_a_failure_is_a_result_and_leaves_nothing_behind(uv: Uv, tmp_path: Path, command: str, stage: str) -> None:
    uv.fails_at = command

    found = prepare(CHAIN, tmp_path / "chains")

    assert found == ToolChainFailure(stage, ("error: no such package",))
    assert str(found) == f"{stage}: error: no such package"
    assert [path.suffix for path in (tmp_path / "chains").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ("echo no such package >&2; echo >&2; echo '  look again' >&2", ("no such package", "  look again")),
        ("", ("uv ended with 2",)),
    ],
)
def test_what_uv_said_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, lines: tuple[str, ...]
) -> None:
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\n{said}\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(toolchain_environment, "find_uv", lambda: program)

    assert prepare(CHAIN, tmp_path / "chains") == ToolChainFailure("install", lines)


def test_one_that_stays_unsound_is_a_failure(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_environment, "health", lambda home: "numpy has gone")

    assert prepare(CHAIN, tmp_path / "chains") == ToolChainFailure("check", ("numpy has gone",))


def test_who_asks_for_another_torch_is_refused(uv: Uv, tmp_path: Path) -> None:
    uv.resolved, uv.wants = "fakeconverter==8.3.0\n", "Requires-Dist: torch==1.0\n"

    found = prepare(CHAIN, tmp_path / "chains")

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "resolve"
    assert "fakeconverter 8.3.0 asks for torch==1.0, and a tool chain keeps the installed torch" in str(found)


def test_a_torch_that_is_named_is_installed(uv: Uv, tmp_path: Path) -> None:
    chain = ToolChain("old", ("fakeconverter==8.3.0", "Torch==2.9"))
    uv.resolved, uv.wants = "fakeconverter==8.3.0\ntorch==2.9.0\n", "Requires-Dist: torch==2.9.0\n"

    found = built(chain, tmp_path / "chains")

    assert uv.overrides == ""
    assert found.packages == {"fakeconverter": "8.3.0", "torch": "2.9.0"}


def test_another_torch_needs_room(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)

    found = prepare(ToolChain("old", ("torch==2.9",)), tmp_path / "chains")

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "install"
    assert "another torch takes up to 12 GB, and 3 GB are free" in str(found)
    assert not isinstance(prepare(CHAIN, tmp_path / "chains"), ToolChainFailure)


def test_one_with_another_python_has_no_torch() -> None:
    with pytest.raises(ConversionError, match="with a Python of its own it starts from ONNX and has no torch"):
        ToolChain("old", ("onnx==1.17.0", "Torch==2.9"), "3.7")


def test_two_that_want_the_same_take_turns(uv: Uv, tmp_path: Path) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(prepare(CHAIN, tmp_path / "chains"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1]
    assert uv.calls.count("venv") == 1


def test_one_with_another_python_stands_alone(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_environment, "find_python", lambda version: Path(sys.executable))
    found = built(replace(CHAIN, python="3.7"), tmp_path / "chains")

    assert found.packages == {"fakeconverter": "8.3.0", "numpy": "1.0"}
    assert uv.preferred == ""
    assert not list(found.python.parent.parent.glob("lib/python*/site-packages/*.pth"))


def test_without_that_python_the_reason_is_told(uv: Uv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_environment, "find_python", lambda version: None)
    chain = replace(CHAIN, python="3.7")

    assert why_not(chain) == (
        "no Python 3.7 here (PATH, pyenv's versions, uv's); `uv python install 3.7` gives one"
    )
    assert prepare(chain, tmp_path) == ToolChainFailure("install", (str(why_not(chain)),))
    assert why_not(CHAIN) is None


def test_without_uv_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain_environment, "find_uv", lambda: None)

    assert str(why_not(CHAIN)).startswith("uv is not installed")
    assert isinstance(prepare(CHAIN, tmp_path), ToolChainFailure)


def test_a_place_that_cannot_be_written_to_is_bad_input(uv: Uv, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConversionError, match="give a directory that can be written to"):
        prepare(CHAIN, tmp_path / "file" / "chains")


def test_last_lines_leave_out_empty_ones() -> None:
    assert last_lines("a\n\n b \n" + "c\n" * 20) == ("c",) * 12
    assert last_lines("a\n\n b \n") == ("a", " b")
    assert str(ToolChainFailure("start", ())) == "start: nothing was said"
