"""Compare predictions: `compare` computes and judges, `assert_parity` raises, `explain_failure` tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Context

import numpy as np

from parity.core.cases import make_cases, softmax_loss, summed_exactly
from parity.core.errors import ParityError
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
from parity.core.tally import judge, tally_of, variety_of
from parity.core.tolerance import Tolerance


def compare(
    reference: Prediction, candidate: Prediction, tolerance: Tolerance, images: Sequence[str]
) -> Comparison:
    """Compare a candidate's predictions with the reference's, image by image.

    Columns are matched by label where the candidate names its classes, else by position; images: their names.
    Verdicts as in the documentation: match, tie, drift, flip, error per image; pass, fail or inconclusive over all.
    A reference that is not one row per image and one column per label is a ParityError.
    """
    if reference.labels is None:
        raise ParityError("the reference has no labels; a Classifier always gives them")
    expected = np.asarray(reference.probabilities, dtype=np.float64)
    if expected.shape != (len(images), len(reference.labels)):
        raise ParityError(
            f"the reference has outputs of shape {list(expected.shape)} for {len(images)} images and "
            f"{len(reference.labels)} labels; give one row per image and one column per label"
        )
    if not images:
        return _inconclusive("no images were compared", tolerance)
    aligned, trouble = align(reference.labels, candidate)
    if aligned is None or aligned.shape != expected.shape:
        found = trouble or f"outputs of shape {list(candidate.probabilities.shape)}, not {list(expected.shape)}"
        return Comparison("fail", found, tolerance.probability, None, None, None, ())
    cases = make_cases(images, reference.labels, expected, aligned, candidate.top1, tolerance.probability)
    tally = tally_of(cases)
    verdict, reason, required = judge(tally, variety_of(expected), tolerance.probability)
    return Comparison(
        verdict, reason, tolerance.probability, required, tally.top1_agreement, tally.max_abs_diff, tuple(cases)
    )


def with_exact_sums(
    reference: Prediction, candidate: Prediction, tolerance: Tolerance, images: Sequence[str], found: Comparison
) -> tuple[Comparison, str]:
    """Compare what fails with the exact sums of PyTorch's softmax, where its own lose more than is allowed.

    The tolerance stays: a file that adds up better than PyTorch is right. found: what `compare` said.
    Returns the comparison that counts, and what is to be said of it.
    """
    if found.verdict != "fail" or not found.cases:
        return found, ""
    lost = float(softmax_loss(reference.probabilities).max())
    if not lost > tolerance.probability:
        return found, ""
    exact = summed_exactly(reference.probabilities)
    again = compare(replace(reference, probabilities=exact), candidate, tolerance, images)
    if again.verdict == "fail":
        return found, ""
    return again, (
        f"PyTorch's own softmax loses {lost:.1e} in its fp32 sum over {exact.shape[1]} classes, more than the "
        f"{tolerance.probability:.1e} allowed; this file was compared with PyTorch's logits, summed exactly"
    )


def proves_nothing(reference: np.ndarray, allowed: float) -> str:
    """Say why agreement with these reference answers within `allowed` would prove nothing; empty where it would.

    reference: [images, classes]. The measure is what a model that ignores its input could pass.
    """
    return variety_of(reference).lacking(allowed)


def conclusion(run: Run) -> str:
    """Say in a few words what a run's exit code means; every report says it in these."""
    if run.exit_code != 3:
        return "parity does not hold" if run.exit_code else "parity holds"
    unexpected = any(s.verdict == "inconclusive" and s.known_issue is None for s in run.subjects)
    if any(s.known_issue for s in run.subjects) and not unexpected:
        return "nothing can be concluded, because nothing passed"
    return "nothing can be concluded"


def summary_line(run: Run) -> str:
    """Say what a run found in one line: what it means, on which part of the images, how many of each verdict."""
    where = f" on shard {run.shard} of the images" if run.shard else ""
    listed = ", ".join(f"{count} {v}" for v in VERDICTS if (count := run.summary.get(v, 0)))
    known = sum(s.known_issue is not None for s in run.subjects)
    counts = f"{listed} ({known} known)" if known else listed
    return f"{conclusion(run)}{where}: {counts or 'nothing was run'}"


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
    parts = [*(explain_failure(s) for s in bad), *found.stale_known_issues]
    if not parts and any(s.known_issue for s in found.subjects):
        parts = [summary_line(found)]
    skipped = [f"skipped: {s.backend}: {s.reason}" for s in found.subjects]
    raise AssertionError("\n\n".join(parts or ["nothing was compared", *skipped]))


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
        )
        lines += _worst_lines(comparison, case)
    if subject.guilty_hop:
        lines.append(f"  guilty hop: {subject.guilty_hop}")
    if subject.first_divergence:
        where = subject.first_divergence
        lines.append(f"  first divergence: {tell_divergence(where)}")
    lines += [f"  note: {remark}" for remark in subject.remarks]
    return "\n".join(lines)


