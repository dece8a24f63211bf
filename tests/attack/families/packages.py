"""Packages whose manifest leads elsewhere, or whose parts are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.attack.attack import NOT_GREEN, Attack

PREDICT = ("parity", "predict", "evil.mlpackage", "pictures/picture0.png")
CHECK = ("parity", "check", "models.py:tiny", "evil.mlpackage", "--images", "pictures", "--no-explain")


def _package(place: Path) -> Path:
    shutil.copytree(place / "keep.mlpackage", place / "evil.mlpackage")
    return place / "evil.mlpackage"


def _item(manifest: Any, end: str) -> Any:
    return next(item for item in manifest["itemInfoEntries"].values() if item["path"].endswith(end))


def _path(place: Path, end: str, path: str) -> None:
    package = _package(place)
    secret = place.parent / "secret.mlmodel"
    shutil.copy(next((place / "keep.mlpackage").rglob("*.mlmodel")), secret)
    manifest = json.loads((package / "Manifest.json").read_text())
    _item(manifest, end)["path"] = path.replace("{secret}", str(secret))
    (package / "Manifest.json").write_text(json.dumps(manifest))


def _text(place: Path, text: str) -> None:
    (_package(place) / "Manifest.json").write_text(text)


def _changed(place: Path, change: Callable[[Any], Any]) -> None:
    package = _package(place)
    manifest = json.loads((package / "Manifest.json").read_text())
    change(manifest)
    (package / "Manifest.json").write_text(json.dumps(manifest))


def _file(place: Path, which: str, change: Callable[[Path], None]) -> None:
    package = _package(place)
    path = next(package.rglob(which))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    change(path)


def _outside(path: Path) -> None:
    """Put a symbolic link in the place of a part; what it leads to is there, outside the package."""
    target = path.parents[4] / f"outside-{path.name}"
    target.write_bytes(b"secret")
    path.symlink_to(target)


MANIFESTS: dict[str, str] = {
    "empty": "",
    "100,000 brackets": "[" * 100_000,
    "100,000 braces": '{"a":' * 100_000,
    "a number of 5,000 digits": '{"fileFormatVersion": ' + "9" * 5000 + "}",
    "a list": "[]",
    "null": "null",
    "NaN": "NaN",
    "not UTF-8": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "half": '{"fileFormatVersion": "1.0.0", "itemInfo',
    "without items": '{"fileFormatVersion": "1.0.0", "itemInfoEntries": {}, "rootModelIdentifier": "x"}',
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "root of nothing": lambda m: m.update(rootModelIdentifier="nobody"),
    "root a number": lambda m: m.update(rootModelIdentifier=7),
    "no root": lambda m: m.pop("rootModelIdentifier"),
    "items a list": lambda m: m.update(itemInfoEntries=[]),
    "items of text": lambda m: m.update(itemInfoEntries=dict.fromkeys(m["itemInfoEntries"], "x")),
    "paths of numbers": lambda m: [item.update(path=7) for item in m["itemInfoEntries"].values()],
    "paths of null": lambda m: [item.update(path=None) for item in m["itemInfoEntries"].values()],
    "no paths": lambda m: [item.pop("path") for item in m["itemInfoEntries"].values()],
    "paths with NUL": lambda m: [item.update(path="a\0b") for item in m["itemInfoEntries"].values()],
    "over-long paths": lambda m: [item.update(path="x" * 5000) for item in m["itemInfoEntries"].values()],
}
PARTS: dict[str, Callable[[Path], None]] = {
    "gone": lambda path: None,
    "empty": lambda path: path.write_bytes(b"") and None,
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link outside": _outside,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
}


def attacks() -> Iterator[Attack]:
    """Give every package to predict, and half of them to check."""
    for path in ("{secret}", "../../../secret.mlmodel", "../../../../secret.mlmodel", "/etc/passwd", "..", ".", ""):
        for end in ("model.mlmodel", "weights"):
            trap = partial(_path, end=end, path=path)
            shown = path.replace("{secret}", "absolute")
            yield Attack(f"packages/{end} at {shown!r}/predict", PREDICT, trap)
    for what, text in MANIFESTS.items():
        yield Attack(f"packages/manifest {what}/predict", PREDICT, partial(_text, text=text))
        yield Attack(f"packages/manifest {what}/check", CHECK, partial(_text, text=text))
    for what, change in CHANGES.items():
        yield Attack(f"packages/manifest, {what}/predict", PREDICT, partial(_changed, change=change))
    for which in ("Manifest.json", "*.mlmodel", "weight.bin", "weights"):
        for what, put in PARTS.items():
            trap = partial(_file, which=which, change=put)
            yield Attack(f"packages/{which} is {what}/predict", PREDICT, trap, NOT_GREEN)
            yield Attack(f"packages/{which} is {what}/check", CHECK, trap, NOT_GREEN)
