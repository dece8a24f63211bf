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
        for was, found_now in zip(old[start : start + length], new[begin : begin + length], strict=True):
            for name in sorted(was.attributes.keys() | found_now.attributes.keys()):
                told = _difference(was.attributes.get(name, "absent"), found_now.attributes.get(name, "absent"))
                if told:
                    changes.setdefault((was.type, name, told), []).append(found_now.name)
    return tuple(_told(*key, names) for key, names in changes.items())


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the operations of a file in its order, without constants; a file that cannot be read is an error."""
    return format_of(artifact).operations(artifact)


def _told(kind: str, name: str, difference: str, where: list[str]) -> str:
    count = f"{len(where)} operations, {where[0]} first" if len(where) > 1 else where[0]
    return f"{kind} {name}: {difference} ({count})"


def _difference(was: str | np.ndarray, now: str | np.ndarray) -> str:
    if isinstance(was, str) or isinstance(now, str):
        both = [text if isinstance(text, str) else _shape(text) for text in (was, now)]
        return f"{both[0]} -> {both[1]}" if both[0] != both[1] else ""
    if was.shape != now.shape or was.dtype != now.dtype:
        return f"{_shape(was)} -> {_shape(now)}"
    # By their bytes, because NaN differs from itself.
    return "" if was.tobytes() == now.tobytes() else "other numbers"


def _shape(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
