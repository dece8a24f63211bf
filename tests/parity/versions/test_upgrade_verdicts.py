"""The table of upgrades: every state before with every state after."""

from __future__ import annotations

from itertools import product

import pytest

from parity.core.results import Answer, Case, Subject
from parity.versions.upgrade_verdicts import REGRESSIONS, STATES, TABLE, SideState, judge_upgrade

SIGNS = {
    "+": "better",
    "=": "same",
    "-": "worse",
    "X": "broken",
    "?": "inconclusive",
    ".": "untried",
    "_": "skipped",
}
# The columns, as the rows: right, wrong, refused, crashed, nonsense, inconclusive, untried, skipped.
EXPECTED = """
    right         = - X X X ? . _
    wrong         + = X X X ? . _
    refused       + - = - - ? . _
    crashed       + - + = - ? . _
    nonsense      + - + + = ? . _
    inconclusive  ? - X X X ? . _
    untried       . . . . . . . .
    skipped       _ _ _ _ _ _ . _
"""
ROWS = {line.split()[0]: line.split()[1:] for line in EXPECTED.strip().splitlines()}


def subject(verdict: str, reason: str = "", *cases: tuple[str, float | None]) -> Subject:
    answer = Answer("cat", 1.0)
    listed = tuple(Case(f"{i}", kind, answer, answer, apart) for i, (kind, apart) in enumerate(cases))  # type: ignore[arg-type]
    return Subject("m", "onnx", "m.onnx", "onnxruntime", "fp32", verdict, reason, tolerance=0.1, cases=listed)  # type: ignore[arg-type]


VERDICTS = {
    "right": "pass",
    "wrong": "fail",
    "inconclusive": "inconclusive",
    "untried": "skipped",
    "skipped": "skipped",
}


def in_state(state: SideState, reason: str) -> Subject:
    return subject(VERDICTS.get(state, "error"), reason)


def test_the_table_is_this_one() -> None:
    assert tuple(ROWS) == STATES
    for before in STATES:
        assert [TABLE[before, after] for after in STATES] == [SIGNS[sign] for sign in ROWS[before]], before
    assert len(TABLE) == 64


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_an_upgrade_is_judged_by_the_table_and_says_why(before: SideState, after: SideState) -> None:
    old, new = in_state(before, "of old"), in_state(after, "of new")

    verdict, reason = judge_upgrade(old, new, before, after)

    assert verdict == TABLE[before, after]
    assert bool(reason) == ((before, after) != ("right", "right"))
    if verdict in REGRESSIONS:
        assert "of new" in reason


def test_what_is_not_better_is_never_called_so_after_an_error() -> None:
    """A loud error before and silent wrong numbers after is the worst that an upgrade can do."""
    for loud in ("refused", "crashed", "nonsense"):
        assert TABLE[loud, "wrong"] == "worse"  # type: ignore[index]
        assert TABLE[loud, "right"] == "better"  # type: ignore[index]
        assert TABLE[loud, loud] == "same"  # type: ignore[index]


PASS, FAIL, ERROR = subject("pass"), subject("fail", "drift"), subject("error", "no file")
SKIPPED, NOTHING = subject("skipped", "no Python 3.7 here"), subject("inconclusive", "flat")


@pytest.mark.parametrize(
    ("old", "new", "verdict", "reason"),
    [
        (PASS, PASS, "same", ""),
        (PASS, FAIL, "worse", "drift"),
        (FAIL, PASS, "better", "the old side fails: drift"),
        (FAIL, FAIL, "same", "both sides fail: drift"),
        (PASS, ERROR, "broken", "no file"),
        (FAIL, ERROR, "broken", "no file"),
        (ERROR, ERROR, "same", "both sides refuse: no file"),
        (ERROR, subject("error", "no op"), "same", "both sides refuse: no file before, no op after"),
        (ERROR, PASS, "better", "the old side was broken: no file"),
        (ERROR, FAIL, "worse", "wrong without an error: drift; the old side raised one: no file"),
        (SKIPPED, PASS, "skipped", "no Python 3.7 here"),
        (PASS, SKIPPED, "skipped", "no Python 3.7 here"),
        (SKIPPED, ERROR, "skipped", "no Python 3.7 here"),
        (NOTHING, NOTHING, "inconclusive", "flat"),
        (NOTHING, PASS, "inconclusive", "flat"),
        (PASS, NOTHING, "inconclusive", "flat"),
        (NOTHING, ERROR, "broken", "no file; of the old side nothing can be concluded: flat"),
        (NOTHING, FAIL, "worse", "drift; of the old side nothing can be concluded: flat"),
    ],
)
def test_a_side_is_judged_by_its_distance_from_pytorch(
    old: Subject, new: Subject, verdict: str, reason: str
) -> None:
    assert judge_upgrade(old, new) == (verdict, reason)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ([("drift", 0.2)], [("drift", 0.35)], "worse"),
        ([("drift", 0.35)], [("drift", 0.2)], "better"),
        ([("drift", 0.2)], [("drift", 0.25)], "same"),  # nearer than the tolerance
        ([("drift", 0.9)], [("flip", 0.2)], "worse"),
        ([("flip", 0.2), ("flip", 0.2)], [("flip", 0.9), ("match", 0.0)], "better"),
        ([("flip", 0.2)], [("error", None)], "worse"),
        ([("error", None)], [("error", None)], "same"),
    ],
)
def test_of_two_failing_sides_the_one_further_off_is_worse(
    old: list[tuple[str, float]], new: list[tuple[str, float]], verdict: str
) -> None:
    assert judge_upgrade(subject("fail", "a", *old), subject("fail", "b", *new))[0] == verdict
