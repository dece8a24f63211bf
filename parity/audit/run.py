"""The flow of an audit: every leg of the suite that holds, every family, every mutant.

leg --judge--> holds --families--> Mutants --answers--> caught | missed (advice) | equivalent
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.guards.torch_defaults import with_torch_defaults
from parity.artifacts.answers import choose_backend
from parity.audit import attributes, geometry, head, labels, preprocessing, shapes, weights
from parity.audit import input as inside
from parity.audit.advice import advise
from parity.audit.bench import Bench, Broken, MutantRun, largest_move
from parity.audit.findings import Audit, AuditLeg, MutantFinding, summarise
from parity.audit.mutant import Mutant, Original
from parity.backends import backends_for
from parity.backends.reference import Reference
from parity.core.environment import environment
from parity.core.errors import ParityError
from parity.core.results import FAILING_CASES, Comparison, Prediction, Subject
from parity.diagnosis.compression_cost import allowed_for
from parity.entries import convert_entry, judging_of, load_entry
from parity.judging import Judging, judge_with_prediction
from parity.pipeline import Progress, no_progress
from parity.suite.known_issues import mark_known_issues
from parity.suite.suite import ALL, Selection

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.suite.suite import ModelEntry, Suite

Family = Callable[[Original], Iterator[Mutant]]

# In the order of the report; each with the faults that it can put in.
FAMILIES: Mapping[str, tuple[Family, tuple[str, ...]]] = {
    module.__name__.rpartition(".")[2]: (module.mutants, module.FAULTS)
    for module in (inside, preprocessing, geometry, labels, head, attributes, weights, shapes)
}


@with_torch_defaults
def audit_suite(
    suite: Suite,
    selection: Selection = ALL,
    faults: Sequence[str] = (),
    artifacts: Path = Path(".parity"),
    progress: Progress = no_progress,
) -> Audit:
    """Put faults into a suite's artefacts and say which of them its images and tolerances catch.

    selection: where it names no backend, each route runs on the first that runs here.
    faults: patterns of names (`pre-*`); a pattern that no fault has is a ParityError.
    """
    check_patterns(faults)
    legs: list[AuditLeg] = []
    entries = selection.entries(suite)
    for index, entry in enumerate(entries):
        progress(f"{entry.name}: PyTorch", index / len(entries))
        reference = load_entry(suite, entry)
        chosen = selection.routes_of(entry)
        for place, route in enumerate(chosen):
            share = (index + place / len(chosen)) / len(entries)
            progress(f"{entry.name}: converting by {route}", share)
            artifact = convert_entry(reference.classifier, entry, route, artifacts, partial(_same, reference))
            if isinstance(artifact, Subject):
                legs.append(_unaudited(suite, artifact))
                continue
            original = Original(artifact, reference, entry.dynamic == "batch")
            for backend in _backends(artifact, entry, selection):
                step = _step(progress, f"{entry.name} by {route} on {backend}", share)
                legs.append(_audit_leg(suite, original, backend, judging_of(entry, route), faults, step))
    audited = caught_elsewhere(tuple(legs))
    return Audit(environment(), audited, summarise(audited))


def _same(reference: Reference) -> Reference:
    return reference


def check_patterns(faults: Sequence[str]) -> None:
    """Refuse a pattern that would leave nothing."""
    known = list(dict.fromkeys(name for _, names in FAMILIES.values() for name in names))
    for pattern in faults:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ParityError(f"--faults {pattern}: no fault has such a name (faults: {', '.join(known)})")


def caught_elsewhere(legs: tuple[AuditLeg, ...]) -> tuple[AuditLeg, ...]:
    """Count a converter's fault as caught in fp16 where the suite catches it in fp32, in the same format.

    A converter that makes it makes it in both; fp16 alone may hide it under its rounding.
    """
    return tuple(
        replace(leg, mutants=tuple(_elsewhere(leg, mutant, legs) for mutant in leg.mutants)) for leg in legs
    )


def _elsewhere(leg: AuditLeg, mutant: MutantFinding, legs: Sequence[AuditLeg]) -> MutantFinding:
    if mutant.verdict != "missed" or leg.precision != "fp16" or not mutant.converter:
        return mutant
    by_kind: dict[tuple[str, str, str], list[AuditLeg]] = {}
    for other in legs:
        by_kind.setdefault((other.model, other.precision, other.format), []).append(other)
    for other in by_kind.get((leg.model, "fp32", leg.format), []):
        for twin in other.mutants:
            if (twin.fault, twin.place, twin.verdict) == (mutant.fault, mutant.place, "caught") and twin.caught_by:
                reason = f"hidden by fp16 here; {other.route} of this suite catches it, by {twin.max_abs_diff:.1e}"
                return replace(mutant, verdict="caught", reason=reason, advice=())
    return mutant


def _step(progress: Progress, leg: str, share: float) -> Callable[[Mutant], None]:
    return lambda mutant: progress(f"{leg}: {mutant.fault}", share)


def _backends(artifact: Artifact, entry: ModelEntry, selection: Selection) -> list[str]:
    if not selection.backends:
        return [choose_backend(artifact)]
    return selection.backends_of(backends_for(artifact.format, entry.records))


def _audit_leg(
    suite: Suite,
    original: Original,
    backend: str,
    judging: Judging,
    faults: Sequence[str],
    step: Callable[[Mutant], None],
) -> AuditLeg:
    reference, artifact = original.reference, original.artifact
    subject, clean = judge_with_prediction(reference, artifact, backend, judging)
    leg = _unaudited(suite, subject, artifact)
    if subject.recorded_by:
        return replace(leg, reason="recorded answers cannot be had of a mutant; audit what runs here")
    # What proves nothing is audited all the same: that is what it misses.
    if clean is None or subject.verdict not in ("pass", "inconclusive") or not subject.cases:
        return leg
    widest = judging.tolerance or list(allowed_for(reference, artifact))[-1]
    allowed = reference.with_second_look(widest, artifact.precision)
    with tempfile.TemporaryDirectory(prefix="coreml-parity-") as scratch:
        bench = Bench(original, backend, allowed, clean, Path(scratch))
        findings = tuple(audit_mutants(bench, faults, step))
    return replace(leg, audited=True, tolerance=allowed.probability, mutants=findings)


def audit_mutants(
    bench: Bench, faults: Sequence[str] = (), step: Callable[[Mutant], None] = lambda mutant: None
) -> Iterator[MutantFinding]:
    """Judge every mutant of an artefact."""
    for family, names in FAMILIES.values():
        if not any(_wanted(name, faults) for name in names):
            continue
        for mutant in family(bench.original):
            if _wanted(mutant.fault, faults):
                step(mutant)
                yield judge_mutant(bench, mutant)


def judge_mutant(bench: Bench, mutant: Mutant) -> MutantFinding:
    """Run a mutant on the suite's images; where these do not show it, on probes."""
    finding = MutantFinding(mutant.fault, mutant.place, mutant.told, "missed", converter=mutant.converter)
    if mutant.absent:
        return replace(finding, verdict="not applicable", reason=mutant.absent)
    with bench.load(mutant) as run:
        answers = run.answers(bench.sample)
        names = bench.sample.names
        if isinstance(answers, Broken):
            return replace(finding, verdict="caught", reason=answers.reason, caught_by=names)
        comparison = bench.judge_file(run.file, answers)
        finding = replace(finding, max_abs_diff=comparison.max_abs_diff, worst=_worst(comparison))
        if comparison.verdict == "fail":
            failing = tuple(case.image for case in comparison.cases if case.verdict in FAILING_CASES)
            # Without one that fails it is what all of them come to.
            reason = "" if failing else comparison.reason
            return replace(finding, verdict="caught", reason=reason, caught_by=failing or names)
        return _missed(run, finding, answers)


