"""The command in its process: streams that are closed, full or read by nobody, and Ctrl-C at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from parity import cli
from tests.parity.commands.command import exit_code as code_of

Command = Callable[[Callable[[], int]], tuple[str, ...]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Put a command in the place of `doctor`; returns how it is called."""

    def replace(function: Callable[[], int]) -> tuple[str, ...]:
        monkeypatch.setitem(cli.cli.commands, "doctor", click.command("doctor")(function))
        return ("doctor",)

    return replace


@contextmanager
def led_to(name: str, descriptor: int) -> Iterator[None]:
    """Let a standard stream lead to a descriptor, which is closed afterwards."""
    before = getattr(sys, name)
    stream = os.fdopen(descriptor, "w")
    setattr(sys, name, stream)
    try:
        yield
    finally:
        assert getattr(sys, name) is stream
        setattr(sys, name, before)
        stream.close()


def unread() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def speaking(verdict: int) -> Callable[[], int]:
    def speak() -> int:
        for number in range(10_000):
            click.echo(f"line {number}")
        print("and by print", flush=True)
        os.write(sys.stdout.fileno(), b"and past Python")
        return verdict

    return speak


# Standard streams


@pytest.mark.parametrize("verdict", [0, 1, 3])
def test_nobody_reads_and_the_verdict_stays(
    verdict: int, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    with led_to("stdout", unread()):
        assert code_of(*command(speaking(verdict))) == verdict

    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize(("verdict", "code"), [(0, 2), (1, 1), (3, 3)])
def test_a_full_disk_is_a_line_and_never_green(
    verdict: int, code: int, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    with led_to("stdout", full()):
        assert code_of(*command(speaking(verdict))) == code

    assert capfd.readouterr().err == "parity: not all of the answer could be written: No space left on device\n"


@pytest.mark.parametrize("open_one", [unread, full])
def test_an_error_that_nobody_hears_keeps_its_exit_code(open_one: Callable[[], int]) -> None:
    with led_to("stderr", open_one()):
        assert code_of("judge", "gone.json") == 2


def test_streams_that_were_closed_at_the_start(
    command: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    assert code_of(*command(speaking(1))) == 1


def test_a_user_who_closes_a_stream_does_not_silence_the_command(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    def close() -> int:
        sys.stdout.close()
        sys.stderr.close()
        click.echo("parity holds")
        return 0

    assert code_of(*command(close)) == 0
    assert capfd.readouterr().out == "parity holds\n"


def test_from_a_shell() -> None:
    parity = f"{sys.executable} -m parity"
    read_in_part = f"{parity} --help | head -1; echo ${{PIPESTATUS[0]}} >&3"
    closed = f"{parity} judge gone.json >&- 2>&- <&-; echo $? >&3"
    script = f"{read_in_part}; {closed}"
    done = subprocess.run(["bash", "-c", f"exec 3>&2 2>&1; {script}"], capture_output=True, text=True, check=False)

    assert done.stderr.split() == ["0", "2"]
    assert done.stdout == "Usage: parity [OPTIONS] COMMAND [ARGS]...\n"


# Ctrl-C


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class Forgetful:
    def __del__(self) -> None:
        interrupt()


def lost_in_an_import() -> int:
    try:
        interrupt()
    except KeyboardInterrupt as error:
        raise ImportError("numpy.core.multiarray failed to import") from error
    return 0


def swallowed() -> int:
    try:
        interrupt()
    except BaseException:
        return 0
    return 0


def in_a_destructor() -> int:
    Forgetful()
    threading.Event().wait(60)
    click.echo("goes on")
    return 0


def by_hand() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize("function", [interrupt, lost_in_an_import, swallowed, in_a_destructor, by_hand])
def test_ctrl_c_is_130_and_a_line_wherever_it_comes(
    function: Any, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook

    assert code_of(*command(function)) == 130

    assert capfd.readouterr() == ("", "interrupted\n")
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_who_was_started_not_to_be_interrupted_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def go_on() -> int:
        interrupt()
        return 1

    try:
        assert code_of(*command(go_on)) == 1
    finally:
        signal.signal(signal.SIGINT, before)


IMPORTING = """
import signal, sys
from parity import __main__

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["parity", "ops"]
__main__.main()
"""
# Python itself would end by the signal then.
EVALUATING = """
import sys
import click
from parity import cli

cli.cli.commands["doctor"] = click.command("doctor")(lambda: exec("import signal; signal.raise_signal(2)"))
sys.argv = ["parity", "doctor"]
cli.main()
"""


@pytest.mark.parametrize("program", [IMPORTING, EVALUATING], ids=["importing", "evaluating"])
def test_ctrl_c_of_a_whole_process(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
