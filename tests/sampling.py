"""Samples of tests and of attacks: the same everywhere, and hardly another when one is added or renamed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest(name: str) -> bytes:
    """Hash a name."""
    return hashlib.sha256(name.encode()).digest()


def sample(names: Iterable[str], size: int) -> set[str]:
    """Choose so many of the names, by their hashes."""
    return set(sorted(names, key=digest)[:size])


def sample_of_each(families: Iterable[Iterable[str]], size: int) -> set[str]:
    """Choose so many of all names, and at least one of each family."""
    listed = [list(family) for family in families]
    chosen = set().union(*(sample(family, 1) for family in listed))
    rest = (name for family in listed for name in family if name not in chosen)
    return chosen | sample(rest, size - len(chosen))
