"""What the search for causes comes to: causes or suspects, hops, and the first operation that is different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parity.core.evidence import Attempt, Check
from parity.core.results import Diagnosis, Divergence
from parity.diagnosis.failures import Broken
from parity.diagnosis.suspects import Suspect

if TYPE_CHECKING:
    from parity.diagnosis.chain import Hop
    from parity.diagnosis.types import Located

SEARCH_BROKE = "parts of the search for causes broke, which is a bug of coreml-parity"
NO_PLACE = "where it goes wrong could not be found"
NOTHING_SEEN = (
    "every operation that can be compared gives what PyTorch's gives, and no cause that was tried explains it"
)


@dataclass(frozen=True)
class Explanation:
    """Say why and where a candidate does not agree with PyTorch.

    diagnoses: causes first, then suspects that could not be confirmed. unexplained: what is left to say where no
    cause was confirmed; empty otherwise. first_divergence: the first operation that is different.
    hops: every hop of the route, and whether it holds. broken: parts of the search that broke, which are bugs.
    refused: parts of it that could not be done.
    cut_short: that the search ended by the clock before a cause was confirmed; empty otherwise.
    checks: what was measured, step by step; attempts: what was undone, what restored parity first. Both are empty
    where nobody asked how the search knows.
    """

    diagnoses: tuple[Diagnosis, ...]
    hops: tuple[str, ...] = ()
    first_divergence: Divergence | None = None
    unexplained: str = ""
    broken: tuple[Broken, ...] = ()
    refused: tuple[Broken, ...] = ()
    cut_short: str = ""
    checks: tuple[Check, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def unsaid(self) -> str:
        """Why nothing is said at all, neither a cause nor a place; empty where something is."""
        if self.diagnoses or self.first_divergence:
            return ""
        if self.broken:
            return f"{SEARCH_BROKE}: {'; '.join(map(str, self.broken))}"
        return "; ".join((NO_PLACE, *map(str, self.refused))) if self.refused else NOTHING_SEEN

    @property
    def confirmed(self) -> bool:
        """Whether at least one cause was confirmed."""
        return any(diagnosis.confirmed for diagnosis in self.diagnoses)


def diagnosis_of(suspect: Suspect, evidence: str = "", fix: str = "") -> Diagnosis:
    """Put a suspect into words; evidence: what ran again without it and agreed: without any it is not confirmed."""
    fix = fix or suspect.fix or (suspect.repair.fix if suspect.repair else "")
    return Diagnosis(suspect.fault, printable(suspect.message), bool(evidence), printable(fix), evidence)


def printable(text: str) -> str:
    """Write names from files as Python escapes them, where a terminal would obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hop_line(hop: Hop) -> str:
    """Say in a line how a hop answers."""
    apart = "" if hop.max_abs_diff is None else f", largest |dp| {hop.max_abs_diff:.1e}"
    allowed = "" if hop.tolerance is None else f" of {hop.tolerance:.1e} allowed"
    reason = f" ({hop.reason})" if hop.reason else ""
    return printable(f"{hop.name}: {hop.verdict}{apart}{allowed if apart else ''}{reason}")


def divergence_of(where: Located | None) -> Divergence | None:
    """Put the first operation that is different into words."""
    if where is None:
        return None
    name, message = printable(where.operation), printable(where.message)
    return Divergence(name, where.type, where.index, where.of, where.module, message)


def what_is_left(hops: Sequence[Hop], where: Located | None) -> str:
    """Say where it fails, where no cause was confirmed."""
    at = [hop.name for hop in hops if hop.verdict in ("fail", "error")]
    parts = [f"at hop {at[0]}"] if at else []
    if where is not None:
        parts.append(f"operation {printable(where.operation)} ({where.type})")
    return f"unexplained{', ' if parts else ''}{', '.join(parts)}"
