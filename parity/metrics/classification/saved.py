"""What saved cases of a classifier tell of its answers' variety, without the answers themselves."""

from __future__ import annotations

from collections.abc import Sequence

from parity.core.results import Case
from parity.core.variety import one_answer
from parity.metrics.classification.cases import SHOWN
from parity.metrics.classification.variety import one_class


def lacking_in_cases(cases: Sequence[Case], allowed: float, closer: bool, untold: str) -> str:
    """Say why agreement within `allowed` would prove nothing; empty where it would.

    closer: whether it is known to prove something with a tolerance that is no smaller. untold: what to say where
    the cases do not tell.
    """
    least, most = _spread(cases)
    if most <= allowed:
        return one_answer(most, allowed)
    if len({case.reference.label for case in cases}) == 1:
        return one_class(len(cases))
    return "" if closer or least > allowed else untold


def _spread(cases: Sequence[Case]) -> tuple[float, float]:
    """Bound, from below and from above, how far the reference's answers are from the one that is nearest to all.

    A case names the most probable classes; one that it does not name is at most as probable as the fifth.
    """
    listed = [{pair.label: pair.reference for pair in case.top if pair.reference is not None} for case in cases]
    if not all(listed):
        return 0.0, 1.0
    bounds = [sorted(named.values(), reverse=True)[SHOWN - 1] if len(named) >= SHOWN else 0.0 for named in listed]
    rising = sorted(range(len(listed)), key=lambda place: bounds[place])
    named_by: dict[str, list[int]] = {}
    for place, named in enumerate(listed):
        for label in named:
            named_by.setdefault(label, []).append(place)
    # What no case names is anything between nothing and what it may be at most.
    least, most = 0.0, bounds[rising[-1]] / 2
    for label, places in named_by.items():
        said, naming = [listed[place][label] for place in places], set(places)
        if len(places) == len(listed):
            exactly = (max(said) - min(said)) / 2
            least, most = max(least, exactly), max(most, exactly)
            continue
        # Among the cases that do not name it, counted at once: no more are passed over than name it.
        low, high = (bounds[next(p for p in order if p not in naming)] for order in (rising, reversed(rising)))
        least, most = max(least, (max(said) - min(*said, low)) / 2), max(most, max(*said, high) / 2)
    return least, most
