"""How often differences of which size occur: counts on fixed logarithmic bins, which add up over parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from parity.core.errors import ParityError

_SMALLEST_DECADE = -9
_BINS_PER_DECADE = 10
# Six digits, not the machine's own logarithm: parts that were counted on different systems must add up.
EDGES: tuple[float, ...] = tuple(
    float(f"{10 ** (step % _BINS_PER_DECADE / _BINS_PER_DECADE):.5f}e{step // _BINS_PER_DECADE}")
    for step in range(_SMALLEST_DECADE * _BINS_PER_DECADE, 1)
)


@dataclass(frozen=True)
class Distribution:
    """Count values between 0 and 1 by their size.

    edges: always EDGES; written beside the counts, so that nobody has to know them.
    counts: one more than there are bins between edges: `counts[0]` are the values below `edges[0]`, zero among
        them; `counts[i]` those from `edges[i - 1]` up to `edges[i]`, which only the last bin includes.
    """

    # By functions: the schema of results.json would repeat every number as a default.
    edges: tuple[float, ...] = field(default_factory=lambda: EDGES)
    counts: tuple[int, ...] = field(default_factory=lambda: (0,) * len(EDGES))

    def __post_init__(self) -> None:
        """Refuse other edges: counts on them could not be added up."""
        if tuple(self.edges) != EDGES or len(self.counts) != len(EDGES) or any(count < 0 for count in self.counts):
            raise ParityError(
                f"a distribution with {len(self.edges)} edges and {len(self.counts)} counts was given; it has "
                f"{_BINS_PER_DECADE} bins a decade from {EDGES[0]:g} to 1, and one for what is smaller"
            )

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts)

    def add(self, values: Iterable[float]) -> Distribution:
        """Return the distribution with more values counted; all are finite, and what is above 1 counts as 1."""
        numbers = np.fromiter(values, dtype=np.float64)
        if not np.isfinite(numbers).all() or (numbers < 0).any():
            raise ParityError("a distribution counts finite values from 0; leave out images without an answer")
        places = np.minimum(np.searchsorted(EDGES, numbers, side="right"), len(EDGES) - 1)
        return self._plus(np.bincount(places, minlength=len(EDGES)).tolist())

    def merge(self, other: Distribution) -> Distribution:
        """Return the counts of both."""
        return self._plus(other.counts)

    def _plus(self, counts: Iterable[int]) -> Distribution:
        return Distribution(EDGES, tuple(a + b for a, b in zip(self.counts, counts, strict=True)))
