"""Compare predictions: `compare` computes and judges, `assert_parity` raises, `explain_failure` tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Context

from parity.core.exit_code import gate_code, parity_code
from parity.core.gate import GATE_VERDICTS, tell_gate
from parity.core.measuring import aligned, exact_numbers, measured_cases, outputs_of, reference_rows, varieties_of
from parity.core.metric import metric_of
from parity.core.results import (
    FAILING_CASES,
    VERDICTS,
    Answer,
    Case,
    Comparison,
    Diagnosis,
    Divergence,
    Prediction,
    Run,
    Subject,
)
from parity.core.second_look import excused_told
from parity.core.tally import judge, tally_of
from parity.core.tolerance import Tolerance


def compare(
    reference: Prediction, candidate: Prediction, tolerance: Tolerance, images: Sequence[str]
) -> Comparison:
    """Compare a candidate's predictions with the reference's, image by image.

    Each output is measured by its metric. Classes are matched by label where the candidate names them, else by
    position; images: their names.
    Verdicts as in the documentation: match, tie, drift, flip, error per image; pass, fail or inconclusive over all.
    A reference that has not one row per image, and one column per label, is a ParityError.
    """
    specs, allowed = reference.measured, tolerance.distance
    outputs = outputs_of(specs)
    expected = [reference_rows(spec, reference, len(images)) for spec in specs]
    if not images:
        return Comparison("inconclusive", "no images were compared", allowed, None, None, None, (), outputs)
    pairs = aligned(specs, expected, candidate)
    if isinstance(pairs, str):
        return Comparison("fail", pairs, allowed, None, None, None, (), outputs)
    cases = tuple(measured_cases(pairs, images, candidate.top1, allowed))
    tally = tally_of(cases)
    verdict, reason, required = judge(tally, varieties_of(reference, len(images)), allowed)
    return Comparison(verdict, reason, allowed, required, tally.top1_agreement, tally.max_abs_diff, cases, outputs)


def compare_again(
    reference: Prediction, comparison: Comparison, cases: Sequence[Case], measured: int
) -> Comparison:
    """Judge a comparison by cases that were looked at again; measured: on how many images its tolerance was."""
    tally = tally_of(cases)
    verdict, reason, required = judge(tally, varieties_of(reference, len(cases)), comparison.tolerance, measured)
    return replace(comparison, verdict=verdict, reason=reason, required_tolerance=required, cases=tuple(cases))


def with_exact_sums(
    reference: Prediction,
    candidate: Prediction,
    tolerance: Tolerance,
    images: Sequence[str],
    comparison: Comparison,
) -> tuple[Comparison, str]:
    """Compare what fails with the reference's exact numbers, where its own arithmetic loses more than is allowed.

    The tolerance stays: a file that adds up better than PyTorch is right. comparison: what `compare` said.
    Returns the comparison that counts, and what is to be said of it.
    """
    if comparison.verdict != "fail" or not comparison.cases:
        return comparison, ""
    exact, remarks = dict(reference.outputs), []
    for spec in reference.measured:
        rows, losses = exact_numbers(spec, reference.outputs[spec.name])
        if (lost := float(losses.max(initial=0.0))) > tolerance.distance:
            exact[spec.name] = rows
            message = metric_of(spec.kind).exact_told
            remarks.append(message.format(lost=lost, size=rows.shape[1], allowed=tolerance.distance))
    if not remarks:
        return comparison, ""
    again = compare(reference.answering(exact), candidate, tolerance, images)
    return (comparison, "") if again.verdict == "fail" else (again, "; ".join(remarks))


def conclusion(run: Run) -> str:
    """Say in a few words what a run's exit code means; every report says it in these."""
    parity = _parity(run)
    if run.gate is None or run.shard:
        return parity
    failing = any(s.gate and s.gate.verdict == "fail" for s in run.subjects)
    accuracy = "is kept" if gate_code(run) == 0 else "is not kept" if failing else "is not shown to be kept"
    which = "" if run.gate.decides == "both" else f" ({run.gate.decides} decides)"
    return f"{parity}, accuracy {accuracy}{which}"


