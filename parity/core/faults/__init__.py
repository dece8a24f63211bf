"""Every fault that a report can name: its title, what it is, how it shows and what to do; a TOML file a family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

# In the order in which `parity faults` lists them: from the image to the answer, then what changes underneath.
FAMILIES = (
    "preprocessing",
    "interface",
    "graph",
    "weights",
    "modes",
    "precision",
    "head",
    "labels",
    "versions",
)


@dataclass(frozen=True)
class Fault:
    """Describe one fault for somebody who has never heard of it.

    id: as it stands in reports, `g-pad-asymmetric`.
    family: the title of the family it belongs to.
    title: what is wrong, in a few words.
    what: how it comes about.
    shows: what a user sees of it.
    fix: what to do.
    """

    id: str
    family: str
    title: str
    what: str
    shows: str
    fix: str


@cache
def catalogue() -> Mapping[str, Fault]:
    """Return every fault by its id."""
    import tomllib
    from importlib.resources import files

    faults: dict[str, Fault] = {}
    for name in FAMILIES:
        family = tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
        for id_, text in family["faults"].items():
            if id_ in faults:
                raise ValueError(f"{name}.toml: {id_} is in another family too; an id names one fault")
            faults[id_] = Fault(id_, family["title"], **text)
    return faults


def known(fault: str) -> str:
    """Return the id of a fault; one that is not in the catalogue is an error."""
    if fault not in catalogue():
        raise ValueError(f"{fault!r} is not in the catalogue of faults: add it to a file of parity/core/faults/")
    return fault


def nearest(fault: str) -> tuple[str, ...]:
    """Name up to three faults whose ids are like what was typed."""
    from difflib import get_close_matches

    return tuple(get_close_matches(fault, catalogue(), n=3, cutoff=0.5))


def described(faults: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults among these that the catalogue has, each once: results may come from another version."""
    entries = catalogue()
    return tuple(entries[fault] for fault in dict.fromkeys(faults) if fault in entries)
