"""The guide's table of faults that are only placed is what the catalogues of injections say, row by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.file_catalogue import FILE_FAULTS
from tests.faults.kinds_catalogue import KINDS

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "diagnosis.md"
# Names that say where a fault is, and not what was done there.
GENERAL = ("g-operation", "g-operation-added", "wt-other-numbers")

Row = tuple[str, tuple[str, ...], tuple[str, ...]]


def only_placed(faults: Sequence[Fault]) -> list[Row]:
    """List the faults that such a name is taken for, with these names and the more telling ones."""
    rows = []
    for fault in faults:
        names = [name for cause in fault.causes for name in cause.split("|")]
        general = tuple(name for name in names if name in GENERAL)
        if general:
            rows.append((fault.name, general, tuple(name for name in names if name not in GENERAL)))
    return rows


def told_rows(text: str) -> list[Row]:
    """Read the rows of the table."""
    _, _, section = text.partition("\n## What is only placed\n")
    table = re.findall(r"^\| (.+?) \| (`.+?) \| (.+?) \|$", section.partition("\n## ")[0], flags=re.MULTILINE)
    return [
        (name, tuple(re.findall("`(.+?)`", one)), tuple(re.findall("`(.+?)`", two))) for name, one, two in table
    ]


def test_the_table_is_what_the_catalogues_say() -> None:
    told = told_rows(GUIDE.read_text(encoding="utf-8"))

    assert told == only_placed((*FAULTS, *FILE_FAULTS, *KINDS))
    assert ("file: maximum for average", ("g-operation",), ()) in told
    assert len(told) > 20


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("| kind: rounded inside | `g-operation-added` | `g-cast` |\n", ""),
        ("| `g-operation-added` | `g-cast` |", "| `g-operation` | `g-cast` |"),
        ("| kind: rounded inside |", "| kind: rounded |"),
        ("| `g-operation-added` | `g-clip` |", "| `g-operation-added` | – |"),
    ],
)
def test_another_table_is_seen(was: str, now: str) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert was in text

    assert told_rows(text.replace(was, now, 1)) != only_placed((*FAULTS, *FILE_FAULTS, *KINDS))


def test_all_names_in_the_text_above_the_table_are_the_general_ones() -> None:
    _, _, section = GUIDE.read_text(encoding="utf-8").partition("\n## What is only placed\n")

    assert tuple(re.findall(r"`([a-z-]+)` \(", section.partition("|")[0])) == GENERAL
