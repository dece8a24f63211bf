"""Does the gate on accuracy pass a candidate that loses too much, and how often does it decide?

    loss at the margin, how often the two differ --chance--> 10,000 tables --gate--> share of false passes

A line for each number of images, margin and share of images that the candidate alone gets right: how many of the
runs at the margin pass, and how many fail, both of which are wrong in 5 % at most; how many pass by the normal
approximation of the same score, which is not used; how many pass where nothing is lost, and fail where three times
the margin is. It exits with 1 where a share is above 5 % by more than chance explains.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from parity.metrics.classification.noninferiority import is_below, tango

SEED, ALPHA = 20, 0.05
IMAGES, MARGINS, SHARES = (200, 2_000, 50_000), (0.002, 0.02), (0.0, 0.001, 0.01, 0.05)
# A score above this is far from the 5 %: there is nothing to look up.
_UNDECIDED = -1.1
# A share of wrong verdicts is called too large where chance would show it so rarely in runs that are right.
_BY_CHANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Say what is simulated: images, the margin, and the share that the candidate alone gets right."""

    images: int
    margin: float
    share: float

    def tables(self, runs: int, loss: float) -> np.ndarray:
        """Draw runs in which so much is lost: int [runs, 2], the images that only one of the two gets right."""
        random = np.random.default_rng((SEED, self.images, round(self.margin * 1e6), round(self.share * 1e6)))
        parts = (self.share + loss, self.share, 1 - 2 * self.share - loss)
        return random.multinomial(self.images, parts, runs)[:, :2]

    def passing(self, tables: np.ndarray) -> int:
        """Count the runs in which the loss is shown to be below the margin."""
        return self._deciding(tables, self.margin)

    def failing(self, tables: np.ndarray) -> int:
        """Count the runs in which the loss is shown to be above the margin."""
        return self._deciding(tables[:, ::-1], -self.margin)

    def _deciding(self, tables: np.ndarray, margin: float) -> int:
        distinct, counts = np.unique(tables, axis=0, return_counts=True)
        near = tango(distinct[:, 0], distinct[:, 1], self.images, margin) <= _UNDECIDED
        return sum(
            int(count)
            for (first, second), count in zip(distinct[near], counts[near], strict=True)
            if is_below(int(first), int(second), self.images, margin, ALPHA)
        )

    def approximately(self, tables: np.ndarray) -> int:
        """Count the runs that would pass by the normal approximation."""
        return int((tango(tables[:, 0], tables[:, 1], self.images, self.margin) <= norm.ppf(ALPHA)).sum())


# Here the normal approximation passes without a single image that differs, and too often.
LENIENT = Case(1_352, 0.002, 0.0)


def too_many(wrong: int, runs: int) -> bool:
    """Say whether so many wrong verdicts are more than chance makes of 5 %."""
    return bool(binomtest(wrong, runs, ALPHA, alternative="greater").pvalue < _BY_CHANCE)


def simulated(case: Case, runs: int, power_runs: int) -> bool:
    """Simulate a case, print its line, and say whether too many verdicts are wrong."""
    at, none = case.tables(runs, case.margin), case.tables(power_runs, 0.0)
    much = case.tables(power_runs, 3 * case.margin)
    passes, fails, roughly = case.passing(at), case.failing(at), case.approximately(at)
    shares = [count / runs for count in (passes, fails, roughly)]
    shares += [count / power_runs for count in (case.passing(none), case.failing(much))]
    columns = " ".join(f"{100 * one:{width}.2f}%" for one, width in zip(shares, (9, 9, 10, 10, 10), strict=True))
    print(f"{case.images:7,} {case.margin:7.3f} {case.share:14.3f} {columns}", flush=True)
    return too_many(passes, runs) or too_many(fails, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="Runs at the margin.")
    parser.add_argument(
        "--power-runs", type=int, default=1_000, help="Runs where nothing is lost, and where much is."
    )
    options = parser.parse_args()
    print(
        f"{'images':>7} {'margin':>7} {'only candidate':>14} {'false pass':>10} {'false fail':>10} "
        f"{'approximate':>11} {'passes at 0':>11} {'fails at 3x':>11}"
    )
    cases = [Case(images, margin, share) for images in IMAGES for margin in MARGINS for share in SHARES]
    wrong = [simulated(case, options.runs, options.power_runs) for case in (LENIENT, *cases)]
    sys.exit(any(wrong))


if __name__ == "__main__":
    main()
