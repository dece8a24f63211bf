"""What the files of a converted model held when they were written: kept beside them, and compared before reuse."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from conversion.files.json_text import parse_json

FILE = "digests.json"
# What the converters said may go, and may be written to.
LOG = "convert.log"


def write_digests(directory: Path) -> None:
    """Keep the digests of all files in a directory but the log."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name not in (FILE, LOG)]
    digests = {path.relative_to(directory).as_posix(): file_digest(path) for path in files}
    (directory / FILE).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def damage(directory: Path) -> str:
    """Say which file is not what it was when its digest was kept; empty where all are. A new file is no damage."""
    try:
        digests = dict(parse_json((directory / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return f"{FILE} is missing or damaged"
    for name, digest in digests.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            if file_digest(path) != digest:
                return f"{name} has other content"
        except OSError as error:
            return f"{name} cannot be read, {error.strerror or error}"
    return "" if digests else f"{FILE} names no file"


def file_digest(path: Path) -> str:
    """Hash the content of a file: SHA-256 as text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
