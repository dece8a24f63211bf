"""Say why a candidate does not agree: what is suspected is undone, and what that restores is explained.

Examination --families--> Suspects --repair, compare--> Causes --> Explanation
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import PROGRESS
from parity.core.results import Comparison
from parity.core.tolerance import Tolerance
from parity.diagnosis.attempts import Attempts
from parity.diagnosis.checks import checks_of
from parity.diagnosis.outcome import Explanation, diagnosis_of, divergence_of, hop_line, what_is_left
from parity.diagnosis.repair import Repair, badness, evidence_of, holds
from parity.diagnosis.second_look import JudgeAgain
from parity.diagnosis.suspects import GENERAL, SPECIFIC, Suspect
from parity.diagnosis.suspects.precision import harmless
from parity.diagnosis.trial import apply, repaired
from parity.formats import format_of

if TYPE_CHECKING:
    from parity.diagnosis.chain import Hop
    from parity.diagnosis.examination import Examination

# How many faults at once are looked for, of those that have names and of any; and how many of the best steps
# towards parity are gone on with.
_NAMED, _DEPTH, _WIDTH = 2, 3, 3
CUT_SHORT = "the search for causes ended after {:.0f} s without one; on a machine with less to do it gets further"
# How many suspects are listed where nothing was confirmed.
_SHOWN = 3


@dataclass
class _Search:
    """Hold what is known while causes are looked for."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def late(self) -> bool:
        return time.monotonic() > self.begun + self.seconds

    @property
    def half_over(self) -> bool:
        return time.monotonic() > self.begun + self.seconds / 2


def explain(examination: Examination, seconds: float = 60.0, thorough: bool = False) -> Explanation:
    """Find the causes of a failing comparison, singly first, then several at once.

    seconds: after which no further repair is tried. thorough: run every hop of the route too, and say how it knows.
    """
    if examination.candidate.judgement.verdict != "fail":
        looks = examination.failures.attempt(
            "what is harmless", lambda: list(harmless(examination)), lambda error: []
        )
        return Explanation(tuple(diagnosis_of(s) for s in looks), broken=tuple(examination.failures.broken))
    search = _Search(seconds)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # What is suspected is tried out: its warnings say nothing of the model.
        warnings.simplefilter("ignore")
        explanation = _explained(examination, search, thorough)
        failures = examination.failures
        return replace(explanation, broken=tuple(failures.broken), refused=tuple(failures.refused))


def _explained(examination: Examination, search: _Search, thorough: bool) -> Explanation:
    try:
        causes, others = _causes(examination, search)
        if causes:
            evidence = evidence_of([s.repair for s in _distinct(causes) if s.repair])
            diagnoses = tuple(diagnosis_of(s, evidence, _fix(s, examination, search)) for s in causes)
        else:
            # One that was undone in vain may be suspected without its repair too.
            likely = {(s.fault, s.message): s for s in others}.values()
            diagnoses = tuple(diagnosis_of(s) for s in list(likely)[:_SHOWN])
        ran = _hops(examination) if thorough else ()
        # Where labels are wrong, no operation is.
        computed = not causes or any(not cause.fault.startswith("lab-") for cause in causes)
        where = None
        if computed and (examination.is_located or not search.late):
            where = examination.first_divergence
        unexplained = "" if causes else what_is_left(ran, where)
        cut_short = CUT_SHORT.format(search.seconds) if search.late and not causes else ""
        explanation = Explanation(
            diagnoses, tuple(map(hop_line, ran)), divergence_of(where), unexplained, cut_short=cut_short
        )
        if not thorough:
            return explanation
        unwanted = "" if computed else "the labels are wrong"
        checks = checks_of(examination, unwanted, search.seconds if search.late else None)
        return replace(explanation, checks=checks, attempts=search.attempts.listed())
    finally:
        examination.close()


