"""A sample of the attacks; `make attack` runs all of them."""

from __future__ import annotations

from pathlib import Path

from tests.attack.families import all_attacks
from tests.attack.run import attack_all, make_place_at, sample

SAMPLE = sample([attack.name for attack in all_attacks()], 100)


def test_a_sample_is_held(tmp_path: Path) -> None:
    rows = attack_all(SAMPLE, make_place_at(tmp_path / "place"))

    assert len(rows) == 100
    assert {row.name: row.faults for row in rows if row.faults} == {}
