"""What else is not as it was when a baseline was stored: the artefact, versions, the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parity.formats.facts import changed_facts

if TYPE_CHECKING:
    from parity.versions.baselines import Baseline

# What may change with the operating system while file and versions stay the same.
_MACHINE = frozenset(("platform", "cpu"))


@dataclass(frozen=True)
class Alteration:
    """Say that one thing is not as it was.

    what: `artefact`, `weights`, `platform`, `cpu`, `python`, or a package.
    told: a line that names both.
    """

    what: str
    told: str


def alterations(stored: Baseline, current: Baseline) -> tuple[Alteration, ...]:
    """List them: the artefact first, then versions, then the machine; what one does not know has not changed."""
    return tuple(_alterations(stored, current))


def changed_since(stored: Baseline, current: Baseline) -> tuple[str, ...]:
    """Name what else is not as it was, a line each."""
    return tuple(one.told for one in alterations(stored, current))


def is_system_alone(altered: Sequence[Alteration]) -> bool:
    """Say whether the operating system is another, and nothing else but the processor with it."""
    kinds = {one.what for one in altered}
    return "platform" in kinds and kinds <= _MACHINE


def _alterations(stored: Baseline, current: Baseline) -> Iterator[Alteration]:
    if stored.artifact and current.artifact:
        yield from (Alteration("artefact", line) for line in changed_facts(stored.artifact, current.artifact))
    if stored.weights and current.weights and stored.weights != current.weights:
        yield Alteration("weights", "weights: the PyTorch model has others")
    was, now = (_surroundings(one) for one in (stored, current))
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            yield Alteration(name, f"{name}: {was.get(name, 'none')} -> {now.get(name, 'gone')}")
    if stored.cpu and current.cpu and stored.cpu != current.cpu:
        yield Alteration("cpu", f"cpu: {stored.cpu} -> {current.cpu}")


def _surroundings(baseline: Baseline) -> dict[str, str]:
    packages = baseline.environment.get("packages", {})
    versions = {} if isinstance(packages, str) else packages
    return {**versions, **{key: value for key, value in baseline.environment.items() if isinstance(value, str)}}
