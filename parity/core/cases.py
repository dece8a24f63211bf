"""Cases: what the reference and the candidate answered for each image, and how far apart they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan

import numpy as np

from parity.core.results import FAILING_CASES, Answer, Case, CaseVerdict, ClassPair

# How many classes of an image are looked at, and shown.
SHOWN = 5
# What may excuse another label, whatever else is allowed: parity/core/tolerance.py excuses no arithmetic that
# moves a probability by more, fp16 included, so two classes further apart than twice this were not tied.
TIE_TOLERANCE = 5e-2
# The most of a sum that fp32 may lose; see summed_exactly.
_LOST = 1e-2
# Images that are measured at once: the differences of all would be as large as all answers together.
_CHUNK = 256
# Core ML may give an exact 0 in fp16; the smallest fp16 number stands in, so that a logarithm stays finite.
_SMALLEST = 6e-8


def make_cases(
    images: Sequence[str],
    labels: Sequence[str],
    expected: np.ndarray,
    found: np.ndarray,
    named: Sequence[str] | None,
    tolerance: float,
    truths: Sequence[str | None] | None = None,
) -> list[Case]:
    """Compare answers to images, row by row; a row's case does not depend on the rows beside it.

    expected, found: float64 [images, classes], columns in the order of `labels`. named: the label that the
    candidate's model itself gave each image. truths: what each image shows, where that is known.
    """
    places = {label: place for place, label in enumerate(labels)}
    cases: list[Case] = []
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        empty = [None] * len(images[part])
        names, truth = (given[part] if given is not None else empty for given in (named, truths))
        cases += _cases(images[part], labels, places, expected[part], found[part], names, tolerance, truth)
    return cases


def summed_exactly(reference: np.ndarray) -> np.ndarray:
    """Undo what the sum in PyTorch's own softmax lost: float64 [images, classes], each row divided by its sum.

    All classes of an image are divided by one sum, which should be theirs. In fp32 it is not where thousands of
    small numbers go into one large one: over 100,000 classes PyTorch and ONNX Runtime lose up to 1e-3 of it, and
    onnx.reference, which adds up in pairs, nothing. What is off by more is no sum of a softmax, and stays.
    """
    rows = np.asarray(reference, dtype=np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    return np.where(np.abs(sums - 1) <= _LOST, rows / np.where(sums > 0, sums, 1.0), rows)


def softmax_loss(reference: np.ndarray) -> np.ndarray:
    """Measure what the sum in PyTorch's own softmax lost: float64 [images], the largest |dp| of each row."""
    rows = np.asarray(reference, dtype=np.float64)
    worst: np.ndarray = np.nan_to_num(np.abs(summed_exactly(rows) - rows)).max(axis=1, initial=0.0)
    return worst


def judge_case(difference: float, same_top1: bool, margin: float, allowed: float) -> CaseVerdict:
    """Judge one image with finite answers.

    difference: the largest |dp|. margin: by how much the reference's own answer is more probable to the reference
    than the candidate's answer is.
    """
    small = min(allowed, TIE_TOLERANCE)
    # Vectors this close leave the reference's two labels no margin above twice as much.
    if not (same_top1 or difference <= small or margin <= 2 * small):
        return "flip"
    # A near tie excuses the label, but not a vector that is apart.
    if difference > allowed:
        return "drift"
    return "match" if same_top1 else "tie"


def judge_case_again(case: Case, allowed: float) -> Case:
    """Judge an image again by its numbers, whatever it was said to be."""
    same = case.reference.label == case.candidate.label
    verdict: CaseVerdict
    if case.max_abs_diff is None:
        verdict = "error"
    elif case.reason:  # the model names a class against its own probabilities
        verdict = "flip"
    else:
        verdict = judge_case(case.max_abs_diff, same, _margin(case), allowed)
    return case if verdict == case.verdict else replace(case, verdict=verdict)


def is_incurable(case: Case) -> bool:
    """Say whether no tolerance helps: no finite answer, a label against its own numbers, or one far from a tie."""
    return judge_case_again(case, inf).verdict in FAILING_CASES


def _margin(case: Case) -> float:
    """Return by how much the reference prefers its own answer; without limit where the case does not tell."""
    said = {pair.label: pair.reference for pair in case.top}.get(case.candidate.label)
    own = case.reference.probability
    return inf if said is None or own is None else own - said


@dataclass(frozen=True)
class _Measured:
    """Hold the numbers of one image; places are columns."""

    best: int
    top: int
    worst: int
    distance: float
    kl: float
    snr: float | None
    psnr: float | None
    first: list[int]
    second: list[int]


