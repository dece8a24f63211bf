"""Operations of a file that compute in 16 bits, whether the whole file does or a few between two casts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import HALF_LARGEST
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.formats.editing import Editable


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compute in fp32 what the file computes in 16 bits."""
    editable = examination.file.editable
    halves = editable.verbs.halves(editable.content)
    casts = halves.casts
    if examination.file.graph is None or not (casts or halves.stored):
        return
    kind = next(iter((*casts.values(), *halves.stored)))
    where = f", first behind Cast `{next(iter(casts))}`" if casts else ""
    repair = Repair(
        edit=_widened,
        evidence="the same file computed in fp32 agrees",
        fix="export in float32, or judge it by a tolerance for 16 bits",
    )
    if name := _overflowing(examination):
        yield Suspect(
            "p-fp16-overflow",
            f"`{name}` overflows in {kind} (> {HALF_LARGEST:g}){where}: keep that operation in float32.",
            repair,
            seen=True,
        )
        return
    yield Suspect(
        "p-fp16-drift",
        f"A part of the file computes in {kind}{where}: the same file computed in float32 agrees.",
        repair,
    )


def _overflowing(examination: Examination) -> str:
    """Name the first value that is infinite for the worst image; empty where none is, or it cannot be traced."""
    values = examination.candidate.values(examination.pixels[examination.screen[0]]) or {}
    floats = ((name, value) for name, value in values.items() if value.dtype.kind == "f")
    return next((name for name, value in floats if np.isinf(value).any()), "")


def _widened(model: Editable) -> None:
    model.verbs.widen(model.content)