def tell_causes(subject: Subject) -> list[str]:
    """Tell what was found out about a failure, a line each: causes first."""
    lines = []
    for found in subject.diagnoses:
        message = found.message.removesuffix(".")
        if found.confirmed:
            lines.append(f"  cause: {message} ({tell_confirmed(subject, found)}) [{found.fault}]")
        else:
            lines.append(f"  suspect: {message} (not confirmed) [{found.fault}]")
        if found.fix and found.confirmed:
            lines.append(f"  fix: {found.fix}")
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
    """Name the way that a subject came: its route, or its file where somebody else converted it."""
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
        lines = [
            f"  {which} {worst.image} ({worst.verdict}): PyTorch {_answer(worst.reference)}, "
            f"candidate {_answer(worst.candidate)}"
        ]
        if worst.reason:
            lines.append(f"  {worst.reason}")
        if worst.max_abs_diff is not None:
            lines.append(
                f"  largest difference {worst.max_abs_diff:.3g} at {worst.worst_label!r} "
                f"({worst.worst_reference:.4g} against {worst.worst_candidate:.4g}), "
                f"allowed {comparison.tolerance:.3g}"
            )
    if comparison.required_tolerance:
        lines.append(f"  a tolerance of {rounded_up(comparison.required_tolerance)} would have passed")
    return lines


def _answer(answer: Answer) -> str:
    if answer.probability is None:
        return f"{answer.label!r} without a finite probability"
    return f"{answer.label!r} at {answer.probability:.4g}"


def _inconclusive(reason: str, tolerance: Tolerance) -> Comparison:
    return Comparison("inconclusive", reason, tolerance.probability, None, None, None, ())


def align(labels: tuple[str, ...], candidate: Prediction) -> tuple[np.ndarray | None, str]:
    """Bring the candidate's columns into the order of `labels`, or say why not; never by a dictionary's order."""
    values = np.asarray(candidate.probabilities, dtype=np.float64)
    if candidate.labels is None:
        return values, ""
    if values.ndim != 2 or values.shape[1] != len(candidate.labels):
        return None, f"outputs of shape {list(values.shape)} for {len(candidate.labels)} labels; convert again"
    places = {label: i for i, label in enumerate(candidate.labels)}
    if places.keys() != set(labels) or len(candidate.labels) != len(labels):
        apart = tell_labels_apart("the candidate", candidate.labels, labels)
        return None, f"{apart}; convert again with the classifier's labels"
    return values[:, [places[label] for label in labels]], ""


def tell_labels_apart(whose: str, theirs: Sequence[str], labels: Sequence[str]) -> str:
    """Say how the labels of `whose` differ from a classifier's: in number, in names, in order; empty if not at all.

    theirs: in the order of the columns; labels: the classifier's. Indices count from 0.
    """
    if list(theirs) == list(labels):
        return ""
    known, counts = set(labels), Counter(theirs)
    absent = [index for index, label in enumerate(labels) if label not in counts]
    strange = [label for label in theirs if label not in known]
    alike = f"{whose} has as many labels as the classifier, {len(labels)}"
    repeated = ""
    if label := next((label for label in theirs if counts[label] > 1), ""):
        first, second, *_ = [index for index, other in enumerate(theirs) if other == label]
        repeated = f"; labels {first} and {second} are both {label!r}"
    if repeated or len(theirs) != len(labels):
        count = f"{whose} has {len(theirs)} labels, the classifier {len(labels)}"
        names = f"absent {_few([labels[index] for index in absent])}, unknown {_few(strange)}"
        return f"{alike if len(theirs) == len(labels) else count}{repeated}; {names}"
    differing = absent or [i for i, (one, other) in enumerate(zip(theirs, labels, strict=True)) if one != other]
    index = differing[0]
    differ = f"but {len(absent)} of other names" if absent else "but in another order"
    if absent and theirs[index] not in strange:
        first_names = f"label {index} of the classifier, {labels[index]!r}, is not there, and {strange[0]!r} is"
    else:
        first_names = f"label {index} is {theirs[index]!r} there and {labels[index]!r} in the classifier"
    return f"{alike}, {differ}: {first_names}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
