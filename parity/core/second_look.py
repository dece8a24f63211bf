"""Images beyond a tolerance that was measured, looked at a second time.

    cases --beyond the tolerance--> what rounding costs PyTorch on that very image --> cases, judged by that
    how many of them there are --against how many are expected--> too many, or not

The largest of many differences is an extreme value: it grows with their number, and what rounding costs is measured
on a few. Of these few one may be more sensitive than all others, and what was measured on it is a single draw. So
an image beyond has an allowance of its own, by what the same rounding costs PyTorch on it. But no more images may
need one than chance explains, or a fault that moves all answers a little hides behind those that are sensitive
anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from math import sqrt

from parity.core.cases import judge_case_again
from parity.core.noise import BEYOND_CHANCE, CLEARLY_BEYOND, DRAWN_SPREAD, FIRST_DRAWS, SECOND_LOOKS
from parity.core.results import FAILING_CASES, Case
from parity.core.tolerance import SecondLook

# Takes the place of an image and the number of a draw: what rounding in that way costs PyTorch on it, a distance.
OwnCost = Callable[[int, int], float]


def look_again(cases: Sequence[Case], allowed: float, second: SecondLook, draws: int, cost: OwnCost) -> list[Case]:
    """Judge images beyond a tolerance by what rounding costs PyTorch on each of them, as so many draws tell it.

    The worst image comes first, and with the first that stays beyond its own allowance the look ends: the artefact
    fails, whatever the others are. So it does where an image fails that no allowance excuses, and when there was
    one draw for each case, or SECOND_LOOKS. What was not looked at stays what it was.
    """
    judged = list(cases)
    failing = [place for place, case in enumerate(cases) if case.verdict in FAILING_CASES]
    if not all(_is_excusable(cases[place], second) for place in failing):
        return judged
    left = max(SECOND_LOOKS, len(cases))
    for place in sorted(failing, key=lambda place: -(cases[place].max_abs_diff or 0.0)):
        if left < min(draws, FIRST_DRAWS):
            break
        judged[place], drawn = _looked_at(cases[place], allowed, second, min(draws, left), partial(cost, place))
        left -= drawn
        if judged[place].verdict in FAILING_CASES:
            break
    return judged


def _looked_at(
    case: Case, allowed: float, second: SecondLook, draws: int, cost: Callable[[int], float]
) -> tuple[Case, int]:
    """Judge one image by its own allowance; return it with the number of draws that it took."""
    squares, drawn, distance = 0.0, 0, case.max_abs_diff or 0.0
    while drawn < draws:
        squares, drawn = squares + cost(drawn) ** 2, drawn + 1
        own = second.factor * DRAWN_SPREAD * sqrt(squares / drawn)
        clear = distance <= own / DRAWN_SPREAD or distance > CLEARLY_BEYOND * own
        if clear and drawn == FIRST_DRAWS:
            break
    own = min(own, second.cap) if drawn else 0.0
    return judge_case_again(replace(case, own_allowed=own if own > allowed else None), allowed), drawn


def _is_excusable(case: Case, second: SecondLook) -> bool:
    """Say whether the largest allowance that there is would excuse an image."""
    return judge_case_again(replace(case, own_allowed=second.cap), 0.0).verdict not in FAILING_CASES


@cache
def most_beyond(images: int, measured: int) -> int:
    """Return how many of the images chance puts beyond a tolerance that was measured on some of them.

    Of n + 1 images of one kind the last is the largest in one of n + 1 orders, so that each image is beyond the
    largest of n with a probability of 1 / (n + 1); that their costs are multiplied by a factor makes it less.
    """
    from scipy.stats import binom

    return int(binom.isf(BEYOND_CHANCE, images, 1 / (measured + 1)))


def excess_told(excused: int, images: int, allowed: float, measured: int) -> str:
    """Say that more images are beyond the tolerance than chance explains; empty where they are not."""
    if not measured or excused <= (most := most_beyond(images, measured)):
        return ""
    return (
        f"{excused:,} of {images:,} images are beyond {allowed:.2g} where at most {most:,} are expected: each is "
        "within what rounding costs on that very image, but so many are not sensitive by chance"
    )


def excused_told(excused: int, images: int, allowed: float | None, measured: int) -> str:
    """Say how many images are beyond the tolerance and pass; empty where there are none."""
    if not excused or allowed is None or not measured:
        return ""
    are = "images is" if excused == 1 else "images are"
    return (
        f"{excused:,} of {images:,} {are} beyond {allowed:.2g}, and within what rounding costs PyTorch on that "
        f"very image; at most {most_beyond(images, measured):,} are expected"
    )
