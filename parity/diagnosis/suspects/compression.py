"""Compressed weights that cost more than is allowed, and the layers to leave uncompressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis.compression import Compressed, Compression
from parity.diagnosis.compression_cost import compressed_answers
from parity.diagnosis.fixes import fix
from parity.diagnosis.repair import Repair, holds, judged
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.types import place

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.formats.editing import Edit, Editable

# So many layers are named in a sentence; the fix has them all.
_SHOWN = 4


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Leave those layers uncompressed that cost too much."""
    compression = examination.compression
    if compression is not None and compression.sound:
        yield from _too_costly(examination, compression)


def _too_costly(examination: Examination, compression: Compression) -> Iterator[Suspect]:
    """Name the layers that cost most, where compression moves PyTorch's own answers by more than is allowed."""
    from parity.diagnosis.leave_uncompressed import propose

    reference, artifact = examination.reference, examination.file.artifact
    # Known from the judging of the file; where it is within bounds, a label may have changed all the same.
    known = reference.compression_costs.get(artifact.path)
    flipped = any(case.verdict == "flip" for case in examination.candidate.judgement.cases)
    if known is not None and known <= examination.tolerance and not flipped:
        return
    cost = known or 0.0
    if cost <= examination.tolerance:
        answers = compressed_answers(reference.model, compression.sound, examination.pixels, artifact.precision)
        prediction = replace(reference.prediction, probabilities=answers)
        if holds(judged(reference, prediction, examination.tolerance)):
            return
        cost = float(np.nan_to_num(np.abs(answers - reference.prediction.probabilities), nan=1.0).max())
    proposal = propose(reference, compression, examination.tolerance, examination.screen)
    dearest, alone = proposal.costs[0]
    leave = proposal.leave
    named = ", ".join(f"`{one.operation}`" for one in leave[:_SHOWN])
    more = f" and {len(leave) - _SHOWN} more" if len(leave) > _SHOWN else ""
    of = len(compression.sound)
    message = (
        f"Compressed weights ({compression.manner}) move the answers of PyTorch's own module by {cost:.2g} on "
        f"these images, where {examination.tolerance:.2g} is allowed. The layer that costs most is "
        f"`{dearest.operation}` ({place(dearest.expected.module)}), {alone:.2g} alone; with {len(leave)} of {of} "
        f"layers uncompressed ({named}{more}) PyTorch is {proposal.apart:.2g} off."
    )
    names = [repr(one.operation) for one in leave]
    line = fix(
        "leave uncompressed",
        artifact.format,
        names=", ".join(names),
        nones=", ".join(f"{name}: None" for name in names),
    )
    evidence = "the same file with these layers uncompressed agrees"
    repair = Repair(edit=uncompressed(leave), evidence=evidence, fix=line)
    yield Suspect("p-weight-quant", message, repair, seen=True, fix=line)


def uncompressed(weights: Sequence[Compressed]) -> Edit:
    """Make the edit that gives these weights PyTorch's own numbers, as floats."""

    def edit(model: Editable) -> None:
        for one in weights:
            expected = one.expected
            shape = expected.operation.weights[expected.place].shape
            model.set_weight(one.operation, expected.place, expected.array.reshape(shape).astype(np.float32))

    return edit
