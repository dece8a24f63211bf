"""What a command reads, as far as its options and its suite file name it."""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.suite.suite import find_suite


def files_read(options: Mapping[str, Any]) -> list[Path]:
    """List the files and directories that the parameters of a command name, and those that belong to them."""
    from parity.stream.job import cases_beside

    paths = list(named_files(options, Path.cwd()))
    if "results" in options:
        paths.append(cases_beside(options["results"]).absolute())
    with suppress(ParityError):
        if "suite" in options:
            paths += suite_files(find_suite(options["suite"]).absolute())
    return paths


def suite_files(suite: Path) -> Iterator[Path]:
    """Name a suite file, its baselines and all that it names; a damaged one names nothing: the command says so."""
    from parity.versions.baselines import DIRECTORY

    yield suite
    yield from (suite.parent / DIRECTORY).glob("*/*.json")
    with suppress(OSError, ValueError, RecursionError):
        yield from named_files(tomllib.loads(suite.read_text(encoding="utf-8")), suite.parent)


def named_files(value: Any, directory: Path) -> Iterator[Path]:
    """Name the files and directories that exist of those that texts stand for, at any depth in lists and tables.

    A text is a path, a pattern, `file.py:callable`, `timm:name@weights.pth` or `transformers:directory`, relative
    to the directory.
    What is meant for something else and happens to name a file is listed too: then it is left alone as well.
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        elif isinstance(one, str | Path):
            text = str(one)
            parts = dict.fromkeys(
                (text, text.rpartition(":")[0], text.rpartition("@")[2], text.partition("transformers:")[2])
            )
            names = [*filter(None, parts), *(_matching(text, directory) if glob.has_magic(text) else ())]
            yield from (path for name in names if os.path.exists(path := directory / name))  # noqa: PTH110 - takes any text


def _matching(pattern: str, directory: Path) -> list[str]:
    with suppress(OSError, ValueError, re.error):
        return glob.glob(pattern, root_dir=directory, recursive=True)  # noqa: PTH207 - takes absolute ones too
    return []
