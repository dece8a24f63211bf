"""Scales and codebooks of compressed weights that no compression makes, undone by PyTorch's own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from parity.diagnosis.compression import Compressed
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.compression import uncompressed

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Give weights on wrong grids PyTorch's numbers."""
    compression = examination.compression
    # The grid of another checkpoint's numbers is right for those.
    wrong = [one for one in compression.absurd if not one.unrelated] if compression is not None else []
    if wrong:
        yield _wrong_grid(wrong)


def _wrong_grid(weights: Sequence[Compressed]) -> Suspect:
    worst = max(weights, key=lambda one: one.worse)
    message = (
        f"The grid of `{worst.weight.name}` ({worst.weight.manner} {worst.weight.granularity}), which `"
        f"{worst.operation}` reads, leaves {worst.worse:.3g} times the error in PyTorch's weights that the best "
        "grid of its kind does"
    )
    more = f"; so do those of {len(weights) - 1} more" if len(weights) > 1 else ""
    return Suspect("p-weight-grid", f"{message}{more}.", Repair(edit=uncompressed(weights)), seen=True)
