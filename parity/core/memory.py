"""How large one value of a network may be, whatever runs it: a file of a few bytes can ask for any number."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from parity.core.errors import ParityError

# Of GiB, for those who have the memory and networks that need it.
VARIABLE = "PARITY_MEMORY_LIMIT"
# The largest value of VGG 16, at 224x224 the widest of the usual classifiers, has this for 80 images at once.
_GIB = 1.0


def memory_limit() -> int:
    """Return how many bytes one value may have; what PARITY_MEMORY_LIMIT says is refused where it is no number."""
    text = os.environ.get(VARIABLE, "")
    try:
        gib = float(text) if text else _GIB
    except ValueError:
        gib = math.nan
    if not gib > 0:
        raise ParityError(f"{VARIABLE}={text}: give the GiB that one value may have, as 4 or 0.5; `inf` for any")
    return int(gib * 2**30) if math.isfinite(gib) else 2**63


def too_large(shape: Iterable[int], bytes_each: float, limit: int | None = None) -> str:
    """Say why no value of this shape may be made; empty where it may.

    limit: as memory_limit gave it before, where that would be asked for often.
    """
    sizes = tuple(shape)
    allowed = memory_limit() if limit is None else limit
    size = math.prod(sizes) * bytes_each
    if size <= allowed:
        return ""
    return (
        f"a value of the shape {list(sizes)} takes {size / 2**30:.3g} GiB, and one may have {allowed / 2**30:.3g}; "
        f"where a sound model needs more, set {VARIABLE} to as many GiB"
    )
