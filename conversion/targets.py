"""Deployment targets of coremltools: the system that a Core ML file is for, and what an option needs of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

# The names of ct.target that an ML Program can have, each with the iOS of the same year.
TARGETS: Mapping[str, str] = {
    f"{system}{version}": ios
    for system, versions in (
        ("iOS", (15, 16, 17, 18, 26)),
        ("macOS", (12, 13, 14, 15, 26)),
        ("watchOS", (8, 9, 10, 11, 26)),
        ("tvOS", (15, 16, 17, 18, 26)),
    )
    for version, ios in zip(versions, ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26"), strict=True)
}


def is_before(target: str, other: str) -> bool:
    """Say whether a target is of an earlier year than another."""
    years = list(dict.fromkeys(TARGETS.values()))
    return years.index(TARGETS[target]) < years.index(TARGETS[other])


def same_year(ios: str, target: str | None) -> str:
    """Return the target of an iOS's year for the system of another target; None stands for iOS."""
    return next(name for name, year in TARGETS.items() if year == ios and _system(name) == _system(target or ios))


def nearest_target(text: str) -> str:
    """Return the target that was meant: of the same system the nearest version; empty where nothing is like it."""
    written = re.fullmatch(r"([A-Za-z]+?)[\s_-]*(\d+)(?:[._]\d+)?", text.strip())
    if written:
        own = [name for name in TARGETS if _system(name).lower() == written[1].lower()]
        if own:
            return min(own, key=lambda name: abs(_version(name) - int(written[2])))
    return next(iter(difflib.get_close_matches(text, TARGETS, n=1)), "")


def _version(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def _system(name: str) -> str:
    return name.rstrip("0123456789")
