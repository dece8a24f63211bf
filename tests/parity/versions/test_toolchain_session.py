"""A process in a tool chain: what it answers, and what is left of it when it crashes, hangs or talks too much."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.suite.toolchain import ToolChain
from parity.versions.toolchain_environment import Environment, ToolChainFailure
from parity.versions.toolchain_session import Session

MODULE = """
import ctypes, os, signal, sys

def double(number):
    print("from Python", flush=True)
    os.write(1, b"from C++\\n")
    return 2 * number

def crash():
    print("about to read nothing", file=sys.stderr, flush=True)
    ctypes.string_at(0)

def hang():
    print("waiting", file=sys.stderr, flush=True)
    signal.pause()

def leave(code):
    os._exit(code)

def give_up():
    sys.exit("no licence")

def complain():
    raise ValueError("first line\\nsecond line")

def where():
    return __file__

def fetch(module):
    try:
        __import__(module)
    except Exception as error:
        raise RuntimeError("the conversion failed") from error

def evaluate(text):
    eval(text)
"""
# Packages of different times do not part with an ImportError alone.
PACKAGES = {
    "parted": "from json import no_such_name",
    "descriptors": "raise TypeError('Descriptors cannot be created directly.')",
    "attribute": "import json; json.no_such_name",
    "crashing": "import ctypes; ctypes.string_at(0)",
}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    (tmp_path / "converter.py").write_text(MODULE)
    for name, content in PACKAGES.items():
        (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with Session(Environment(ToolChain("this", ()), Path(sys.executable), {}, ("built before",))) as opened:
        yield opened


def call(session: Session, function: str, timeout: float = 60, **arguments: object) -> object:
    return session.ask("call", {"function": f"converter:{function}", "arguments": arguments}, timeout)


def test_answers_come_back_and_prints_do_not_mix_with_them(session: Session) -> None:
    assert call(session, "double", number=21) == 42
    assert call(session, "double", number=3) == 6


def test_it_imports_what_this_process_imports(session: Session, tmp_path: Path) -> None:
    assert call(session, "where") == str(tmp_path / "converter.py")


def test_an_environment_with_another_python_does_not(tmp_path: Path, session: Session) -> None:
    with Session(Environment(ToolChain("old", (), "3.7"), Path(sys.executable), {})) as other:
        found = call(other, "where")

    assert isinstance(found, ToolChainFailure)
    assert "No module named 'converter'" in str(found)


def test_a_segmentation_fault_is_a_result_with_its_last_lines(session: Session) -> None:
    found = call(session, "crash")

    assert isinstance(found, ToolChainFailure)
    assert (found.stage, found.died, found.untried) == ("run", True, False)
    assert found.last_lines[0] == "about to read nothing"
    assert "Segmentation fault" in found.last_lines[1]
    assert found.last_lines[-1] == "the process was killed by SIGSEGV"


def test_after_a_crash_the_next_question_is_answered(session: Session) -> None:
    call(session, "crash")

    assert call(session, "double", number=2) == 4


def test_a_process_that_hangs_is_given_up(session: Session) -> None:
    call(session, "double", number=1)  # started, so that what follows is not the start

    found = call(session, "hang", timeout=1)

    assert isinstance(found, ToolChainFailure)
    assert (found.stage, found.last_lines[-1]) == ("run", "no answer after 1 s: given up")
    assert found.died
    assert "waiting" in found.last_lines
    assert call(session, "double", number=4) == 8


def test_a_process_that_leaves_says_its_exit_code(session: Session) -> None:
    found = call(session, "leave", code=7)

    assert isinstance(found, ToolChainFailure)
    assert found.last_lines[-1] == "the process ended with exit code 7"


@pytest.mark.parametrize(
    ("function", "lines"),
    [("give_up", ("SystemExit: no licence",)), ("complain", ("ValueError: first line", "second line"))],
)
def test_an_exception_is_a_result_too_and_the_process_lives_on(
    session: Session, function: str, lines: tuple[str, ...]
) -> None:
    assert call(session, function) == ToolChainFailure("run", lines)
    assert session._process is not None
    assert session._process.poll() is None


@pytest.mark.parametrize("module", PACKAGES)
def test_what_cannot_be_imported_was_not_tried_however_late_that_shows(session: Session, module: str) -> None:
    found = call(session, "fetch", module=module)

    assert isinstance(found, ToolChainFailure)
    assert (found.stage, found.untried, found.died) == ("load", True, module == "crashing")


def test_a_crash_after_a_failed_import_is_a_crash(session: Session) -> None:
    call(session, "fetch", module="parted")

    found = call(session, "crash")

    assert isinstance(found, ToolChainFailure)
    assert (found.stage, found.died) == ("run", True)


def test_code_that_is_evaluated_is_no_import(session: Session) -> None:
    assert call(session, "evaluate", text="1 / 0") == ToolChainFailure(
        "run", ("ZeroDivisionError: division by zero",)
    )


def test_an_interpreter_that_is_gone_is_a_result(tmp_path: Path) -> None:
    with Session(Environment(ToolChain("gone", ()), tmp_path / "python", {})) as session:
        found = session.ask("versions", {}, 60)

    assert isinstance(found, ToolChainFailure)
    assert found.stage == "start"


def test_remarks_of_the_environment_stay_and_are_not_repeated(session: Session) -> None:
    assert session.remarks == ["built before"]


def test_leaving_ends_the_process(session: Session) -> None:
    call(session, "double", number=1)
    process = session._process
    session.__exit__()

    assert process is not None
    assert process.poll() == 0  # by itself: what it made in /tmp is removed
