"""Environments with other versions of converters: reused or built, always whole, checked before use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import conversion
from conversion.errors import ConversionError
from conversion.files.scratch import scratch_beside
from conversion.hints import hint
from conversion.limits import limit_of
from parity.suite.toolchain import KEPT, ToolChain, normal
from parity.versions.pythons import find_python, find_uv
from parity.versions.toolchain_packages import installed, other_torch, unmet

WORKER = Path(conversion.__file__).with_name("toolchain_worker.py")
STATE = "toolchain.json"
# Counted up when environments are built otherwise, so that those of before are not taken for whole.
FORMAT = 1
LINES = 12
# Before the converter or the runtime has its say: what fails there says nothing of it.
UNTRIED_STAGES = frozenset({"resolve", "install", "check", "start", "load"})

_BUILD_SECONDS = 1800
# With the CUDA packages that its wheels for Linux ask for.
TORCH_BYTES = 12e9


@dataclass(frozen=True)
class ToolChainFailure:
    """Say at which stage a tool chain failed, and the last lines that were said.

    stage: resolve, install, check, start, load, convert, open or run; load also where a package cannot be
        imported, however late that shows. died: its process crashed or hung, and raised no error.
    """

    stage: str
    last_lines: tuple[str, ...]
    died: bool = False

    @property
    def untried(self) -> bool:
        """Whether it failed before it was asked for anything: it is then neither good nor bad."""
        return self.stage in UNTRIED_STAGES

    def __str__(self) -> str:
        """Put it into one line."""
        reason = self.last_lines[-1].strip() if self.last_lines else "nothing was said"
        limit = limit_of(" ".join(self.last_lines)) if self.stage == "convert" else None
        if limit:
            return f"{self.stage}: {limit}; take another route"
        advice = hint(reason)
        return f"{self.stage}: {reason}{f'; {advice}' if advice else ''}"


class ToolChainError(ConversionError):
    """Carries a ToolChainFailure to who turns it into a result."""

    def __init__(self, failure: ToolChainFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(frozen=True)
class Environment:
    """Hold an environment that was checked.

    packages: name -> version of what was installed for it; all else is as in the running environment.
    remarks: what installed packages ask for that this tool chain does not give them, a line each.
    """

    toolchain: ToolChain
    python: Path
    packages: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def why_not(toolchain: ToolChain) -> str | None:
    """Say why a tool chain cannot run here; None where it can be tried."""
    if find_uv() is None:
        return "uv is not installed, which builds environments of tool chains; pip install uv"
    if toolchain.python and find_python(toolchain.python) is None:
        return (
            f"no Python {toolchain.python} here (PATH, pyenv's versions, uv's); "
            f"`uv python install {toolchain.python}` gives one"
        )
    return None


def prepare(toolchain: ToolChain, directory: Path) -> Environment | ToolChainFailure:
    """Return a tool chain's environment, built below `directory` unless it is there already and sound."""
    from filelock import FileLock

    interpreter = find_python(toolchain.python) if toolchain.python else Path(sys.executable)
    if interpreter is None:
        return ToolChainFailure("install", (why_not(toolchain) or "no interpreter",))
    home = _home(toolchain, interpreter, directory)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{home}.lock"):
            if health(home) is not None:
                _build(toolchain, interpreter, home)
            if reason := health(home):
                return ToolChainFailure("check", (reason,))
    except ToolChainError as error:
        return error.failure
    except OSError as error:
        raise ConversionError(
            f"{home.parent}: environments of tool chains cannot be written there ({error.strerror or error}); "
            "give a directory that can be written to"
        ) from error
    state = json.loads((home / STATE).read_text(encoding="utf-8"))
    return Environment(toolchain, _interpreter(home), state["packages"], tuple(state["remarks"]))


