"""Judge saved results again by another tolerance, with nothing run.

    results.json (and its cases file) + tolerance --> every case again --> verdicts --> Run

A case keeps what is needed: how far apart the vectors are, and what the reference says of both top-1 labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from conversion.files.regular_files import MISSING, why_no_file
from parity.core.cases import judge_case_again
from parity.core.errors import ParityError
from parity.core.gate import UNCHANGED, GateChange
from parity.core.results import Case, Run, Subject, Verdict, read_run, summarise
from parity.core.results_soundness import check_run
from parity.core.second_look import excess_told
from parity.core.tally import tally_of
from parity.core.tolerance import Tolerance
from parity.core.variety import ONE_IMAGE
from parity.metrics.classification.gate import gated
from parity.metrics.classification.saved import lacking_in_cases
from parity.stream.aggregate import aggregate, with_explanations
from parity.stream.cases_file import parse_header, read_lines, read_rest
from parity.stream.lines import Header, HeadLeg, Line

REASON = "given when judged again"


def judge_file(path: Path, tolerance: float | None = None, gate: GateChange = UNCHANGED) -> Run:
    """Judge a results.json again; the cases file that it names is read from beside it.

    tolerance: the largest |dp| allowed; None leaves each subject the one that it was judged by.
    gate: what of the run's gate on accuracy is to be otherwise.
    """
    run = read_run(path)
    check_run(path, run)
    run = replace(run, gate=gate.over(run.gate))
    allowed = None if tolerance is None else Tolerance(tolerance).probability
    if not run.cases_file:
        if any(s.counts for s in run.subjects):
            raise ParityError(f"{path}: holds only the worst cases, and names no file that has all; run anew")
        return judge_run(run, allowed)
    cases = path.parent / Path(run.cases_file).name
    why = why_no_file(cases)
    if why == MISSING:
        raise ParityError(
            f"{path}: holds only the worst cases, and {cases.name}, which has all, is not beside it; put it there"
        )
    if why:
        raise ParityError(f"{cases}: {why}")
    return _judge_cases_file(path, run, cases, allowed)


def read_judged(path: Path) -> Run:
    """Read a results.json whose verdicts are those of its numbers, where it has all of them; else as it says."""
    run = read_run(path)
    check_run(path, run)
    return run if run.cases_file or any(s.counts for s in run.subjects) else judge_run(run)


def judge_run(run: Run, allowed: float | None = None) -> Run:
    """Judge a run again that holds all its cases; allowed: as `tolerance` of judge_file."""
    subjects = tuple(_judge_subject(s, allowed) for s in run.subjects)
    return gated(replace(run, subjects=subjects, summary=summarise(subjects)), run.gate)


def _judge_subject(s: Subject, allowed: float | None) -> Subject:
    if not s.cases or s.tolerance is None:
        return s
    given = None if allowed == s.tolerance else allowed
    allowed = s.tolerance if given is None else given
    cases = tuple(_judge_case(case, allowed, given) for case in s.cases)
    tally = tally_of(cases)
    measured_on = s.measured_on if given is None else 0
    excess = excess_told(tally.excused, len(cases), allowed, measured_on)
    if tally.incurable or len(cases) < 2:
        s = replace(s, required_tolerance=None)
    lacking = _lacking(s, allowed)
    failing = tally.told if tally.failing else excess
    verdict: Verdict = "fail" if failing else "inconclusive" if lacking else "pass"
    reason = failing or lacking
    if failing and allowed == s.tolerance and s.reason.startswith(reason):
        reason = s.reason  # with what else was known of it
    judged = replace(s, verdict=verdict, reason=reason, tolerance=allowed, cases=cases)
    judged = replace(judged, measured_on=measured_on, excused=tally.excused)
    return _with_causes(judged, s, allowed)


def _with_causes(judged: Subject, before: Subject, allowed: float) -> Subject:
    """Keep causes and the known issue of a failure that is still one."""
    if allowed != before.tolerance:
        judged = replace(judged, tolerance_reason=REASON)
    if judged.verdict == "pass":
        return replace(judged, guilty_hop="", diagnoses=(), first_divergence=None, known_issue=None)
    return judged


def _lacking(s: Subject, allowed: float) -> str:
    """Say why agreement within `allowed` would prove nothing, as far as the cases tell; empty where it would.

    What cannot be known proves nothing either.
    """
    alike = "the reference's answers are too alike for agreement to prove anything"
    before = (s.reason or alike) if s.verdict == "inconclusive" else ""
    if len(s.cases) < 2:
        return before or ONE_IMAGE
    if s.required_tolerance is None:
        return before or alike
    assert s.tolerance is not None
    # A larger tolerance proves less, a smaller one more.
    if before and allowed >= s.tolerance:
        return before
    untold = (
        f"what is saved does not tell whether the reference's answers differ by more than {allowed:g} between "
        "images; run again with this tolerance"
    )
    closer = s.verdict == "pass" and allowed <= s.tolerance
    if s.outputs:  # the answers are not in the cases, but that the required tolerance proves something was seen
        return "" if closer or allowed <= s.required_tolerance else untold
    return lacking_in_cases(s.cases, allowed, closer, untold)


def _judge_cases_file(results: Path, run: Run, path: Path, allowed: float | None) -> Run:
    """Judge all images again, as a run over them does."""
    with path.open("rb") as file:
        header = parse_header(path, file.readline())
        _check_same_legs(results, run, path, header)
        again_by = [(leg, None if allowed == leg.tolerance else allowed) for leg in header.running]
        legs = tuple(_allowing(leg, allowed) for leg in header.legs)

        def again() -> Iterator[Line]:
            for line in read_lines(path, header, file):
                seeing = () if line.unreadable else header.seeing(line.index)
                pairs = zip(line.cases, (again_by[number] for number in seeing), strict=True)
                yield replace(line, cases=tuple(_judge_case(c, leg.tolerance, given) for c, (leg, given) in pairs))

        unreadable = run.unreadable.allowed if run.unreadable else 1.0
        asked = replace(header, legs=legs, gate=run.gate)
        judged = aggregate(asked, again(), unreadable, run.cases_file)
        judged = with_explanations(judged, read_rest(path, header, file))
    return replace(judged, thumbnails=run.thumbnails)


def _check_same_legs(results: Path, run: Run, cases: Path, header: Header) -> None:
    subjects, legs = (
        [f"{one.model} by {one.route} on {one.backend}" for one in listed] for listed in (run.subjects, header.legs)
    )
    for one, other in zip_longest(subjects, legs, fillvalue="nothing"):
        if one != other:
            raise ParityError(
                f"{results}: has {one} where {cases.name} has {other}; put the cases of this run beside it"
            )


def _allowing(leg: HeadLeg, allowed: float | None) -> HeadLeg:
    if leg.verdict or allowed in (None, leg.tolerance):
        return leg
    return replace(leg, tolerance=allowed, tolerance_reason=REASON, measured_on=0)


def _judge_case(case: Case, tolerance: float | None, given: float | None) -> Case:
    """Judge an image again; a tolerance that somebody gives holds for all images alike."""
    if given is not None:
        return judge_case_again(case if case.own_allowed is None else replace(case, own_allowed=None), given)
    return case if tolerance is None else judge_case_again(case, tolerance)
