"""What a cases file must say for anything to be computed from it: told in words where it does not."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from parity.stream.cases_file import Header, Line, PackedVariety


def line_fault(header: Header, line: Line) -> str:
    """Say what is wrong with the line of an image whose fields are of the right types; empty where nothing is."""
    seeing = [] if line.unreadable else header.seeing(line.index)
    if len(line.cases) != len(seeing):
        return f"{len(line.cases)} cases of image {line.index}, not {len(seeing)}"
    for number, case in zip(seeing, line.cases, strict=True):
        strange = [pair.label for pair in case.top if pair.label not in header.known_labels[number]]
        if strange:
            return f"{strange[0]!r:.60} is no label of {header.running[number].model}"
    for ended in (line.varieties, line.spots):
        for packed, model in zip(ended, header.models, strict=False):
            if not _is_whole(packed, len(model.labels)):
                return f"it does not tell what the answers of {model.name} are like"
    return ""


def _is_whole(packed: PackedVariety, classes: int) -> bool:
    try:
        bounds = [base64.b64decode(bound, validate=True) for bound in (packed.low, packed.high)]
    except ValueError:
        return False
    sizes = [len(bound) / classes for bound in bounds]
    return (
        packed.images > 0
        and set(sizes) in ({4}, {8})
        and all(
            np.isfinite(np.frombuffer(bound, f"<f{int(size)}")).all()
            for bound, size in zip(bounds, sizes, strict=True)
        )
    )
