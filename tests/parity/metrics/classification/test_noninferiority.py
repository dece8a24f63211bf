"""Bounds of a loss: against published tables, another program, sums over all tables, and simulated runs."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import multinomial, norm

from parity.metrics.classification.noninferiority import (
    images_needed,
    is_below,
    lower_bound,
    only_candidate,
    p_value,
    tango,
    upper_bound,
)

ALPHA = 0.05
# first, second, total
pairs = st.integers(1, 60).flatmap(
    lambda total: st.integers(0, total).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(0, total - first), st.just(total))
    )
)


def interval(first: int, second: int, total: int, level: float) -> tuple[float, float]:
    """Solve for the losses at which Tango's score is as large as the normal distribution allows."""
    z = norm.ppf((1 + level) / 2)
    low, high = (
        brentq(lambda loss, sign=sign: tango(first, second, total, loss) - sign * z, -1 + 1e-7, 1 - 1e-7)
        for sign in (1, -1)
    )
    return low, high


@pytest.mark.parametrize(
    ("table", "level", "low", "high", "digits"),
    [
        # Tango's own two examples, as the tests of the R package ratesci have them (tests/testthat/test3.R).
        ((9, 3, 32), 0.95, -0.027, 0.390, 3),
        ((0, 1, 44), 0.90, -0.096, 0.037, 3),
        # Agresti and Min, Statistics in Medicine 24 (2005), 729-740, from the same file.
        ((16, 8, 86), 0.95, -0.020, 0.207, 3),
        # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), 2850-2875: airway hyper-responsiveness.
        ((1, 7, 21), 0.95, -0.517, -0.026, 3),
        # The R package contingencytables, by the same authors (tests/testthat/test-ch8.R).
        ((6, 16, 161), 0.95, -0.1240, -0.0054, 4),
    ],
)
def test_tangos_score_gives_the_published_intervals(
    table: tuple[int, int, int], level: float, low: float, high: float, digits: int
) -> None:
    assert interval(*table, level) == pytest.approx((low, high), abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # contingencytables, McNemar_exact_unconditional_test_paired_2x2 with its defaults: 1,000 values of the
        # share of pairs that differ, 0.0001 for their range (tests/testthat/test-ch8.R, two versions of it).
        ((6, 16, 161), 0.034053),
        ((0, 1, 14), 0.542071),
    ],
)
def test_the_exact_test_of_no_loss_is_that_of_another_program(table: tuple[int, int, int], expected: float) -> None:
    spent = 1e-4
    one_sided = p_value(*table, loss=0.0, spent=spent, values=1_000) - spent

    assert 2 * one_sided + spent == pytest.approx(expected, abs=6e-7)


@settings(max_examples=60)
@given(pairs, st.floats(-0.9, 0.9))
def test_the_share_of_one_side_is_the_most_likely_one(table: tuple[int, int, int], loss: float) -> None:
    first, second, total = table

    def unlikeliness(share: float) -> float:
        parts = ((first, share + loss), (second, share), (total - first - second, 1 - 2 * share - loss))
        return -sum(count * math.log(max(part, 1e-300)) for count, part in parts if count)

    least, most = max(0.0, -loss), (1 - loss) / 2
    best = minimize_scalar(unlikeliness, bounds=(least, most), method="bounded", options={"xatol": 1e-10})
    found = float(only_candidate(first, second, total, loss))

    assert least - 1e-12 <= found <= most + 1e-9
    assert unlikeliness(found) <= min(best.fun, unlikeliness(least), unlikeliness(most)) + 1e-6


@settings(max_examples=25)
@given(
    st.integers(1, 14).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))),
    st.sampled_from([-0.3, -0.05, 0.0, 0.02, 0.1, 0.4]),
)
def test_a_p_value_adds_up_all_tables_that_are_as_clear(table: tuple[int, int, int], loss: float) -> None:
    first, second, total = table
    second = min(second, total - first)
    score = float(tango(first, second, total, loss)) + 1e-9
    clear = [
        (one, other)
        for one, other in product(range(total + 1), repeat=2)
        if one + other <= total and float(tango(one, other, total, loss)) <= score
    ]
    values = 21
    sums = []
    for differing in np.clip(np.linspace(0, 1, values), abs(loss), 1):
        parts = np.array([(differing + loss) / 2, (differing - loss) / 2, 1 - differing])
        parts = np.clip(parts, 0, 1)
        sums.append(sum(multinomial.pmf((a, b, total - a - b), total, parts / parts.sum()) for a, b in clear))

    assert p_value(first, second, total, loss, spent=0.0, values=values) == pytest.approx(
        min(max(sums), 1), abs=1e-7
    )


