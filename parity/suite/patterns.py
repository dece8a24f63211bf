"""Patterns of a suite file: the files that they name, relative to its directory."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path


def matching(patterns: Iterable[str], directory: Path) -> list[str]:
    """List the names that match, each once, sorted by pattern; a pattern that matches nothing stands for itself."""
    names: dict[str, None] = {}
    for pattern in patterns:
        matches = glob.glob(pattern, root_dir=directory, recursive=True)  # noqa: PTH207 - takes absolute ones too
        names.update(dict.fromkeys(sorted(matches) or [pattern]))
    return list(names)
