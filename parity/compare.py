"""Compare predictions: `compare` computes and judges, `assert_parity` raises, `explain_failure` tells."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context

import numpy as np

from parity.errors import ParityError
from parity.results import (
    FAILING_CASES,
    Answer,
    Case,
    CaseVerdict,
    ClassPair,
    Comparison,
    Prediction,
    Run,
    Subject,
    Verdict,
)
from parity.tolerance import Tolerance

# A network that spreads 95 % of the entropy of a uniform answer has seen nothing in the image.
FLAT_ENTROPY = 0.95
# How many classes of an image are looked at, and shown.
SHOWN = 5


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
    aligned, trouble = _aligned(reference.labels, candidate)
    if aligned is None or aligned.shape != expected.shape:
        found = trouble or f"outputs of shape {list(candidate.probabilities.shape)}, not {list(expected.shape)}"
        return Comparison("fail", found, tolerance.probability, None, None, None, ())
    cases = tuple(
        _case(name, reference.labels, expected[i], aligned[i], _named(candidate, i), tolerance.probability)
        for i, name in enumerate(images)
    )
    worst = max((case.max_abs_diff for case in cases if case.max_abs_diff is not None), default=None)
    failing = [case for case in cases if case.verdict in FAILING_CASES]
    verdict: Verdict = "fail" if failing else "pass"
    reason = _count(failing, len(cases)) if failing else ""
    if not failing and (vacuous := proves_nothing(expected, tolerance.probability)):
        verdict, reason = "inconclusive", vacuous
    agreement = sum(case.reference.label == case.candidate.label for case in cases) / len(cases)
    return Comparison(verdict, reason, tolerance.probability, _required(expected, cases), agreement, worst, cases)


def proves_nothing(reference: np.ndarray, allowed: float) -> str:
    """Say why agreement with these reference answers within `allowed` would prove nothing; empty where it would.

    reference: [images, classes]. The measure is what a model that ignores its input could pass.
    """
    count, classes = reference.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(reference > 0, reference * np.log(reference), 0.0), axis=1)
    if bool((entropy >= FLAT_ENTROPY * np.log(classes)).all()):
        return (
            f"the reference answers about 1/{classes} for every class of every image (an untrained network?); "
            "any other would agree: give trained weights"
        )
    # One image has nothing to differ from. Whoever asks about one gets an answer about that one.
    if count < 2:
        return ""
    # The constant nearest to all answers lies midway between the extremes of each class.
    spread = float((reference.max(axis=0) - reference.min(axis=0)).max()) / 2
    if spread <= allowed:
        return (
            f"the reference answers the same for every image, within {spread:.1e}; "
            "a model that ignores its input would agree: give images that differ"
        )
    if len(set(reference.argmax(axis=1).tolist())) == 1:
        return (
            f"the reference gives all {count} images one class; a model that knows only that class would agree: "
            "give images of at least two classes"
        )
    return ""


def assert_parity(found: Run | Comparison) -> None:
    """Raise AssertionError with the few lines that matter unless parity holds.

    Known issues of the suite do not raise; skipped subjects do not either, but a run that compared nothing does.
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
        lines.append(f"  first divergence: {where.told or f'{where.operation} ({where.type})'}")
    return "\n".join(lines)


def tell_causes(subject: Subject) -> list[str]:
    """Tell what was found out about a failure, a line each: causes first."""
    lines = []
    for found in subject.diagnoses:
        message = found.message.removesuffix(".")
        if found.confirmed:
            lines.append(f"  cause: {message} (confirmed: undoing it restores parity) [{found.fault}]")
        else:
            lines.append(f"  suspect: {message} (not confirmed) [{found.fault}]")
        if found.fix and found.confirmed:
            lines.append(f"  fix: {found.fix}")
    return lines


def way(subject: Subject) -> str:
    """Name the way that a subject came: its route, or its file where somebody else converted it."""
    return subject.artifact if subject.route == "-" else subject.route


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
        lines.append(f"  a tolerance of {_rounded_up(comparison.required_tolerance)} would have passed")
    return lines


def _answer(answer: Answer) -> str:
    if answer.probability is None:
        return f"{answer.label!r} without a finite probability"
    return f"{answer.label!r} at {answer.probability:.4g}"


def _rounded_up(number: float) -> str:
    """Shorten to three digits, upwards: the number that is printed must pass when it is typed in."""
    shortened = float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(number))
    return f"{shortened:g}" if shortened < 1 else repr(number)


def _required(expected: np.ndarray, cases: Sequence[Case]) -> float | None:
    """Find the smallest tolerance with which the verdict would be `pass`."""
    differences = [case.max_abs_diff for case in cases if case.max_abs_diff is not None]
    # A case has a reason where no tolerance helps: no finite answer, a label against its own probabilities.
    if len(differences) < len(cases) or any(case.reason for case in cases):
        return None
    required = max(differences)
    return None if required >= 1 or proves_nothing(expected, required) else required