def _hops(examination: Examination) -> tuple[Hop, ...]:
    from parity.diagnosis.chain import chain

    candidate, artifact = examination.candidate, examination.file.artifact
    judge = candidate.judge_again or JudgeAgain(artifact, Tolerance(examination.tolerance))
    return chain(examination.reference, artifact, judge)


def _fix(suspect: Suspect, examination: Examination, search: _Search) -> str:
    """Find which operations must stay in fp32, where that is the cause and there is time to convert."""
    able = format_of(examination.file.artifact).HAS_COMPUTE_PRECISION
    if suspect.fault != "p-fp16-overflow" or not able or search.half_over:
        return ""
    from parity.diagnosis.precision import predict_precision

    tolerance = Tolerance(examination.tolerance)
    return examination.failures.attempt(
        "what must stay in fp32",
        lambda: predict_precision(examination.reference, tolerance, examination.file.artifact).call,
        lambda error: "",
    )


def _causes(examination: Examination, search: _Search) -> tuple[list[Suspect], list[Suspect]]:
    """Find the smallest set of suspects whose undoing restores parity, and list the others that were seen.

    Several faults that have names of their own come before one that undoes whatever it is.
    """
    met: list[tuple[Suspect, Comparison]] = []
    if holds(examination.candidate.comparison):
        # It failed there, and agrees here with nothing undone: so it does after any repair, which proves nothing.
        families = _families(examination, search, SPECIFIC) if examination.candidate.prediction is not None else ()
        return [], [suspect for family in families for suspect in family if suspect.seen]
    before = badness(examination.candidate.comparison)
    causes = _singly(examination, search, met, SPECIFIC)
    if not causes and any(suspect.suffices for suspect, _ in met):
        # What was undone beside it and did not help is no suspect any more.
        return [], [suspect for suspect in _likeliest(met, before) if suspect.suffices or suspect.repair is None]
    causes = causes or _several(examination, [pair for pair in met if pair[0].seen], search, _NAMED, SPECIFIC)
    causes = causes or _singly(examination, search, met, GENERAL)
    causes = causes or _several(examination, met, search, _DEPTH, (*SPECIFIC, *GENERAL))
    if causes:
        return _needed(examination, causes, search), []
    return [], _likeliest(met, before)


def _likeliest(met: Sequence[tuple[Suspect, Comparison]], before: tuple[float, float]) -> list[Suspect]:
    """List what was seen; what was only guessed, and what makes it worse if undone, is not worth telling."""
    ranked = sorted(met, key=lambda pair: (not pair[0].suffices, badness(pair[1])))
    return [
        s
        for s, after in ranked
        if s.seen and (s.repair is None or s.suffices or not after.cases or badness(after) <= before)
    ]


def _singly(
    examination: Examination, search: _Search, met: list[tuple[Suspect, Comparison]], families: Sequence[str]
) -> list[Suspect]:
    """Undo one suspect after the other, and what was seen together; those that do not suffice go to `met`."""
    tried: dict[int, Comparison] = {}
    for family in _families(examination, search, families):
        search.attempts.meet(family)
        for suspect in family:
            if suspect.repair is None:
                met.append((suspect, examination.candidate.judgement))
                continue
            if search.late:
                break
            after = _tried_once(examination, suspect, search, tried)
            if holds(after):
                # One repair may undo several: the channels' order and their scale, say.
                return [s for s in family if s.repair is suspect.repair]
            met.append((suspect, after))
        # What was seen in the file is there, whether or not it is all; but for what breaks the file if undone.
        seen = [s for s, after in met if s.seen and s.repair and after.cases]
        new = any(s.seen and s.repair for s in family)
        if new and len(_distinct(seen)) > 1 and not search.late and holds(_tried(examination, seen, search)):
            return seen
        if any(suspect.suffices for suspect in family):
            break
    return []


