"""What every report shows of all subjects together: a table of them, and what was skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.report.view import SubjectView


@dataclass(frozen=True)
class Skipped:
    """Show what was not run for one reason."""

    backend: str
    reason: str
    legs: tuple[str, ...]


@dataclass(frozen=True)
class MatrixRow:
    """Show one model by one route; cells: backend -> subjects, most often one."""

    model: str
    way: str
    precision: str
    cells: Mapping[str, tuple[SubjectView, ...]]


def matrix_of(subjects: Sequence[SubjectView]) -> tuple[MatrixRow, ...]:
    """Put subjects into rows, one for each model and route."""
    rows: dict[tuple[str, str, str], dict[str, tuple[SubjectView, ...]]] = {}
    for s in subjects:
        cells = rows.setdefault((s.model, s.way, s.precision), {})
        cells[s.backend] = (*cells.get(s.backend, ()), s)
    return tuple(MatrixRow(*key, cells) for key, cells in rows.items())


def skipped_of(subjects: Sequence[SubjectView]) -> tuple[Skipped, ...]:
    """Group what was not run by its reason."""
    skipped: dict[tuple[str, str], list[str]] = {}
    for s in subjects:
        if s.verdict == "skipped":
            skipped.setdefault((s.backend, s.reason), []).append(f"{s.model} by {s.way}")
    return tuple(Skipped(*key, tuple(legs)) for key, legs in skipped.items())
