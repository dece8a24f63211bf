"""What is installed, and what packages ask of each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING

from parity.suite.toolchain import KEPT, normal

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@cache
def installed() -> Mapping[str, str]:
    """List what the running environment has, name -> version, as an import would find it."""
    versions: dict[str, str] = {}
    for package in distributions():
        if name := package.metadata["Name"]:
            versions.setdefault(normal(name), package.version)
    return dict(sorted(versions.items()))


def other_torch(packages: Iterable[Distribution]) -> str | None:
    """Say which package asks for another torch than the installed one; None where none does."""
    for package in packages:
        for wanted in _wants(package):
            version = installed().get(normal(wanted.name), "")
            if normal(wanted.name) in KEPT and not wanted.specifier.contains(version, prereleases=True):
                return (
                    f"{package.metadata['Name']} {package.version} asks for {wanted}, and a tool chain keeps the "
                    f"installed {wanted.name} {version or '(none)'}; choose a version that goes with it, or name a "
                    "torch too"
                )
    return None


def unmet(pins: Mapping[str, str]) -> Iterator[str]:
    """Say what installed packages ask of others and do not get from these versions; pip would warn as well."""
    for package in distributions():
        name = normal(package.metadata["Name"] or "")
        for wanted in _wants(package) if name not in pins else ():
            version = pins.get(normal(wanted.name))
            if version and not wanted.specifier.contains(version, prereleases=True):
                yield f"{name} {package.version} asks for {wanted.name}{wanted.specifier}, not {version}"


def _wants(package: Distribution) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    for text in package.requires or ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:  # of before the standard; pip forgives it too
            continue
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield wanted
