"""What reports say of the faults that they name: the catalogue's text, and where to read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from parity.core.faults import Fault, catalogue, described

if TYPE_CHECKING:
    from rich.console import Console

    from parity.report.view import RunView


def named_faults(view: RunView) -> tuple[Fault, ...]:
    """Return the faults that a run names, each once."""
    return described(cause.fault for subject in view.subjects for cause in subject.causes)


def where_to_read(faults: Iterable[str]) -> tuple[str, ...]:
    """Say in one line how to read about the faults that were named; in none where none was."""
    entries = described(faults)
    if not entries:
        return ()
    others = " (the others likewise)" if len(entries) > 1 else ""
    return (f"what is {entries[0].id}, and what to do: parity faults {entries[0].id}{others}",)


def print_faults(console: Console) -> None:
    """List all faults by family."""
    family = ""
    for fault in catalogue().values():
        if fault.family != family:
            family = fault.family
            console.print(family)
        console.print(f"  {fault.id}: {fault.title}", soft_wrap=True)


def print_fault(fault: Fault, console: Console) -> None:
    """Print all that the catalogue says of a fault."""
    console.print(f"{fault.id}: {fault.title}", soft_wrap=True)
    for heading, text in (("what it is", fault.what), ("how it shows", fault.shows), ("what to do", fault.fix)):
        console.print(f"  {heading}: {text}", soft_wrap=True)