def _parity(run: Run) -> str:
    if parity_code(run) != 3:
        return "parity does not hold" if parity_code(run) else "parity holds"
    unexpected = any(s.verdict == "inconclusive" and s.known_issue is None for s in run.subjects)
    if any(s.known_issue for s in run.subjects) and not unexpected:
        return "nothing can be concluded, because nothing passed"
    return "nothing can be concluded"


def summary_line(run: Run) -> str:
    """Sum up a run in one line: what it means, on which part of the images, how many of each verdict."""
    where = f" on shard {run.shard} of the images" if run.shard else ""
    listed = ", ".join(f"{count} {v}" for v in VERDICTS if (count := run.summary.get(v, 0)))
    known = sum(s.known_issue is not None for s in run.subjects)
    counts = f"{listed} ({known} known)" if known else listed
    gates = Counter(s.gate.verdict for s in run.subjects if s.gate)
    gate = ", ".join(f"{gates[verdict]} {verdict}" for verdict in GATE_VERDICTS if gates[verdict])
    return f"{conclusion(run)}{where}: {counts or 'nothing was run'}{f'; gate: {gate}' if gate else ''}"


def assert_parity(found: Run | Comparison) -> None:
    """Raise AssertionError with the few lines that matter unless parity holds.

    Known issues of the suite do not raise; skipped subjects do not either, but a run in which nothing passed does.
    """
    __tracebackhide__ = True
    if isinstance(found, Comparison):
        if found.verdict != "pass":
            raise AssertionError("\n".join([f"{found.verdict}: {found.reason}", *_worst_lines(found)]))
        return
    if found.exit_code == 0:
        return
    bad = [s for s in found.subjects if s.verdict not in ("pass", "skipped") and s.known_issue is None]
    parts = [*(explain_failure(s) for s in bad), *found.stale_known_issues, *map(_gate, found.subjects)]
    parts = [part for part in parts if part]
    if not parts and any(s.known_issue for s in found.subjects):
        parts = [summary_line(found)]
    skipped = [f"skipped: {s.backend}: {s.reason}" for s in found.subjects]
    raise AssertionError("\n\n".join(parts or ["nothing was compared", *skipped]))


def _gate(s: Subject) -> str:
    if s.gate is None or s.gate.verdict == "pass":
        return ""
    return f"{s.model} by {way(s)} on {s.backend}: accuracy: {s.gate.verdict}: {tell_gate(s.gate)}"


def explain_failure(subject: Subject, case: Case | None = None) -> str:
    """Tell why a subject does not pass: where, what, how far, how much is allowed, what to do next.

    case: the image to speak of, where it fails; otherwise the worst.
    """
    head = f"{subject.model} by {way(subject)} on {subject.backend}: {subject.verdict}"
    lines = [f"{head}: {subject.reason}" if subject.reason else head, *tell_causes(subject)]
    if subject.tolerance is not None:
        comparison = Comparison(
            subject.verdict,
            subject.reason,
            subject.tolerance,
            subject.required_tolerance,
            subject.top1_agreement,
            subject.max_abs_diff,
            subject.cases,
            subject.outputs,
        )
        lines += _worst_lines(comparison, case)
    if subject.guilty_hop:
        lines.append(f"  guilty hop: {subject.guilty_hop}")
    if subject.first_divergence:
        where = subject.first_divergence
        lines.append(f"  first divergence: {tell_divergence(where)}")
    lines += [f"  note: {remark}" for remark in remarks_of(subject)]
    return "\n".join(lines)


def remarks_of(subject: Subject) -> tuple[str, ...]:
    """List what a reader of the verdict should know, and how many images pass by an allowance of their own."""
    excused = excused_told(subject.excused, subject.images, subject.tolerance, subject.measured_on)
    return (*subject.remarks, *filter(None, (excused,)))