def health(home: Path) -> str | None:
    """Say what is wrong with an environment; None where it is whole, runs, and has what was installed."""
    try:
        state = json.loads((home / STATE).read_text(encoding="utf-8"))
        wanted = dict(state["packages"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"{home}: it was not built to its end ({error})"
    try:
        ran = subprocess.run(
            [_interpreter(home), "-I", WORKER, "[]"],
            input=json.dumps({"verb": "versions", "arguments": {}}),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        versions = json.loads(ran.stdout)["answer"]
    except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
        return f"{home}: its interpreter does not run ({error})"
    differing = [name for name, version in wanted.items() if versions.get(name) != version]
    if differing:
        name = differing[0]
        return f"{home}: {name} {wanted[name]} was installed there, and it has {versions.get(name, 'none')}"
    return None


def _home(toolchain: ToolChain, interpreter: Path, directory: Path) -> Path:
    """Name an environment by all that decides it."""
    content = [FORMAT, sorted(toolchain.packages), str(interpreter)]
    # What lies over the running environment leaves out what that has already.
    content += [sys.version, site.getsitepackages(), installed()] if toolchain.python is None else [True]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    readable = re.sub(r"[^\w.]+", "-", "-".join(sorted(toolchain.packages)))[:60].strip("-")
    return directory.absolute() / f"{readable or 'installed'}-{digest}"


def _build(toolchain: ToolChain, interpreter: Path, home: Path) -> None:
    """Build in a directory of its own and move it into place when it is whole."""
    free = shutil.disk_usage(home.parent).free
    if len(toolchain.kept) < len(KEPT) and free < TORCH_BYTES:
        reason = (
            f"{home.parent}: another torch takes up to {TORCH_BYTES / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free"
        )
        raise ToolChainError(ToolChainFailure("install", (f"{reason}; free some, or take the installed torch",)))
    with scratch_beside(home) as scratch:
        environment = scratch / "environment"
        _uv("install", ["venv", "--relocatable", "--python", interpreter, environment])
        pins = _resolve(toolchain, interpreter, scratch)
        if toolchain.python is None:
            pins = {name: version for name, version in pins.items() if installed().get(name) != version}
            # Before `site` reads the other directories' .pth files, what is installed here stands in sys.path.
            lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
            (_site_packages(environment) / "_running_environment.pth").write_text("\n".join(lines) + "\n")
        listed = scratch / "pins.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        if pins:
            _uv("install", ["pip", "install", "--no-deps", "--python", _interpreter(environment), "-r", listed])
        remarks: list[str] = []
        if toolchain.python is None:
            brought = distributions(path=[str(_site_packages(environment))])
            if toolchain.kept and (refusal := other_torch(brought)):
                raise ToolChainError(ToolChainFailure("resolve", (refusal,)))
            remarks = list(unmet(pins))
        state = {"packages": pins, "remarks": remarks, "requested": toolchain.packages}
        (environment / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(home, ignore_errors=True)
        environment.replace(home)


def _resolve(toolchain: ToolChain, interpreter: Path, scratch: Path) -> dict[str, str]:
    """Choose a version for everything that the tool chain needs: what is installed, where that fits."""
    pins, without = scratch / "resolved.txt", scratch / "overrides.txt"
    arguments: list[str | Path] = [
        "pip",
        "compile",
        "-",
        "--python",
        interpreter,
        "--no-header",
        "--no-annotate",
        "-o",
        pins,
    ]
    if toolchain.python is None:
        # uv prefers what the file that it will write says already.
        pins.write_text("".join(f"{name}=={version}\n" for name, version in installed().items()))
    # For no Python at all: whoever asks for it gets none.
    without.write_text("".join(f'{name} ; python_version < "0"\n' for name in toolchain.kept))
    arguments += ["--override", without]
    _uv("resolve", arguments, "\n".join(toolchain.packages))
    pinned: dict[str, str] = {}
    for line in pins.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        pinned[normal(name)] = version
    return pinned


def _uv(stage: str, arguments: Sequence[str | Path], text: str = "") -> None:
    program = find_uv()
    if program is None:
        raise ToolChainError(ToolChainFailure(stage, ("uv is not installed; pip install uv",)))
    command = [program, "--quiet", "--no-python-downloads", *arguments]
    try:
        ran = subprocess.run(
            [str(part) for part in command], input=text, capture_output=True, text=True, timeout=_BUILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        reason = f"uv {arguments[0]} took longer than {_BUILD_SECONDS} s"
        raise ToolChainError(ToolChainFailure(stage, (reason,))) from error
    if ran.returncode:
        raise ToolChainError(
            ToolChainFailure(stage, last_lines(ran.stderr) or (f"uv ended with {ran.returncode}",))
        )


def last_lines(text: str) -> tuple[str, ...]:
    """Return the last lines that say something."""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LINES:]


def _interpreter(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _site_packages(home: Path) -> Path:
    directory = next(iter(home.glob("lib/python*/site-packages")), None)
    return directory or home / "Lib" / "site-packages"
