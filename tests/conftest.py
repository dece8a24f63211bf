"""What `make test` leaves to `make test-all`: tests/thorough.py says which tests, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thorough import THOROUGH

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is thorough."""
    for item in items:
        place = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
        names = (place, f"{place}::{getattr(item, 'originalname', '')}")
        if any(path in names or place.startswith(f"{path}/") for path in THOROUGH):
            item.add_marker("thorough")
