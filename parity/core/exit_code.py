"""The exit code of a run: 0 what was asked holds, 1 it does not, 3 nothing can be concluded.

Asked are parity and, where the run has a gate, accuracy; the gate says which of the two decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.core.results import Run


def exit_code(run: Run) -> int:
    """Return the code of the questions that decide.

    Of a part of the images that is parity alone, for a gate is for all of them.
    """
    decides = run.gate.decides if run.gate else "parity"
    if decides == "parity" or (decides == "both" and run.shard):
        return parity_code(run)
    codes = (gate_code(run),) if decides == "accuracy" else (gate_code(run), parity_code(run))
    return next((code for code in (1, 3) if code in codes), 0)


def parity_code(run: Run) -> int:
    """Return 0 where parity holds, 1 where it does not, 3 where nothing passed or nothing can be concluded.

    A failure that is expected is no reason to fail, but it is no parity either.
    """
    unexpected = [s for s in run.subjects if s.known_issue is None]
    if run.stale_known_issues or any(s.verdict in ("fail", "error") for s in unexpected):
        return 1
    if _too_many_unreadable(run):
        return 1
    if any(s.verdict == "inconclusive" for s in unexpected):
        return 3
    return 0 if any(s.verdict == "pass" for s in run.subjects) else 3


def gate_code(run: Run) -> int:
    """Return 0 where all that ran keep their accuracy, 1 where one does not, 3 where of one, or of all, it is open.

    What is a known issue of parity has to keep its accuracy all the same, where it runs.
    """
    verdicts = {s.gate.verdict for s in run.subjects if s.gate}
    broken = any(s.verdict == "error" and s.known_issue is None for s in run.subjects)
    if broken or "fail" in verdicts or _too_many_unreadable(run):
        return 1
    return 0 if verdicts == {"pass"} else 3


def _too_many_unreadable(run: Run) -> bool:
    # Of images that are all unreadable nothing can be concluded, not even that parity does not hold.
    return run.unreadable is not None and run.unreadable.allowed < run.unreadable.share < 1
