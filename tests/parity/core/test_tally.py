"""What adds up over parts: counts of cases, and what tells whether agreement proves anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.results import Answer, Case, CaseVerdict
from parity.core.tally import Tally, judge, tally_of
from parity.metrics.classification.variety import variety_of


def case(verdict: CaseVerdict, difference: float | None, reason: str = "", candidate: str = "a") -> Case:
    return Case("x", verdict, Answer("a", 0.5), Answer(candidate, 0.5), difference, reason=reason)


cases = st.lists(
    st.builds(
        case,
        st.sampled_from(["match", "tie", "drift", "flip", "error"]),
        st.none() | st.sampled_from([0.0, 0.25, 0.5]),
        st.sampled_from(["", "why"]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=8,
)


@given(cases, st.integers(0, 8))
def test_tallies_add_up(drawn: list[Case], cut: int) -> None:
    assert tally_of(drawn[:cut]).merge(tally_of(drawn[cut:])) == tally_of(drawn)


def test_nothing_was_counted_yet() -> None:
    nothing = Tally()

    assert (nothing.images, nothing.failing, nothing.top1_agreement, nothing.max_abs_diff) == (0, 0, None, None)
    assert nothing.merge(tally_of([case("match", 0.25)])) == tally_of([case("match", 0.25)])


answers = st.lists(
    st.lists(st.integers(0, 16).map(lambda n: n / 16), min_size=3, max_size=3), min_size=2, max_size=8
)


@given(answers, st.integers(1, 7), st.sampled_from([0.01, 0.0625, 0.25, 0.5]))
def test_variety_adds_up(drawn: list[list[float]], cut: int, allowed: float) -> None:
    rows = np.array(drawn)
    cut = min(cut, len(rows) - 1)

    merged = variety_of(rows[:cut]).merge(variety_of(rows[cut:]))

    assert merged.lacking(allowed) == variety_of(rows).lacking(allowed)


@pytest.mark.parametrize(
    ("counted", "allowed", "expected"),
    [
        ([case("match", 0.01)], 0.1, ("pass", "", 0.01)),
        ([case("drift", 0.2), case("match", 0.01)], 0.1, ("fail", "1 drift of 2 image(s)", 0.2)),
        ([case("flip", 0.6), case("error", None)], 0.1, ("fail", "1 flip, 1 error of 2 image(s)", None)),
        # A tolerance this large would let a constant pass.
        ([case("drift", 0.45)], 0.1, ("fail", "1 drift of 1 image(s)", None)),
        ([case("flip", 0.01, reason="named otherwise")], 0.1, ("fail", "1 flip of 1 image(s)", None)),
    ],
)
def test_what_was_counted_is_judged(
    counted: list[Case], allowed: float, expected: tuple[str, str, float | None]
) -> None:
    variety = variety_of(np.array([[0.9, 0.1], [0.1, 0.9]]))

    assert judge(tally_of(counted), variety, allowed) == expected


def test_agreement_that_proves_nothing_is_inconclusive() -> None:
    verdict, reason, required = judge(tally_of([case("match", 0.0)]), variety_of(np.full((3, 2), 0.5)), 0.1)

    assert (verdict, required) == ("inconclusive", None)
    assert "about 1/2 for every class" in reason
