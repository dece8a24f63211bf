"""Standard output that is closed, full, or read by somebody who leaves."""

from __future__ import annotations

from collections.abc import Iterator

from tests.attack.attack import HOLDS, REFUSED, Attack, Streams

CHECK = ("parity", "check", "models.py:tiny", "keep.onnx", "--images", "pictures", "--no-explain")
COMMANDS = {
    "ops": ("parity", "ops"),
    "doctor": ("parity", "doctor"),
    "help": ("parity", "--help"),
    "predict": ("parity", "predict", "keep.onnx", "pictures/picture0.png", "pictures/picture1.png"),
    "check": CHECK,
    "judge": ("parity", "judge", "results.json"),
    "compare-runs": ("parity", "compare-runs", "results.json", "results.json"),
    "merge": ("parity", "merge", "streamed.cases.jsonl"),
}


def attacks() -> Iterator[Attack]:
    """Take the reader away from every command that prints."""
    ends: tuple[Streams, ...] = ("closed", "full", "head")
    for command, words in COMMANDS.items():
        for end in ends:
            # What was to be printed and could not be is not well; nobody minds a reader who leaves.
            codes = frozenset({HOLDS, REFUSED}) if end == "full" else frozenset({HOLDS})
            yield Attack(f"streams/{end}/{command}", words, codes=codes, streams=end)