def tell_causes(subject: Subject) -> list[str]:
    """Tell the causes of a failure, a line each."""
    lines = []
    for diagnosis in subject.diagnoses:
        message = diagnosis.message.removesuffix(".")
        if diagnosis.confirmed:
            lines.append(f"  cause: {message} ({tell_confirmed(subject, diagnosis)}) [{diagnosis.fault}]")
        else:
            lines.append(f"  suspect: {message} (not confirmed) [{diagnosis.fault}]")
        if diagnosis.fix and diagnosis.confirmed:
            lines.append(f"  fix: {diagnosis.fix}")
    if subject.unexplained:
        lines.append(f"  unexplained: {subject.unexplained}")
    return lines


def tell_confirmed(subject: Subject, cause: Diagnosis) -> str:
    """Say what it means that a cause was confirmed: of many images, it was on some of them."""
    some = 0 < subject.explained_on < subject.images
    where = f" on {subject.explained_on} of the images, the worst among them" if some else ""
    return f"confirmed{where}: {cause.evidence or 'undoing it restores parity'}"


def tell_divergence(where: Divergence) -> str:
    """Say where the two part; places are counted from 1."""
    return where.told or f"operation {where.index + 1} of {where.of}, `{where.operation}` ({where.type})"


def way(subject: Subject) -> str:
    """Name where a subject comes from: its route, or its file where somebody else converted it."""
    return subject.artifact if subject.route == "-" else subject.route


def rounded_up(number: float) -> str:
    """Shorten to three digits, upwards: the number that is printed must pass when it is typed in."""
    shortened = float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(number))
    return f"{shortened:g}" if shortened < 1 else repr(number)


def _worst_lines(comparison: Comparison, asked: Case | None = None) -> list[str]:
    failing = [case for case in comparison.cases if case.verdict in FAILING_CASES]
    lines = []
    if failing:
        worst = max(failing, key=lambda c: float("inf") if c.max_abs_diff is None else c.max_abs_diff)
        which = "worst image"
        if asked in failing:
            worst, which = asked, "image"
        lines = [f"  {which} {worst.image} ({worst.verdict}){_answers(worst)}"]
        if worst.reason:
            lines.append(f"  {worst.reason}")
        lines += _distances(worst, comparison)
    if comparison.required_tolerance:
        lines.append(f"  a tolerance of {rounded_up(comparison.required_tolerance)} would have passed")
    return lines


def _distances(case: Case, comparison: Comparison) -> Iterator[str]:
    if case.max_abs_diff is not None and case.worst_label is not None and not case.outputs:
        yield (
            f"  largest difference {case.max_abs_diff:.3g} at {case.worst_label!r} "
            f"({case.worst_reference:.4g} against {case.worst_candidate:.4g}), "
            f"allowed {_allowed(case, comparison)}"
        )
    names = {output.name: output.distance for output in comparison.outputs}
    for one in case.outputs:
        if one.verdict in FAILING_CASES and one.distance is not None:
            yield (
                f"  output `{one.output}`: {names.get(one.output, 'distance')} {one.distance:.3g}, "
                f"allowed {_allowed(case, comparison)}"
            )


def _allowed(case: Case, comparison: Comparison) -> str:
    if case.own_allowed is None:
        return f"{comparison.tolerance:.3g}"
    return f"{case.own_allowed:.3g} by what rounding costs on this very image"


def _answers(case: Case) -> str:
    if case.outputs and case.reference.probability is None:
        return ""
    return f": PyTorch {_answer(case.reference)}, candidate {_answer(case.candidate)}"


def _answer(answer: Answer) -> str:
    if answer.probability is None:
        return f"{answer.label!r} without a finite probability"
    return f"{answer.label!r} at {answer.probability:.4g}"