@given(pairs, st.floats(-0.9, 0.9))
def test_one_more_image_lost_never_speaks_for_a_smaller_loss(table: tuple[int, int, int], loss: float) -> None:
    first, second, total = table
    if first + second == total:
        return

    assert tango(first + 1, second, total, loss) >= tango(first, second, total, loss) - 1e-9
    assert tango(first, second + 1, total, loss) <= tango(first, second, total, loss) + 1e-9


@settings(max_examples=10)
@given(pairs, st.sampled_from([0.01, 0.05, 0.2]))
def test_bounds_hold_the_loss_and_turn_round_with_the_sides(table: tuple[int, int, int], alpha: float) -> None:
    first, second, total = table
    low, high = lower_bound(first, second, total, alpha), upper_bound(first, second, total, alpha)

    assert -1 <= low <= (first - second) / total <= high <= 1
    assert (lower_bound(second, first, total, alpha), upper_bound(second, first, total, alpha)) == (-high, -low)


@settings(max_examples=15)
@given(pairs, st.sampled_from([0.01, 0.1, 0.3]))
def test_a_bound_is_on_the_side_of_the_margin_that_the_test_says(
    table: tuple[int, int, int], margin: float
) -> None:
    below = is_below(*table, margin, ALPHA)

    assert (upper_bound(*table, ALPHA, margin) <= margin) == (below and table[0] - table[1] < margin * table[2])


@pytest.mark.parametrize("total", [200, 2_000, 50_000])
def test_where_nothing_differs_the_bound_is_that_of_no_event(total: int) -> None:
    # A loss d is never seen with (1 - d)^n; 1/50 of alpha goes to how often the two differ.
    expected = 1 - (ALPHA * 49 / 50) ** (1 / total)

    assert upper_bound(0, 0, total, ALPHA) == pytest.approx(expected, abs=2e-6)
    assert lower_bound(0, 0, total, ALPHA) == pytest.approx(-expected, abs=2e-6)


def probability(passing: list[tuple[int, int]], total: int, share: float, loss: float) -> float:
    parts = (share + loss, share, 1 - 2 * share - loss)
    return sum(float(multinomial.pmf((a, b, total - a - b), total, parts)) for a, b in passing)


@pytest.mark.parametrize(("total", "margin"), [(25, 0.2), (40, 0.1)])
def test_at_the_margin_one_run_of_twenty_passes_at_most(total: int, margin: float) -> None:
    """Sum up all runs that pass: no chance is in it."""
    tables = [(a, b) for a, b in product(range(total + 1), repeat=2) if a + b <= total]
    passing = [(a, b) for a, b in tables if is_below(a, b, total, margin, ALPHA)]
    wrong = [probability(passing, total, share, margin) for share in np.linspace(0, (1 - margin) / 2, 30)]

    assert 0.02 < max(wrong) <= ALPHA
    assert max(probability(passing, total, share, 2 * margin) for share in np.linspace(0, 0.3, 10)) <= ALPHA


def test_the_normal_approximation_would_pass_too_often_where_few_differ() -> None:
    total, margin = 1_352, 0.002
    passing = float(tango(0, 0, total, margin)) <= norm.ppf(ALPHA)

    assert passing
    assert (1 - margin) ** total > 1.3 * ALPHA
    assert not is_below(0, 0, total, margin, ALPHA)


@pytest.mark.parametrize(
    ("table", "margin"),
    [((3, 2, 400), 0.01), ((12, 9, 1_000), 0.01), ((8, 8, 300), 0.02), ((40, 10, 500), 0.02), ((0, 0, 100), 0.01)],
)
def test_so_many_images_decide_four_times_out_of_five(table: tuple[int, int, int], margin: float) -> None:
    first, second, total = table
    needed = images_needed(first, second, total, margin, ALPHA, 0.8)
    assert needed is not None
    runs = np.random.default_rng(4).multinomial(
        needed, (first / total, second / total, 1 - (first + second) / total), 150
    )[:, :2]
    # A loss above the margin is shown the other way round.
    seen, wanted = (runs, margin) if first - second < margin * total else (runs[:, ::-1], -margin)
    deciding = [is_below(int(a), int(b), needed, wanted, ALPHA) for a, b in seen]

    assert needed > total
    assert 0.68 <= np.mean(deciding) <= 0.92 or (first == second == 0 and all(deciding))


def test_no_number_of_images_decides_what_is_the_margin_itself() -> None:
    assert images_needed(12, 8, 2_000, 0.002, ALPHA, 0.8) is None
