"""FAMILIES: a module for each kind of hostile input, with a function `attacks()`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from tests.attack.attack import Attack

FAMILIES = (
    "images",
    "models",
    "programs",
    "networks",
    "packages",
    "suites",
    "users",
    "outputs",
    "options",
    "documents",
    "streams",
    "names",
)


def all_attacks() -> Iterator[Attack]:
    """Give every attack, family by family, in the same order each time; a name that is there twice is an error."""
    seen: set[str] = set()
    for family in FAMILIES:
        for attack in importlib.import_module(f"tests.attack.families.{family}").attacks():
            if attack.name in seen or attack.family != family:
                raise ValueError(f"attack {attack.name} of {family} is there twice, or in the wrong family")
            seen.add(attack.name)
            yield attack
