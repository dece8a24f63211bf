"""TABLE: what an upgrade did to one model by one route, by how it was before and how it is after.

Each side is first judged by itself against PyTorch. The table then follows three rules:

- Wrong numbers without an error are the worst, because nobody notices. After anything else they are worse.
- Where a file ran before, right or wrong, and none does after, it is broken. Where there is an error on both sides,
  the one that is noticed later is worse: a refusal with its reason, then a crash, then a file that does not run.
- What was not tried says nothing of the upgrade, whatever the other side does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from parity.core.results import Case, Subject

# right, wrong: its numbers, against PyTorch's. refused: the converter, or the runtime that is being tried, says why
# it does not do it. crashed: its process died or hung. nonsense: a file was written that cannot be opened or run.
# inconclusive: it answers, and that proves nothing. untried: the tool chain cannot be had or loaded. skipped: it
# has no such route, or what would build it is not here.
SideState = Literal["right", "wrong", "refused", "crashed", "nonsense", "inconclusive", "untried", "skipped"]
STATES: tuple[SideState, ...] = get_args(SideState)

UpgradeVerdict = Literal["better", "same", "worse", "broken", "inconclusive", "untried", "skipped"]
UPGRADE_VERDICTS: tuple[UpgradeVerdict, ...] = get_args(UpgradeVerdict)
REGRESSIONS: frozenset[UpgradeVerdict] = frozenset({"worse", "broken"})

# fmt: off
_ROWS: Mapping[SideState, str] = {
    # before \ after right        wrong        refused      crashed      nonsense     inconclusive untried skipped
    "right":        "same         worse        broken       broken       broken       inconclusive untried skipped",
    # Of two that are wrong, the one that is further off is worse: see `judge_upgrade`.
    "wrong":        "better       same         broken       broken       broken       inconclusive untried skipped",
    "refused":      "better       worse        same         worse        worse        inconclusive untried skipped",
    "crashed":      "better       worse        better       same         worse        inconclusive untried skipped",
    "nonsense":     "better       worse        better       better       same         inconclusive untried skipped",
    "inconclusive": "inconclusive worse        broken       broken       broken       inconclusive untried skipped",
    "untried":      "untried      untried      untried      untried      untried      untried      untried untried",
    "skipped":      "skipped      skipped      skipped      skipped      skipped      skipped      untried skipped",
}
# fmt: on
TABLE: Mapping[tuple[SideState, SideState], UpgradeVerdict] = {
    (before, after): verdict  # type: ignore[misc]  # the texts are the verdicts
    for before, row in _ROWS.items()
    for after, verdict in zip(STATES, row.split(), strict=True)
}

_OF_BOTH: Mapping[SideState, str] = {
    "wrong": "both sides fail",
    "refused": "both sides refuse",
    "crashed": "both sides crash or hang",
    "nonsense": "both sides write a file that does not run",
}
_OF_SUBJECTS: Mapping[str, SideState] = {
    "pass": "right",
    "fail": "wrong",
    "error": "refused",
    "inconclusive": "inconclusive",
    "skipped": "skipped",
}


def state_of(subject: Subject) -> SideState:
    """Read a side's state out of what was judged, where nothing is known of how it failed."""
    return _OF_SUBJECTS[subject.verdict]


def judge_upgrade(
    old: Subject, new: Subject, before: SideState | None = None, after: SideState | None = None
) -> tuple[UpgradeVerdict, str]:
    """Say whether the new side is better or worse than the old one, and why.

    before, after: the two sides' states; None reads them out of the subjects.
    A difference counts from the tolerance on: within it both are as good as PyTorch, as far as can be known.
    """
    before, after = before or state_of(old), after or state_of(new)
    verdict = TABLE[before, after]
    if before == after == "wrong":
        verdict = _further_off(old, new) or verdict
    return verdict, _reason(old, new, before, after, verdict)


def _reason(old: Subject, new: Subject, before: SideState, after: SideState, verdict: UpgradeVerdict) -> str:
    if verdict == "untried":
        reason = old.reason if before == "untried" else new.reason
        alone = f"; the new side by itself fails: {new.reason}" if after == "wrong" else ""
        return f"{reason}{alone}"
    if verdict == "skipped":
        return old.reason if before == "skipped" else new.reason
    if verdict == "inconclusive":
        return new.reason if after == "inconclusive" else old.reason
    if before == after:
        if after == "right":
            return ""
        twice = old.reason if old.reason == new.reason else f"{old.reason} before, {new.reason} after"
        return f"{_OF_BOTH[after]}: {twice}"
    if before in ("right", "wrong"):
        return f"the old side fails: {old.reason}" if after == "right" else new.reason
    if before == "inconclusive":
        return f"{new.reason}; of the old side nothing can be concluded: {old.reason}" if old.reason else new.reason
    if after == "right":
        return f"the old side was broken: {old.reason}"
    if after == "wrong":
        return f"wrong without an error: {new.reason}; the old side raised one: {old.reason}"
    return f"{new.reason}; the old side was broken: {old.reason}"


def _further_off(old: Subject, new: Subject) -> UpgradeVerdict | None:
    """Rank two failing sides: by answers that are no numbers, then by flips, then by the distance."""
    was, now = (_rank(subject.cases) for subject in (old, new))
    if was[:2] != now[:2]:
        return "worse" if now[:2] > was[:2] else "better"
    allowed = max(subject.tolerance or 0.0 for subject in (old, new))
    if abs(now[2] - was[2]) <= allowed:
        return None
    return "worse" if now[2] > was[2] else "better"


def _rank(cases: Sequence[Case]) -> tuple[int, int, float]:
    kinds = [case.verdict for case in cases]
    apart = max((case.max_abs_diff or 0.0 for case in cases), default=1.0)
    return kinds.count("error"), kinds.count("flip"), apart
