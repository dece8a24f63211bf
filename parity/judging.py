"""Judge saved results again by another tolerance, with nothing run.

    results.json (and its cases file) + tolerance --> every case again --> verdicts --> Run

A case keeps what is needed: how far apart the vectors are, and what the reference says of both top-1 labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from conversion.regular_files import MISSING, why_no_file
from parity.cases import SHOWN, judge_case
from parity.errors import ParityError
from parity.results import Case, Run, Subject, Verdict, read_run, summarise
from parity.stream.aggregate import aggregate, with_explanations
from parity.stream.cases_file import HeadLeg, Line, parse_header, read_lines, read_rest
from parity.tally import tally_of
from parity.tolerance import Tolerance

REASON = "given when judged again"


def judge_file(path: Path, tolerance: float | None = None) -> Run:
    """Judge a results.json again; the cases file that it names is read from beside it.

    tolerance: the largest |dp| allowed; None leaves each subject the one that it was judged by.
    """
    run = read_run(path)
    allowed = None if tolerance is None else Tolerance(tolerance).probability
    if not run.cases_file:
        return judge_run(run, allowed)
    cases = path.parent / Path(run.cases_file).name
    why = why_no_file(cases)
    if why == MISSING:
        raise ParityError(
            f"{path}: holds only the worst cases, and {cases.name}, which has all, is not beside it; put it there"
        )
    if why:
        raise ParityError(f"{cases}: {why}")
    return _judge_cases_file(run, cases, allowed)


def judge_run(run: Run, allowed: float | None = None) -> Run:
    """Judge a run again that holds all its cases; allowed: as `tolerance` of judge_file."""
    subjects = tuple(_judge_subject(s, allowed) for s in run.subjects)
    return replace(run, subjects=subjects, summary=summarise(subjects))


def judge_case_again(case: Case, allowed: float) -> Case:
    """Judge an image again; what no tolerance helps stays as it is."""
    if case.max_abs_diff is None or case.reason:
        return case
    same = case.reference.label == case.candidate.label
    return replace(case, verdict=judge_case(case.max_abs_diff, same, _margin(case), allowed))


def _margin(case: Case) -> float:
    """Return by how much the reference prefers its own answer; without limit where the case does not tell."""
    said = {pair.label: pair.reference for pair in case.top}.get(case.candidate.label)
    own = case.reference.probability
    return float("inf") if said is None or own is None else own - said


def _judge_subject(s: Subject, allowed: float | None) -> Subject:
    if not s.cases or s.tolerance is None:
        return s
    allowed = s.tolerance if allowed is None else allowed
    cases = tuple(judge_case_again(case, allowed) for case in s.cases)
    tally = tally_of(cases)
    lacking = _lacking(s, allowed)
    verdict: Verdict = "fail" if tally.failing else "inconclusive" if lacking else "pass"
    judged = replace(s, verdict=verdict, reason=tally.told if tally.failing else lacking, cases=cases)
    return _with_causes(replace(judged, tolerance=allowed), s, allowed)


def _with_causes(judged: Subject, before: Subject, allowed: float) -> Subject:
    """Keep causes and the known issue of a failure that is still one."""
    if allowed != before.tolerance:
        judged = replace(judged, tolerance_reason=REASON)
    if judged.verdict == "pass":
        return replace(judged, guilty_hop="", diagnoses=(), first_divergence=None, known_issue=None)
    return judged


def _lacking(s: Subject, allowed: float) -> str:
    """Say why agreement within `allowed` would prove nothing, as far as the cases tell; empty where it would.

    What cannot be told proves nothing either.
    """
    inconclusive = s.verdict == "inconclusive"
    if s.required_tolerance is None:
        alike = "the reference's answers are too alike for agreement to prove anything"
        return s.reason if inconclusive else alike
    assert s.tolerance is not None
    # A larger tolerance proves less, a smaller one more.
    if inconclusive and allowed >= s.tolerance:
        return s.reason
    closer = s.verdict == "pass" and allowed <= s.tolerance
    if closer or len(s.cases) < 2 or _least_spread(s.cases) > allowed:
        return ""
    return (
        f"what is saved does not tell whether the reference's answers differ by more than {allowed:g} between "
        "images; run again with this tolerance"
    )


def _least_spread(cases: Sequence[Case]) -> float:
    """Bound from below how far the reference's answers are from the one answer that is nearest to all.

    A case names the most probable classes; one that it does not name is at most as probable as the fifth.
    """
    listed = [{pair.label: pair.reference for pair in case.top if pair.reference is not None} for case in cases]
    bounds = [sorted(named.values(), reverse=True)[SHOWN - 1] if len(named) >= SHOWN else 0.0 for named in listed]
    if not all(listed):
        return 0.0
    spread = 0.0
    for label in {label for named in listed for label in named}:
        highest = max(named[label] for named in listed if label in named)
        lowest = min(named.get(label, bound) for named, bound in zip(listed, bounds, strict=True))
        spread = max(spread, (highest - lowest) / 2)
    return spread


def _judge_cases_file(run: Run, path: Path, allowed: float | None) -> Run:
    """Judge all images again, as a run over them does."""
    with path.open("rb") as file:
        header = parse_header(path, file.readline())
        tolerances = [leg.tolerance if allowed is None else allowed for leg in header.running]
        legs = tuple(_allowing(leg, allowed) for leg in header.legs)

        def again() -> Iterator[Line]:
            for line in read_lines(path, header, file):
                seeing = () if line.unreadable else header.seeing(line.index)
                pairs = zip(line.cases, (tolerances[number] for number in seeing), strict=True)
                yield replace(line, cases=tuple(c if t is None else judge_case_again(c, t) for c, t in pairs))

        unreadable = run.unreadable.allowed if run.unreadable else 1.0
        judged = aggregate(replace(header, legs=legs), again(), unreadable, run.cases_file)
        judged = with_explanations(judged, read_rest(path, header, file))
    return replace(judged, thumbnails=run.thumbnails)


def _allowing(leg: HeadLeg, allowed: float | None) -> HeadLeg:
    if leg.verdict or allowed in (None, leg.tolerance):
        return leg
    return replace(leg, tolerance=allowed, tolerance_reason=REASON)
