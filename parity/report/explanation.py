"""An explanation in the terminal: the verdict, the hops, the causes, and where the two part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parity.core.compare import explain_failure, way
from parity.core.results import Subject
from parity.report.faults import where_to_read

if TYPE_CHECKING:
    from rich.console import Console


def print_explanation(subject: Subject, console: Console) -> None:
    """Print the verdict and the causes of one subject."""
    if subject.verdict in ("pass", "skipped"):
        result = "parity holds" if subject.verdict == "pass" else subject.reason
        apart = "" if subject.max_abs_diff is None else f", largest |dp| {subject.max_abs_diff:.1e}"
        allowed = "" if subject.tolerance is None else f" of {subject.tolerance:.1e} allowed"
        console.print(
            f"{subject.model} by {way(subject)} on {subject.backend}: {result}{apart}{allowed}", soft_wrap=True
        )
        for diagnosis in subject.diagnoses:
            console.print(f"  no fault: {diagnosis.message}", soft_wrap=True)
        for remark in subject.remarks:
            console.print(f"  note: {remark}", soft_wrap=True)
        return
    console.print(explain_failure(subject), soft_wrap=True)
    for line in where_to_read(diagnosis.fault for diagnosis in subject.diagnoses):
        console.print(f"  {line}", soft_wrap=True)
    for hop in subject.hops:
        console.print(f"  hop {hop}", soft_wrap=True)