def _missed(run: MutantRun, finding: MutantFinding, answers: Prediction) -> MutantFinding:
    bench = run.bench
    on_probes = run.answers(bench.probes)
    moved = max(largest_move(bench.clean, answers), largest_move(bench.on_probes[1], on_probes))
    advice = tuple(advise(run, answers, on_probes, moved))
    if moved <= bench.noise and not any(one.verified for one in advice):
        count = len(bench.sample.names) + len(bench.probes.names)
        rounding = f"by no more than rounding does (at most {moved:.1e})" if moved else "nothing"
        reason = f"moves {rounding} on {count} images, synthetic ones included"
        return replace(finding, verdict="equivalent", reason=reason)
    return replace(finding, advice=advice)


def _worst(comparison: Comparison) -> str:
    known = [case for case in comparison.cases if case.max_abs_diff is not None]
    return max(known, key=lambda case: case.max_abs_diff or 0.0).image if known else ""


def _wanted(name: str, faults: Sequence[str]) -> bool:
    return not faults or any(fnmatchcase(name, pattern) for pattern in faults)


def _unaudited(suite: Suite, subject: Subject, artifact: Artifact | None = None) -> AuditLeg:
    (marked,), _ = mark_known_issues((subject,), suite.known_issues, partial=True)
    return AuditLeg(
        model=marked.model,
        route=marked.route,
        backend=marked.backend,
        artifact=marked.artifact,
        format=artifact.format if artifact else "",
        precision=marked.precision,
        audited=False,
        verdict=marked.verdict,
        reason=marked.reason,
        images=marked.images,
        max_abs_diff=marked.max_abs_diff,
        tolerance=marked.tolerance,
        known_issue=marked.known_issue,
    )
