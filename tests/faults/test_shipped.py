"""Every way of shipping by every breakage of tests/parity/shipping.py; `make faults` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.shipping import FAULTS, KINDS, Kind, check_named


@pytest.mark.parametrize("edit", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_ships_is_named(kind: Kind, edit: str, tmp_path: Path) -> None:
    check_named(tmp_path, kind, edit)
