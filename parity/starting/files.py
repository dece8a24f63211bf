"""The files of a new suite: refused before the work where one is there already, written whole after it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from parity.core.destination import Destination, check_destinations, is_earlier
from parity.core.errors import ParityError
from parity.core.file_kinds import INIT_MARK

# The first line of each: by it `--force` knows what it may overwrite.
MARK = INIT_MARK
SUITE_FILE = "parity.toml"
WORKFLOW_FILE = ".github/workflows/parity.yml"
KIND = "parity-init"


def check_free(directory: Path, names: Iterable[str], force: bool) -> None:
    """Refuse files that are there already, or cannot be written; raises ParityError.

    force: those that begin with MARK may be overwritten.
    """
    destinations = [_destination(directory, name) for name in names]
    for destination in destinations:
        if os.path.lexists(destination.path):
            own = is_earlier(destination.path, KIND)
            if own and not force:
                raise ParityError(f"{destination.shown}: is there already; --force overwrites it")
            if not own:
                raise ParityError(
                    f"{destination.shown}: is there already, and `parity init` did not write it; rename it, or "
                    "give another --directory"
                )
    check_destinations(destinations)


def write_all(directory: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files by their names in a directory, and return their paths; raises ParityError."""
    destinations = {name: _destination(directory, name) for name in texts}
    check_destinations(list(destinations.values()))
    for name, destination in destinations.items():
        destination.write(texts[name])
    return [destination.shown for destination in destinations.values()]


def _destination(directory: Path, name: str) -> Destination:
    path = directory / name
    return Destination(path, path.absolute(), KIND, makes_directory=True)
