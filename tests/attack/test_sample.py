"""A sample of the attacks; `make attack` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.families import all_attacks
from tests.attack.run import attack_all, make_place_at, sample

SAMPLE = sample([attack.name for attack in all_attacks()], 100)

# One place for all of them, and so one process.
pytestmark = pytest.mark.xdist_group("attack")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place_at(tmp_path_factory.mktemp("attack") / "place")


@pytest.mark.parametrize("part", range(5))
def test_a_sample_is_held(part: int, place: Path) -> None:
    rows = attack_all(SAMPLE[part::5], place)

    assert len(rows) == 20
    assert {row.name: row.faults for row in rows if row.faults} == {}
