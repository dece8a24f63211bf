"""What `make test` leaves out: tests/thorough.py says what, and why; tests/slow.txt lists what takes long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slowest import SLOW
from tests.thorough import THOROUGH

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is thorough, or slow."""
    thorough = (*THOROUGH, *SLOW.read_text(encoding="utf-8").split())
    for item in items:
        place = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
        names = (place, f"{place}::{getattr(item, 'originalname', '')}")
        if any(path in names or place.startswith(f"{path}/") for path in thorough):
            item.add_marker("thorough")
