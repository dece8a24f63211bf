"""The simulation of the gate in small: seeded, and with the approximation that it must find out."""

from __future__ import annotations

import pytest

from tests.bench.gate import LENIENT, Case, too_many

RUNS = 10_000


@pytest.mark.parametrize("images", [200, 2_000, 50_000])
@pytest.mark.parametrize(("margin", "share"), [(0.002, 0.0), (0.002, 0.0005), (0.02, 0.001)])
def test_a_candidate_at_the_margin_passes_and_fails_by_chance_alone(
    images: int, margin: float, share: float
) -> None:
    # The more tables there are, the longer each takes.
    runs = RUNS if images < 50_000 else RUNS // 20
    case = Case(images, margin, share)
    tables = case.tables(runs, margin)

    assert not too_many(case.passing(tables), runs)
    assert not too_many(case.failing(tables), runs)


def test_the_simulation_finds_an_approximation_that_passes_too_often() -> None:
    tables = LENIENT.tables(RUNS, LENIENT.margin)

    assert too_many(LENIENT.approximately(tables), RUNS)
    assert not too_many(LENIENT.passing(tables), RUNS)


def test_what_loses_nothing_passes_and_what_loses_much_fails() -> None:
    case = Case(2_000, 0.02, 0.005)

    assert case.passing(case.tables(200, 0.0)) == 200
    assert case.failing(case.tables(200, 0.06)) == 200
