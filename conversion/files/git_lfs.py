"""Git LFS pointers: the few lines of text that stand in a checkout in the place of a large file."""

from __future__ import annotations

import re
from pathlib import Path

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: the version is the first line, and a pointer is smaller
# than 1024 bytes. Hawser is what Git LFS was called before.
_FIRST_LINE = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/v\d+\r?\n")
_LARGEST = 1024


def tell_pointer(path: Path) -> str:
    """Say that a file is a pointer, and what to do; empty where it is none, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size >= _LARGEST:
            return ""
        content = path.read_bytes()
    except OSError:
        return ""
    if not _FIRST_LINE.match(content):
        return ""
    size = re.search(rb"(?m)^size (\d+)\r?$", content)
    whole = f" of {int(size[1]):,} bytes" if size else ""
    return (
        f"a Git LFS pointer of {len(content)} bytes in the place of the file itself{whole}; run `git lfs pull` in "
        "its repository"
    )


def tell_first_pointer(directory: Path) -> str:
    """Say which file of a directory, at any depth, is a pointer, and what to do; empty where none is."""
    for path in sorted(directory.rglob("*")):
        if pointer := tell_pointer(path):
            return f"{path.relative_to(directory)} in it is {pointer}"
    return ""
