"""Pairs of versions and operations that are known to be bad, and which of them a model would hit.

    known_bad.toml --known_bad--> KnownBad      Program + routes + versions --hits--> Hit

What stands in the file was measured: each pair has a model that the releases in `bad` and in
`good` converted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from parity.backends import runtimes
from parity.versions.known_bad_operations import OPERATIONS

if TYPE_CHECKING:
    from conversion.recipe import Route
    from parity.diagnosis.source import Program

_FILE = "known_bad.toml"
# Of a recipe itself; the other keys of `where` are its options.
_OWN_KEYS = ("format", "precision")


@dataclass(frozen=True)
class KnownBad:
    """Describe one pair.

    versions: ranges of the package, any of which is bad. where: what a route is like that hits it.
    operation: a name in OPERATIONS. title: what is wrong; advice: what to do. threads: public ones, `owner/name#1`.
    bad, good: releases that were tried. reproduction: the model that shows it.
    """

    id: str
    package: str
    versions: tuple[str, ...]
    where: Mapping[str, str]
    operation: str
    title: str
    advice: str
    threads: tuple[str, ...]
    bad: tuple[str, ...]
    good: tuple[str, ...]
    reproduction: str

    def holds(self, version: str) -> bool:
        """Tell whether a version of the package is bad; one that is none is not."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion

        try:
            return any(SpecifierSet(one).contains(version, prereleases=True) for one in self.versions)
        except InvalidVersion:
            return False

    def concerns(self, route: Route) -> bool:
        """Tell whether a route may hit it; what nobody says of a conversion of somebody's own may be so."""
        if route.finished and self.package not in runtimes():
            return False
        known = {"format": route.format, "precision": route.precision, **route.options}
        unknown = route.finished is not None or route.key is not None
        return all(
            known.get(name) == value or (unknown and name != "format" and known.get(name) is None)
            for name, value in self.where.items()
        )

    @property
    def links(self) -> tuple[str, ...]:
        """Return the addresses of the threads; GitHub leads from an issue to a pull request of the number."""
        return tuple(f"https://github.com/{thread.replace('#', '/issues/')}" for thread in self.threads)


@dataclass(frozen=True)
class Hit:
    """Say where a model would hit a pair. version: of its package; modules: paths, empty for forward itself."""

    pair: KnownBad
    version: str
    routes: tuple[str, ...]
    modules: tuple[str, ...]


@cache
def known_bad() -> Mapping[str, KnownBad]:
    """Return every pair by its id."""
    tables = tomllib.loads(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    return {name: _pair(name, table) for name, table in tables.items()}


def hits(program: Program, routes: Mapping[str, Route], versions: Mapping[str, str]) -> tuple[Hit, ...]:
    """List what a model would hit. program: its operations; versions: package -> version of what would be used."""
    return tuple(_hits(program, routes, versions))


def _hits(program: Program, routes: Mapping[str, Route], versions: Mapping[str, str]) -> Iterator[Hit]:
    for pair in known_bad().values():
        version = versions.get(pair.package, "")
        names = tuple(name for name, route in routes.items() if pair.concerns(route))
        if names and pair.holds(version):
            steps = OPERATIONS[pair.operation](program)
            if modules := tuple(dict.fromkeys(step.module for step in steps)):
                yield Hit(pair, version, names, modules)


def _pair(name: str, table: Mapping[str, object]) -> KnownBad:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    pair = KnownBad(name, **fields)  # type: ignore[arg-type]  # what is missing or too much is a TypeError
    if pair.operation not in OPERATIONS:
        raise ValueError(f"{_FILE}: {name}: no operation `{pair.operation}` in known_bad_operations.py")
    return pair
