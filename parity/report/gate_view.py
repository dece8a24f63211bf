"""What every report shows of the gate on accuracy, beside the verdict on parity."""

from __future__ import annotations

from dataclasses import dataclass

from parity.core.gate import GateVerdict, tell_gate
from parity.core.results import Run, Subject
from parity.report.text import visible


@dataclass(frozen=True)
class GateView:
    """Show whether a candidate keeps its accuracy; matters: whether that keeps the run from holding."""

    verdict: GateVerdict
    told: str
    matters: bool


def show_gate(run: Run, s: Subject) -> GateView | None:
    """Make what reports show of a subject's gate; None where it has none."""
    if s.gate is None:
        return None
    decides = run.gate is not None and run.gate.decides != "parity"
    return GateView(s.gate.verdict, visible(tell_gate(s.gate)), decides and s.gate.verdict != "pass")


def parity_matters(run: Run, s: Subject) -> bool:
    """Say whether a verdict on parity keeps the run from holding: what broke does, whatever was asked."""
    if s.known_issue is not None or s.verdict in ("pass", "skipped"):
        return False
    return s.verdict == "error" or run.gate is None or run.gate.decides != "accuracy"
