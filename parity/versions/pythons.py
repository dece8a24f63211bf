"""Find other interpreters, and uv, which builds environments for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


@cache
def find_uv() -> Path | None:
    """Return uv: the one that was installed with this package, else the one on PATH."""
    try:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
        return Path(path) if path else None


@cache
def find_python(version: str) -> Path | None:
    """Find an interpreter of a version (`3.7`): on PATH, among pyenv's, among uv's; None where there is none."""
    for candidate in _candidates(version):
        if _is(version, candidate):
            # A virtual environment's python leads to the one that it was made from, which outlives it.
            return candidate.resolve()
    return None


def _candidates(version: str) -> Iterator[Path]:
    short = ".".join(version.split(".")[:2])
    for directory in os.get_exec_path():
        for name in (f"python{short}", "python3", "python"):
            yield Path(directory) / name
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{short}*/bin/python"), reverse=True)
    if uv := find_uv():
        command: list[str | Path] = [uv, "python", "find", "--managed-python", "--no-python-downloads", version]
        path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        if path:
            yield Path(path)


def _is(version: str, interpreter: Path) -> bool:
    """Ask the interpreter itself: one of pyenv's stand-ins on PATH need not lead anywhere."""
    if not interpreter.is_file():
        return False
    try:
        ran = subprocess.run([interpreter, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return ran.returncode == 0 and f"{ran.stdout.strip()}.".startswith(f"{version}.")
