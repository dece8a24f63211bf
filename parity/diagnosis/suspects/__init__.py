"""What may be wrong: one family of faults per module, each with `suspects(examination) -> Iterator[Suspect]`.

A family finds faults by measuring, whatever their size: the name comes afterwards, from what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.faults import known
from parity.diagnosis.repair import Repair


@dataclass(frozen=True)
class Suspect:
    """Name a fault that what was measured speaks for.

    fault: its name in the catalogue. message: one sentence, with figures. repair: what undoes it; None where
    nothing can be undone here. seen: the fault itself was seen, in the file or between two values, rather than
    guessed from the answers. harmless: it is no fault, and is said only of a comparison that holds or of one image.
    fix: what the user can write, as a line of code, where there is one.
    suffices: it would explain all of the difference, though nothing can be run again without it.
    """

    fault: str
    message: str
    repair: Repair | None = None
    seen: bool = False
    harmless: bool = False
    fix: str = ""
    suffices: bool = False

    def __post_init__(self) -> None:
        known(self.fault)


# In the order in which they are asked: cheap and specific first.
SPECIFIC = (
    "environment",
    "reference",
    "shapes",
    "compression",
    "runtime",
    "interface",
    "outputs",
    "head",
    "input",
    "weights",
    "grids",
    "repeatability",
    "operation_settings",
    "activations",
    "constants",
    "precision",
    "halves",
    "branches",
    "pixels",
)
# What undoes anything, and therefore says least: asked where nothing that has a name of its own is all.
GENERAL = ("operations",)
