"""What a Core AI asset says of its function `main`; and the note of it beside an asset that was converted here.

Reading an asset takes a process of its own, and half a second. What was read while it was converted holds as long
as its program, the reader's version and the machine's kind are the same.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.files.json_text import parse_json

if TYPE_CHECKING:
    from conversion.artifact import Precision

FILE = "described.json"


@dataclass(frozen=True)
class Feature:
    """Name an input or an output: its type of numbers as NumPy calls it, its shape with None where it is open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Described:
    """Hold what an asset says of its function `main`."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    precision: Precision


def from_content(content: Any) -> Described:
    """Make a description of what JSON holds; KeyError, TypeError or ValueError say that it holds something else."""
    inputs, outputs = (
        tuple(Feature(str(one["name"]), str(one["dtype"]), tuple(one["shape"])) for one in content[way])
        for way in ("inputs", "outputs")
    )
    if content["precision"] not in ("fp16", "fp32"):
        raise ValueError(f"precision {content['precision']!r}")
    return Described(inputs, outputs, content["precision"])


def write_note(asset: Path, described: Described, digest: bytes, version: str) -> None:
    """Keep what an asset says beside it. digest: of its program. version: of what read it."""
    note = {"asset": asset.name, "read": _reading(digest, version), "says": asdict(described)}
    (asset.parent / FILE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def read_note(asset: Path, digest: bytes, version: str) -> Described | None:
    """Return what is kept of an asset; None where nothing is, or it is of another program or reader."""
    try:
        note = parse_json((asset.parent / FILE).read_text(encoding="utf-8"))
        if note["asset"] != asset.name or note["read"] != _reading(digest, version):
            return None
        return from_content(note["says"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _reading(digest: bytes, version: str) -> list[str]:
    return [digest.hex(), version, sys.platform, platform.machine()]
