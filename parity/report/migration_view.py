"""What reports show of two builds of one model."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.migration import Migration
from parity.report.text import counted, small, visible

# A page is no database: results.json has all of them.
_SHOWN = 5


@dataclass(frozen=True)
class MigrationView:
    """Show a pair of builds; changed: how many images they answer differently, and the first of them."""

    model: str
    first: str
    second: str
    images: int
    max_abs_diff_told: str
    count: int
    changed: str


def show_migration(one: Migration) -> MigrationView:
    """Write a pair of builds."""
    shown = [f"{c.image}: {c.first} -> {c.second}" for c in one.changed[:_SHOWN]]
    if len(one.changed) > _SHOWN:
        shown.append(f"and {counted(len(one.changed) - _SHOWN, 'image')} more")
    return MigrationView(
        model=visible(one.model),
        first=visible(one.first),
        second=visible(one.second),
        images=one.images,
        max_abs_diff_told="not finite" if one.max_abs_diff is None else small(one.max_abs_diff),
        count=len(one.changed),
        changed=visible("; ".join(shown)),
    )
