"""One operation of a file as the file writes it: settings as text, weights as numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Longer lists are weights, where nobody reads the numbers.
_MOST = 16


@dataclass(frozen=True)
class Operation:
    """Hold one operation of a file; attributes: name -> setting as text, or weights as numbers.

    inputs, outputs: the values that it reads and gives, by their names in the file.
    """

    type: str
    name: str
    attributes: Mapping[str, str | np.ndarray]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def as_text(value: Any) -> str:
    """Write a setting; what is long, by its size and a digest."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:8]}"
    if isinstance(value, list) and len(value) > _MOST:
        return f"{len(value)} values {hashlib.sha256(repr(value).encode()).hexdigest()[:8]}"
    if isinstance(value, float) and float(np.float32(value)) == value:
        return str(np.float32(value))  # the fewest digits that tell it from its neighbours
    return str(value)