def _cases(
    images: Sequence[str],
    labels: Sequence[str],
    places: dict[str, int],
    expected: np.ndarray,
    found: np.ndarray,
    named: Sequence[str | None],
    tolerance: float,
    truths: Sequence[str | None],
) -> Iterator[Case]:
    lost, bad = ((~np.isfinite(rows)).sum(axis=1) for rows in (expected, found))
    sound = (lost == 0) & (bad == 0)
    measured = iter(_measure(*((expected, found) if sound.all() else (expected[sound], found[sound]))))
    for row, (image, name, truth) in enumerate(zip(images, named, truths, strict=True)):
        answers = (expected[row], found[row])
        if sound[row]:
            yield _case(image, labels, places, *answers, name, tolerance, truth, next(measured))
            continue
        candidate = Answer(name or "-", None)
        if lost[row]:
            reason = f"PyTorch itself: {lost[row]} of {len(labels)} probabilities are not finite"
            yield Case(image, "error", Answer("-", None), candidate, reason=reason, truth=truth)
        else:
            best = _most_probable(expected[row : row + 1])[0].tolist()
            reference = Answer(labels[best[0]], float(expected[row, best[0]]))
            reason = f"{bad[row]} of {len(labels)} probabilities are not finite"
            top = _top(labels, *answers, {*best})
            yield Case(image, "error", reference, candidate, reason=reason, top=top, truth=truth)


def _case(
    image: str,
    labels: Sequence[str],
    places: dict[str, int],
    expected: np.ndarray,
    found: np.ndarray,
    named: str | None,
    tolerance: float,
    truth: str | None,
    measured: _Measured,
) -> Case:
    best, top, worst = measured.best, measured.top, measured.worst
    own = places.get(named) if named is not None else None
    if own is not None and found[own] == found[top]:
        top = own  # of equal probabilities the model may name any
    candidate = Answer(labels[top], float(found[top]))
    verdict = judge_case(measured.distance, top == best, float(expected[best] - expected[top]), tolerance)
    reason = ""
    if named is not None and named != labels[top]:
        verdict = "flip"
        reason = f"the model names {named!r}, but its own most probable class is {labels[top]!r}"
        candidate = Answer(named, None if own is None else float(found[own]))
    return Case(
        image=image,
        verdict=verdict,
        reference=Answer(labels[best], float(expected[best])),
        candidate=candidate,
        max_abs_diff=measured.distance,
        kl=measured.kl,
        worst_label=labels[worst],
        worst_reference=float(expected[worst]),
        worst_candidate=float(found[worst]),
        top5_overlap=len({*measured.first} & {*measured.second}) / len(measured.first),
        snr_db=measured.snr,
        psnr_db=measured.psnr,
        reason=reason,
        # What judges the case again, with these numbers alone, needs what the reference says of both labels.
        top=_top(labels, expected, found, {*measured.first, *measured.second, top}),
        truth=truth,
    )


def _top(labels: Sequence[str], expected: np.ndarray, found: np.ndarray, listed: set[int]) -> tuple[ClassPair, ...]:
    """List the classes that are among the most probable of either, the reference's first."""
    ordered = sorted(listed)
    pairs = zip(ordered, expected[ordered].tolist(), found[ordered].tolist(), strict=True)
    ranked = sorted(pairs, key=lambda pair: -pair[1])
    return tuple(ClassPair(labels[place], e, f if isfinite(f) else None) for place, e, f in ranked)


def _measure(expected: np.ndarray, found: np.ndarray) -> Iterator[_Measured]:
    """Measure finite rows, all at once."""
    if not len(expected):
        return
    # Rows are summed alike, however many there are and whatever array they were a part of.
    expected, found = np.ascontiguousarray(expected), np.ascontiguousarray(found)
    difference = np.abs(found - expected)
    noise = difference**2
    first, second = (_most_probable(rows) for rows in (expected, found))
    columns = (
        first[:, 0],
        second[:, 0],
        difference.argmax(axis=1),
        difference.max(axis=1),
        _kl(expected, found),
        _decibel((expected**2).sum(axis=1), noise.sum(axis=1)),
        _decibel(np.abs(expected).max(axis=1) ** 2, noise.mean(axis=1)),
        first,
        second,
    )
    for best, top, worst, distance, kl, snr, psnr, *lists in zip(*(c.tolist() for c in columns), strict=True):
        yield _Measured(best, top, worst, distance, kl, _or_none(snr), _or_none(psnr), lists[0], lists[1])


def _most_probable(rows: np.ndarray) -> np.ndarray:
    """Find the columns of the largest numbers of each row, of equal ones the first: [images, at most 5]."""
    left = rows.copy()
    every = np.arange(len(rows))
    found = []
    for _ in range(min(SHOWN, rows.shape[1])):
        found.append(left.argmax(axis=1))
        left[every, found[-1]] = -np.inf
    return np.stack(found, axis=1)


def _kl(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    present = expected > 0
    ratio = np.divide(expected, np.maximum(found, _SMALLEST), out=np.ones_like(expected), where=present)
    summed: np.ndarray = (np.where(present, expected, 0.0) * np.log(ratio)).sum(axis=1)
    return summed


def _decibel(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Give the ratio in dB; NaN where one of the two is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((noise > 0) & (signal > 0), 10 * np.log10(signal / noise), np.nan)


def _or_none(number: float) -> float | None:
    return None if isnan(number) else number
