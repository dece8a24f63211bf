"""A record of what a search for causes undid, and of the difference that was left each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parity.core.evidence import Attempt
from parity.core.tally import tally_of
from parity.diagnosis.outcome import printable
from parity.diagnosis.repair import holds

if TYPE_CHECKING:
    from parity.core.results import Comparison
    from parity.diagnosis.repair import Repair
    from parity.diagnosis.suspects import Suspect


@dataclass
class Attempts:
    """Keep what was undone, each set of suspects once: again with the same names, the better of the two."""

    _by_names: dict[frozenset[tuple[str, str]], Attempt] = field(default_factory=dict)
    # By the identity of a repair, which the suspects keep alive, those that it undoes.
    _undone: dict[int, list[Suspect]] = field(default_factory=dict)

    def meet(self, family: Sequence[Suspect]) -> None:
        """Note which suspects one and the same repair undoes."""
        for suspect in family:
            self._undone.setdefault(id(suspect.repair), []).append(suspect)

    def note(self, earlier: Sequence[Repair], suspects: Sequence[Suspect], after: Comparison) -> None:
        """Note what was left after suspects were undone, on top of earlier repairs."""
        for suspect in suspects:
            self._undone.setdefault(id(suspect.repair), [suspect])
        repairs = dict.fromkeys([*map(id, earlier), *(id(suspect.repair) for suspect in suspects)])
        undone = [suspect for repair in repairs for suspect in self._undone.get(repair, ())]
        names = dict.fromkeys((suspect.fault, printable(suspect.message)) for suspect in undone)
        attempt = Attempt(
            tuple(fault for fault, _ in names),
            tuple(message for _, message in names),
            after.max_abs_diff,
            len(after.cases),
            holds(after),
            _excused(after) if holds(after) else printable(after.reason),
        )
        known = self._by_names.setdefault(frozenset(names), attempt)
        if _rank(attempt) < _rank(known):
            self._by_names[frozenset(names)] = attempt

    def listed(self) -> tuple[Attempt, ...]:
        """List what restored parity, then the rest in their order; of what restored it, what no less did."""
        restoring = [names for names, attempt in self._by_names.items() if attempt.restores]
        kept = [
            attempt
            for names, attempt in self._by_names.items()
            if not attempt.restores or not any(fewer < names for fewer in restoring)
        ]
        return tuple(sorted(kept, key=lambda attempt: not attempt.restores))


def _excused(after: Comparison) -> str:
    """Say how many images are beyond the tolerance where parity holds; empty where none is."""
    count = tally_of(after.cases).excused
    return f"{count} image(s) beyond it, within what rounding costs on that very image" if count else ""


def _rank(attempt: Attempt) -> tuple[bool, float]:
    return not attempt.restores, float("inf") if attempt.left is None else attempt.left