def _several(
    examination: Examination,
    met: Sequence[tuple[Suspect, Comparison]],
    search: _Search,
    depth: int,
    families: Sequence[str],
) -> list[Suspect]:
    """Undo what brings the candidate nearer, and look again at what is left."""
    if depth < 2:
        return []
    before = badness(examination.candidate.comparison)
    steps = sorted(((badness(after), i) for i, (s, after) in enumerate(met) if s.repair), key=lambda pair: pair[0])
    nearer = [i for rank, i in steps if rank[0] < before[0] or rank[1] < PROGRESS * before[1] or met[i][0].seen]
    for first in _distinct([met[i][0] for i in nearer[:_WIDTH]]):
        if search.late or first.repair is None:
            break
        again = examination.failures.attempt(
            f"the repair of {first.fault}", partial(_again, examination, first.repair), lambda error: None
        )
        if again is None:
            continue
        others: list[tuple[Suspect, Comparison]] = []
        tried: dict[int, Comparison] = {}
        alike = [s for s, _ in met if s.repair is first.repair]
        for suspect in (s for family in _families(again, search, families) for s in family):
            if suspect.repair is None or (suspect.fault, suspect.message) == (first.fault, first.message):
                continue
            if search.late:
                return []
            after = _tried_once(again, suspect, search, tried)
            if holds(after):
                return [*alike, suspect]
            others.append((suspect, after))
        if rest := _several(again, others, search, depth - 1, families):
            return [*alike, *rest]
    return []


def _again(examination: Examination, repair: Repair) -> Examination | None:
    return repaired(examination, [repair])


def _needed(examination: Examination, causes: Sequence[Suspect], search: _Search) -> list[Suspect]:
    """Leave out what parity does not need."""
    kept = list(causes)
    for cause in _distinct(causes)[::-1]:
        rest = [one for one in kept if one.repair is not cause.repair]
        if rest and holds(_tried(examination, rest, search)):
            kept = rest
    return kept


def _distinct(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Keep one suspect of each repair."""
    kept: dict[int, Suspect] = {}
    for suspect in suspects:
        kept.setdefault(id(suspect.repair), suspect)
    return list(kept.values())


def _tried_once(
    examination: Examination, suspect: Suspect, search: _Search, tried: dict[int, Comparison]
) -> Comparison:
    """Undo a suspect and compare; what was left after a repair is in `tried`, by the identity of that repair."""
    if id(suspect.repair) not in tried:
        tried[id(suspect.repair)] = _tried(examination, [suspect], search)
    return tried[id(suspect.repair)]


def _tried(examination: Examination, suspects: Sequence[Suspect], search: _Search) -> Comparison:
    """Undo suspects, compare and note it: over two images first, over all where these agree."""
    repairs = [s.repair for s in _distinct(suspects) if s.repair]
    earlier = examination.candidate.repairs
    if any(r.reference for r in repairs) and sum(bool(r.reference) for r in (*earlier, *repairs)) > 1:
        # Each asks PyTorch anew: the last takes back what the others did, and keeps what they allow.
        reason = "PyTorch's side would change twice"
        return Comparison("fail", reason, examination.tolerance, None, None, None, ())

    def undone() -> Comparison:
        if len(examination.pixels) > 3:
            some = apply(examination, repairs, examination.screen)
            if not holds(some):
                return some
        return apply(examination, repairs)

    after = examination.failures.attempt(
        f"the repair of {', '.join(suspect.fault for suspect in suspects)}",
        undone,
        lambda error: Comparison("fail", str(error), examination.tolerance, None, None, None, ()),
    )
    search.attempts.note(earlier, suspects, after)
    return after


def _families(examination: Examination, search: _Search, names: Sequence[str]) -> Iterator[list[Suspect]]:
    """Ask one family after the other; one that breaks is passed over, for it must not end the others."""
    for name in names:
        if search.late:
            return
        family = examination.failures.attempt(
            f"the family {name}", partial(_family, name, examination), lambda error: None
        )
        if family is not None:
            yield family


def _family(name: str, examination: Examination) -> list[Suspect] | None:
    return list(importlib.import_module(f"parity.diagnosis.suspects.{name}").suspects(examination))
