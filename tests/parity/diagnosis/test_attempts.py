"""The record of what a search undid: all that a repair undoes, the better of two, and no more than it takes."""

from __future__ import annotations

from parity.core.comparison import Answer
from parity.core.results import Case, Comparison
from parity.diagnosis.attempts import Attempts
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect


def leaving(left: float, allowed: float = 0.01) -> Comparison:
    """Make the comparison of one image that is so far off."""
    verdict = "match" if left <= allowed else "drift"
    case = Case("a.png", verdict, Answer("ant", 0.5), Answer("ant", 0.5), max_abs_diff=left)
    holds = verdict == "match"
    return Comparison("pass" if holds else "fail", "" if holds else "1 drift", allowed, left, 1.0, left, (case,))


def suspect(fault: str, message: str = "Seen.", repair: Repair | None = None) -> Suspect:
    return Suspect(fault, message, repair or Repair())


def test_one_repair_has_the_names_of_all_that_it_undoes() -> None:
    attempts, both = Attempts(), Repair()
    family = [suspect("pre-bgr-swap", "B.", both), suspect("pre-scalar-std", "S.", both), suspect("g-clip")]
    attempts.meet(family)

    attempts.note((), family[:1], leaving(0.001))

    (one,) = attempts.listed()
    assert (one.faults, one.messages) == (("pre-bgr-swap", "pre-scalar-std"), ("B.", "S."))
    assert (one.left, one.images, one.restores, one.reason) == (0.001, 1, True, "")


def test_earlier_repairs_are_named_first() -> None:
    attempts, first, second = Attempts(), suspect("pre-bgr-swap"), suspect("g-clip")
    attempts.note((), [first], leaving(0.3))
    assert first.repair

    attempts.note((first.repair,), [second], leaving(0.2))

    assert [(a.faults, a.left, a.restores, a.reason) for a in attempts.listed()] == [
        (("pre-bgr-swap",), 0.3, False, "1 drift"),
        (("pre-bgr-swap", "g-clip"), 0.2, False, "1 drift"),
    ]


def test_what_was_tried_twice_is_there_once_with_the_better() -> None:
    attempts = Attempts()
    for left in (0.3, 0.001, 0.2):
        attempts.note((), [suspect("g-clip")], leaving(left))

    assert [(a.left, a.restores) for a in attempts.listed()] == [(0.001, True)]


def test_more_than_it_takes_is_left_out_and_what_restores_comes_first() -> None:
    attempts = Attempts()
    one, other = suspect("pre-bgr-swap"), suspect("g-clip")
    attempts.note((), [other], leaving(0.3))
    attempts.note((), [one, other], leaving(0.001))
    attempts.note((), [one], leaving(0.002))

    assert [a.faults for a in attempts.listed()] == [("pre-bgr-swap",), ("g-clip",)]


def test_names_from_a_file_are_written_as_a_terminal_can_take_them() -> None:
    attempts = Attempts()
    attempts.note((), [suspect("g-clip", "\x1b[31mred")], leaving(0.3))

    assert attempts.listed()[0].messages == ("\\x1b[31mred",)
