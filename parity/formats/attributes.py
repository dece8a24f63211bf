"""What two converted files say of the same operations: settings and weights, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from parity.formats import format_of
from parity.formats.listing import Operation

if TYPE_CHECKING:
    from conversion import Artifact


def changed_attributes(before: Artifact, now: Artifact) -> tuple[str, ...]:
    """Name the settings and weights that differ between operations which both files have, a line each.

    Operations are paired by their order and type; those without a partner are counted by `changed_facts`.
    """
    old, new = list(operations(before)), list(operations(now))
    matcher = SequenceMatcher(None, [o.type for o in old], [o.type for o in new], autojunk=False)
    changes: dict[tuple[str, str, str], list[str]] = {}
    for start, begin, length in matcher.get_matching_blocks():
        for one, other in zip(old[start : start + length], new[begin : begin + length], strict=True):
            for name in sorted(one.attributes.keys() | other.attributes.keys()):
                change = _difference(one.attributes.get(name, "absent"), other.attributes.get(name, "absent"))
                if change:
                    changes.setdefault((one.type, name, change), []).append(other.name)
    return tuple(_line(*key, names) for key, names in changes.items())


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the operations of a file in its order, without constants; a file that cannot be read is an error."""
    return format_of(artifact).operations(artifact)


def _line(kind: str, name: str, difference: str, where: list[str]) -> str:
    count = f"{len(where)} operations, {where[0]} first" if len(where) > 1 else where[0]
    return f"{kind} {name}: {difference} ({count})"


def _difference(old: str | np.ndarray, new: str | np.ndarray) -> str:
    if isinstance(old, str) or isinstance(new, str):
        both = [text if isinstance(text, str) else _shape(text) for text in (old, new)]
        return f"{both[0]} -> {both[1]}" if both[0] != both[1] else ""
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"{_shape(old)} -> {_shape(new)}"
    # By their bytes, because NaN differs from itself.
    return "" if old.tobytes() == new.tobytes() else "other numbers"


def _shape(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
