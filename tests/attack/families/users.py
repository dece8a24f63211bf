"""User code that ends the process, or raises what no handler of errors expects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.attack.attack import INCONCLUSIVE, NOT_GREEN, REFUSED, Attack, Outcome
from tests.attack.place import STREAM

RAISED = (
    "sys.exit(0)",
    "sys.exit()",
    "sys.exit('done')",
    "raise SystemExit(3)",
    "raise GeneratorExit",
    "raise asyncio.CancelledError",
    "raise BaseException('no')",
    "raise Exception",
    "raise RecursionError",
    "raise MemoryError",
    "raise StopIteration",
    "raise click.exceptions.Exit(0)",
    "raise click.Abort",
    "pytest.exit('done', 0)",
    "pytest.skip('not today')",
    "quit()",
)
PLACES = ("on import", "in the factory", "in forward")
COMMANDS = {
    "run": ("parity", "run", "--no-explain", "--json", "new.json"),
    "check": ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--json", "new.json"),
    "convert": ("parity", "convert", "models.py:tiny", "--route", "onnx-torchscript", "--out", "new"),
    "baseline": ("parity", "baseline", "check"),
    "calibrate": ("parity", "calibrate", "--backend", "onnxruntime"),
    "stream": ("parity", "run", *STREAM, "--no-explain", "--json", "new.json"),
    "pytest": ("pytest", "-q", "parity.toml"),
}
HEAD = "import asyncio, click, os, pytest, sys\n"


def _trap(place: Path, where: str, what: str) -> None:
    """Let models.py do this in one of the places."""
    path = place / "models.py"
    source = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    source = source.replace(marker, marker + HEAD)
    if where == "on import":
        source += f"\n{what}\n"
    elif where == "in the factory":
        source += f"\ndef tiny():\n    {what}\n"
    else:
        source = source.replace("        found = self.pool(", f"        {what}\n        found = self.pool(")
    path.write_text(source, encoding="utf-8")


def _no_results(place: Path, outcome: Outcome) -> str:
    return "left results of a run that was not done" if (place / "new.json").exists() else ""


def _patch(place: Path, what: str) -> None:
    path = place / "models.py"
    path.write_text(path.read_text(encoding="utf-8") + f"\n{what}\n", encoding="utf-8")


PATCHES = {
    "numpy without arrays": "np.array = np.asarray = np.stack = None",
    "numpy that lies": "np.abs = lambda *a, **k: 0 * a[0]",
    "json that fails": "import json\njson.dumps = json.loads = None",
    "device meta": "torch.set_default_device('meta')",
    "dtype of half": "torch.set_default_dtype(torch.float16)",
    "a closed standard output": "import sys\nsys.stdout.close()",
    "no standard output": "import sys\nsys.stdout = None",
    "another directory": "import os\nos.chdir('/')",
    "a recursion limit of 60": "import sys\nsys.setrecursionlimit(60)",
    "no warnings": "import warnings\nwarnings.simplefilter('error')",
    "an exit function that ends the process": "import atexit, os\natexit.register(lambda: os._exit(0))",
}


def _dead(place: Path, where: str) -> None:
    _trap(place, where, "os._exit(0)")


def _says_unfinished(place: Path, outcome: Outcome) -> str:
    """Find out whether results, where there are any, could be taken for those of the run that ended."""
    if not (place / "results.json").exists():
        return ""
    marks = [path.name for path in place.iterdir() if "unfinished" in path.name]
    return "" if marks else "old results read as those of a run that ended by os._exit"


def attacks() -> Iterator[Attack]:
    """Put every exception into every place for every command."""
    for what in RAISED:
        for where in PLACES:
            for command, words in COMMANDS.items():
                codes = NOT_GREEN if command == "pytest" else frozenset({REFUSED, INCONCLUSIVE, 1})
                if command != "pytest" and where != "in forward":
                    codes = frozenset({REFUSED})
                trap = partial(_trap, where=where, what=what)
                yield Attack(f"users/{what} {where}/{command}", words, trap, codes, ("new*",), _no_results)
    for what, code in PATCHES.items():
        for command in ("run", "check"):
            trap = partial(_patch, what=code)
            # What these leave standing may pass; what may not be is a traceback.
            codes = frozenset({0, 1, REFUSED, INCONCLUSIVE, 120})
            yield Attack(f"users/{what}/{command}", COMMANDS[command], trap, codes, ("new*",))
    for where in PLACES:
        words = ("parity", "run", "--no-explain", "--json", "results.json")
        yield Attack(
            f"users/os._exit {where}/run",
            words,
            partial(_dead, where=where),
            frozenset({0}),
            ("results.json*",),
            _says_unfinished,
        )
