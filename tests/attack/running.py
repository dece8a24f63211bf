"""Run attacks, each in a process with a limit of time and memory, and say which were held.

    Attack --fork--> a process in a copy of the place --> Outcome --faults--> what is wrong, or nothing

The process that forks has imported what is slow to import, and has started no threads. Commands whose streams are
closed start anew, because it is the end of the interpreter that they try.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.attack.attack import Attack, Outcome

# Seconds for one command, from the start; explaining a tiny model takes a few.
SECONDS = 120.0
# Bytes of one process. The libraries alone take 600 MB.
MEMORY = 2 << 30
# What the system refuses; more than MEMORY, because libraries reserve what they do not use.
RESERVED = 8 << 30
_LONGEST_LINE = 2000
_CRASHES = ("Traceback (most recent call last)", "Exception ignored", "Fatal Python error", "INTERNALERROR")
# Left by the libraries beside what they read, in the place or not.
_CACHES = ("__pycache__*", ".pytest_cache*", ".hypothesis*")


@dataclass(frozen=True)
class Verdict:
    """Say of an attack what is wrong; nothing, where it was held."""

    attack: Attack
    outcome: Outcome
    faults: tuple[str, ...]


def run_attack(attack: Attack, place: Path, seconds: float = SECONDS) -> Verdict:
    """Run one attack in a copy of the place."""
    with tempfile.TemporaryDirectory(prefix="attack-") as directory:
        # One deeper, so that what leaves the place is seen.
        copy = Path(directory) / "outer" / "place"
        shutil.copytree(place, copy, symlinks=True)
        try:
            try:
                attack.prepare(copy)
            except Exception as error:  # a trap that cannot be laid tries nothing, and that must be seen
                text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                return Verdict(attack, Outcome(None, 0.0, 0, "", ""), (f"the attack itself breaks: {text}",))
            before = _contents(Path(directory))
            outcome = run_in(copy, attack, seconds)
            after = _contents(Path(directory))
            changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            outcome = Outcome(**{**vars(outcome), "changed": tuple(sorted(changed))})
            return Verdict(attack, outcome, tuple(faults(attack, outcome, copy)))
        finally:
            _make_removable(copy)


def faults(attack: Attack, outcome: Outcome, place: Path) -> list[str]:
    """List what is wrong with how a command ended."""
    wrong = []
    if outcome.code is None:
        wrong.append(f"no end within {outcome.seconds:.0f} s")
    elif outcome.code not in attack.codes:
        wanted = " or ".join(map(str, sorted(attack.codes)))
        wrong.append(f"exit code {outcome.code}, where {wanted} holds: {_last_line(outcome)}")
    if outcome.peak > MEMORY:
        wrong.append(f"{outcome.peak >> 20} MB of memory")
    wrong += [f"prints `{crash}`" for crash in _CRASHES if crash in outcome.output + outcome.errors]
    if outcome.code == 2 and attack.command[0] == "parity" and attack.streams == "read":
        told = [line for line in outcome.errors.splitlines() if line.startswith("parity: ")]
        if not told:
            wrong.append("exit code 2 without a line that says why")
        if any(len(line) > _LONGEST_LINE for line in told):
            wrong.append(f"a line of {max(map(len, told))} characters")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]", outcome.output + outcome.errors):
        wrong.append("prints control characters")
    lost = [name for name in outcome.changed if not _may_change(name, attack)]
    if lost:
        wrong.append(f"wrote {', '.join(lost[:5])}")
    if said := attack.check(place, outcome):
        wrong.append(said)
    return wrong


def _may_change(name: str, attack: Attack) -> bool:
    own = name.removeprefix("outer/place/")
    parts = Path(own).parts
    if any(fnmatch.fnmatch(part, cache) for part in parts for cache in _CACHES):
        return True
    if own != name and parts[0] == ".parity":  # what conversions keep
        return True
    return own != name and any(fnmatch.fnmatch(own, pattern) for pattern in attack.writes)


def _last_line(outcome: Outcome) -> str:
    lines = (outcome.errors.strip() or outcome.output.strip()).splitlines()
    return lines[-1][:300] if lines else "nothing was printed"


def _contents(directory: Path) -> dict[str, str]:
    """Describe every file below a directory by what it is and what it holds."""
    described = {}
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root) / name
            if path.is_symlink():
                described[str(path.relative_to(directory))] = f"-> {path.readlink()}"
            elif path.is_file():
                described[str(path.relative_to(directory))] = _digest(path)
            elif not path.is_dir():
                described[str(path.relative_to(directory))] = "special"
    return described


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:  # not readable, as the attack has it
        return str(error.errno)


def _make_removable(place: Path) -> None:
    for path in [place, *place.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.chmod(0o700)


def run_in(place: Path, attack: Attack, seconds: float = SECONDS) -> Outcome:
    """Run the command of an attack in a directory as it is."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        fresh = attack.alone or attack.streams != "read"
        child = _start(attack, place, output.fileno(), errors.fileno()) if fresh else None
        pid = child.pid if child else _fork(attack, place, output.fileno(), errors.fileno())
        code, peak = _wait(pid, seconds)
        if child:
            child.returncode = -1 if code is None else code  # it was waited for here
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", errors="replace"))
        return Outcome(code, time.monotonic() - began, peak, *texts)


def _wait(pid: int, seconds: float) -> tuple[int | None, int]:
    """Wait for a process, and end it and all that it started: its exit code, None after `seconds`; its memory."""
    descriptor = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None, usage.ru_maxrss * 1024


def _limit() -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (RESERVED, RESERVED))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _fork(attack: Attack, place: Path, output: int, errors: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if not (pid := os.fork()):
        _be_attacked(attack, place, output, errors)
    with suppress(OSError):  # the child does it too; whoever is first
        os.setpgid(pid, pid)
    return pid


def _be_attacked(attack: Attack, place: Path, output: int, errors: int) -> NoReturn:
    try:
        _limit()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nowhere, 0), (output, 1), (errors, 2)):
            os.dup2(source, target)
        os.chdir(place)
        os.environ.update(attack.environment)
        _call(attack)
    except SystemExit as stop:
        _leave(stop.code)
    except BaseException:
        traceback.print_exc()
        _leave(70)
    _leave(0)


def _call(attack: Attack) -> None:
    program, *arguments = attack.command
    sys.argv = [program, *arguments]
    if program == "parity":
        from parity.cli import main

        main(arguments)
    else:
        import pytest

        sys.exit(int(pytest.main(["-p", "no:cacheprovider", "-p", "no:benchmark", *arguments])))


def _leave(code: object) -> NoReturn:
    with suppress(OSError, ValueError, AttributeError):  # the last where a stream is None
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _start(attack: Attack, place: Path, output: int, errors: int) -> subprocess.Popen[bytes]:
    """Start a program anew, with what the attack says for its standard output."""
    program, *arguments = attack.command
    module = "parity.cli" if program == "parity" else "pytest"
    command = [sys.executable, "-m", module, *arguments]
    if attack.streams == "head":
        shell = 'exec 3>&1; { { "$@"; echo $? >&4; } | head -n 1 >&3; } 4>&1 | { read code; exit "$code"; }'
        command = ["bash", "-c", shell, "bash", *command]
    elif attack.streams != "read":
        end = ">&-" if attack.streams == "closed" else ">/dev/full"
        command = ["bash", "-c", f'exec "$@" {end}', "bash", *command]
    return subprocess.Popen(
        command,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env={**os.environ, **attack.environment},
        preexec_fn=_limit,
    )
