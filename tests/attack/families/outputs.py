"""Outputs that would destroy an input, or that cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attack.attack import NOT_GREEN, Attack, nothing
from tests.attack.place import STREAM

VICTIMS = (
    "parity.toml",
    "models.py",
    "pictures/picture0.png",
    "keep.onnx",
    "keep.mlmodel",
    "keep.mlpackage/Manifest.json",
    "record.json",
)
CHECK = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--no-explain")
# Command -> the words before the option, and the options that name outputs.
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("parity", "run", "--no-explain"), ("--json", "--html", "--junit", "--markdown")),
    "stream": (("parity", "run", *STREAM, "--no-explain"), ("--json", "--html")),
    "check": (CHECK, ("--json", "--html", "--junit", "--markdown")),
    "judge": (("parity", "judge", "results.json"), ("--json", "--html", "--junit", "--markdown")),
    "compare-runs": (("parity", "compare-runs", "results.json", "results.json"), ("--json", "--markdown")),
    "merge": (("parity", "merge", "streamed.cases.jsonl"), ("--json", "--html")),
    "record": (("parity", "record", "keep.onnx", "--images", "pictures"), ("--out",)),
    "calibrate": (("parity", "calibrate", "--backend", "onnxruntime"), ("--json",)),
    "explain": (("parity", "explain", "models.py:tiny", "keep.onnx", "--images", "pictures"), ("--json",)),
    "audit": (("parity", "audit", "--faults", "pre-order*"), ("--json",)),
    "upgrade": (("parity", "upgrade", "--from", "installed", "--to", "installed"), ("--json",)),
    "pytest": (("pytest", "-q", "parity.toml"), ("--parity-json",)),
}


def _parent_file(place: Path) -> None:
    (place / "new").write_text("a file")


def _symlink(place: Path) -> None:
    (place / "new").symlink_to("parity.toml")


def _hard_link(place: Path) -> None:
    os.link(place / "parity.toml", place / "new")


def _directory(place: Path) -> None:
    (place / "new").mkdir()


def _fifo(place: Path) -> None:
    os.mkfifo(place / "new")


def _notes(place: Path) -> None:
    (place / "new").write_text("my notes\n")


def _other_json(place: Path) -> None:
    (place / "new").write_text('{"mine": 1}\n')


# What stands where the output should go, and its path.
TRAPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a symlink to the suite": (_symlink, "new"),
    "a hard link to the suite": (_hard_link, "new"),
    "a directory": (_directory, "new"),
    "a FIFO": (_fifo, "new"),
    "notes": (_notes, "new"),
    "JSON of another": (_other_json, "new"),
    "a file as parent": (_parent_file, "new/x.json"),
    "no parent": (nothing, "nowhere/deep/x.json"),
    "an over-long name": (nothing, "x" * 300),
    "an over-long path": (nothing, "/".join(["x" * 200] * 30)),
    "nothing": (nothing, ""),
    "a full device": (nothing, "/dev/full"),
    "the suite by another way": (nothing, "pictures/../parity.toml"),
}


def attacks() -> Iterator[Attack]:
    """Let every option name every victim, and one option of each command every trap."""
    for command, (words, options) in COMMANDS.items():
        codes = NOT_GREEN | {4} if command == "pytest" else frozenset({2})
        for option in options:
            for victim in VICTIMS if option == options[0] else VICTIMS[:3]:
                if (option, victim) == ("--out", "record.json"):
                    continue  # an earlier output of its own
                yield Attack(f"outputs/{option} {victim}/{command}", (*words, option, victim), codes=codes)
        for what, (prepare, path) in TRAPS.items():
            # A parent that is not there may as well be made.
            more = frozenset({0, 1, 3}) if what == "no parent" else frozenset[int]()
            name = f"outputs/{options[0]}, {what}/{command}"
            yield Attack(name, (*words, options[0], path), prepare, codes | more, ("nowhere/*", "nowhere"))
    yield Attack("outputs/the results judged/judge", ("parity", "judge", "results.json", "--json", "results.json"))
    same = ("--json", "new.json", "--html", "new.json")
    yield Attack("outputs/one file for two/check", (*CHECK, *same))
    yield Attack("outputs/one file for two, another way/check", (*CHECK, "--json", "new.x", "--html", "./new.x"))