def _count(failing: Sequence[Case], images: int) -> str:
    kinds = [case.verdict for case in failing]
    listed = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("flip", "drift", "error") if kind in kinds)
    return f"{listed} of {images} image(s)"


def _inconclusive(reason: str, tolerance: Tolerance) -> Comparison:
    return Comparison("inconclusive", reason, tolerance.probability, None, None, None, ())


def _named(candidate: Prediction, index: int) -> str | None:
    return candidate.top1[index] if candidate.top1 is not None else None


def _aligned(labels: tuple[str, ...], candidate: Prediction) -> tuple[np.ndarray | None, str]:
    """Bring the candidate's columns into the order of `labels`; never by a dictionary's order."""
    values = np.asarray(candidate.probabilities, dtype=np.float64)
    if candidate.labels is None:
        return values, ""
    if values.ndim != 2 or values.shape[1] != len(candidate.labels):
        return None, f"outputs of shape {list(values.shape)} for {len(candidate.labels)} labels; convert again"
    places = {label: i for i, label in enumerate(candidate.labels)}
    absent = [label for label in labels if label not in places]
    if absent or len(candidate.labels) != len(labels):
        strange = sorted(set(places) - set(labels))
        return None, (
            f"the candidate has {len(candidate.labels)} labels, the classifier {len(labels)}; "
            f"absent {_few(absent)}, unknown {_few(strange)}; convert again with the classifier's labels"
        )
    return values[:, [places[label] for label in labels]], ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"


def _case(
    image: str,
    labels: tuple[str, ...],
    expected: np.ndarray,
    found: np.ndarray,
    named: str | None,
    tolerance: float,
) -> Case:
    if bad := int((~np.isfinite(expected)).sum()):
        reason = f"PyTorch itself: {bad} of {len(expected)} probabilities are not finite"
        return Case(image, "error", Answer("-", None), Answer(named or "-", None), reason=reason)
    best = int(expected.argmax())
    reference = Answer(labels[best], float(expected[best]))
    if bad := int((~np.isfinite(found)).sum()):
        reason = f"{bad} of {len(found)} probabilities are not finite"
        return Case(image, "error", reference, Answer(named or "-", None), reason=reason)
    top = int(found.argmax())
    if named is not None and named in labels and found[labels.index(named)] == found[top]:
        top = labels.index(named)  # of equal probabilities the model may name any
    candidate = Answer(labels[top], float(found[top]))
    difference = np.abs(found - expected)
    worst = int(difference.argmax())
    close = bool(difference[worst] <= tolerance)
    margin = float(expected[best] - expected[top])
    verdict: CaseVerdict
    reason = ""
    if named is not None and named != labels[top]:
        verdict = "flip"
        reason = f"the model names {named!r}, but its own most probable class is {labels[top]!r}"
        candidate = Answer(named, float(found[labels.index(named)]) if named in labels else None)
    elif close:
        # Vectors this close leave the reference's two labels no margin above twice the tolerance.
        verdict = "match" if top == best else "tie"
    elif top == best or margin <= 2 * tolerance:
        # A near tie excuses the label, but not a vector that is apart.
        verdict = "drift"
    else:
        verdict = "flip"
    return Case(
        image=image,
        verdict=verdict,
        reference=reference,
        candidate=candidate,
        max_abs_diff=float(difference[worst]),
        kl=_kl(expected, found),
        worst_label=labels[worst],
        worst_reference=float(expected[worst]),
        worst_candidate=float(found[worst]),
        top5_overlap=_top5_overlap(expected, found),
        snr_db=_decibel(float((expected**2).sum()), float((difference**2).sum())),
        psnr_db=_decibel(float(np.abs(expected).max()) ** 2, float((difference**2).mean())),
        reason=reason,
        top=_top(labels, expected, found),
    )


def _top(labels: tuple[str, ...], expected: np.ndarray, found: np.ndarray) -> tuple[ClassPair, ...]:
    """List the classes that are among the five most probable of either."""
    first, second = (np.argsort(-v, kind="stable")[:SHOWN].tolist() for v in (expected, found))
    listed = sorted({*first, *second}, key=lambda place: (-expected[place], place))
    return tuple(ClassPair(labels[place], float(expected[place]), float(found[place])) for place in listed)


def _kl(expected: np.ndarray, found: np.ndarray) -> float:
    # Core ML may give an exact 0 in fp16; the smallest fp16 number stands in, so that the sum stays finite.
    floor = 6e-8
    present = expected > 0
    ratio = expected[present] / np.maximum(found[present], floor)
    return float((expected[present] * np.log(ratio)).sum())


def _top5_overlap(expected: np.ndarray, found: np.ndarray) -> float:
    count = min(SHOWN, len(expected))
    first, second = (set(np.argsort(-v, kind="stable")[:count].tolist()) for v in (expected, found))
    return len(first & second) / count


def _decibel(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(signal / noise)) if noise > 0 and signal > 0 else None
