"""Cases of a classifier: what both answered for each image, and how far apart the probabilities are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, isnan
from typing import NamedTuple

import numpy as np

from conversion.task import OutputSpec
from parity.core.metric import Measurement
from parity.core.results import NO_ANSWER, Answer, ClassPair

# How many classes of an image are looked at, and shown.
SHOWN = 5
# Images that are measured at once: the differences of all would be as large as all answers together.
_CHUNK = 256
# Core ML may give an exact 0 in fp16; the smallest fp16 number stands in, so that a logarithm stays finite.
_SMALLEST = 6e-8


def measure(
    spec: OutputSpec, expected: np.ndarray, actual: np.ndarray, named: Sequence[str | None] | None
) -> Iterator[Measurement]:
    """Measure each image: the largest |dp|, the two labels, and the margin between them."""
    places = {label: place for place, label in enumerate(spec.labels)}
    for start in range(0, len(expected), _CHUNK):
        part = slice(start, start + _CHUNK)
        names = named[part] if named is not None else [None] * len(expected[part])
        yield from _measurements(spec.labels, places, expected[part], actual[part], names)


class _Measured(NamedTuple):
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


def _measurements(
    labels: Sequence[str],
    places: dict[str, int],
    expected: np.ndarray,
    actual: np.ndarray,
    named: Sequence[str | None],
) -> Iterator[Measurement]:
    lost, bad = ((~np.isfinite(rows)).sum(axis=1) for rows in (expected, actual))
    sound = (lost == 0) & (bad == 0)
    measured = iter(_measure(*((expected, actual) if sound.all() else (expected[sound], actual[sound]))))
    for row, name in enumerate(named):
        answers = (expected[row], actual[row])
        if sound[row]:
            yield _measurement(labels, places, *answers, name, next(measured))
            continue
        candidate = Answer(name or "-", None)
        if lost[row]:
            reason = f"PyTorch itself: {lost[row]} of {len(labels)} probabilities are not finite"
            yield Measurement(None, reason=reason, fields={"reference": NO_ANSWER, "candidate": candidate})
        else:
            best = _most_probable(expected[row : row + 1])[0].tolist()
            reference = Answer(labels[best[0]], float(expected[row, best[0]]))
            reason = f"{bad[row]} of {len(labels)} probabilities are not finite"
            top = _top(labels, *answers, {*best})
            fields = {"reference": reference, "candidate": candidate, "top": top}
            yield Measurement(None, reason=reason, fields=fields)


def _measurement(
    labels: Sequence[str],
    places: dict[str, int],
    expected: np.ndarray,
    actual: np.ndarray,
    named: str | None,
    measured: _Measured,
) -> Measurement:
    best, top, worst = measured.best, measured.top, measured.worst
    own = places.get(named) if named is not None else None
    if own is not None and actual[own] == actual[top]:
        top = own  # of equal probabilities the model may name any
    candidate = Answer(labels[top], float(actual[top]))
    reason = ""
    if named is not None and named != labels[top]:
        reason = f"the model names {named!r}, but its own most probable class is {labels[top]!r}"
        candidate = Answer(named, None if own is None else float(actual[own]))
    return Measurement(
        measured.distance,
        top == best,
        float(expected[best] - expected[top]),
        reason,
        fields={
            "reference": Answer(labels[best], float(expected[best])),
            "candidate": candidate,
            "kl": measured.kl,
            "worst_label": labels[worst],
            "worst_reference": float(expected[worst]),
            "worst_candidate": float(actual[worst]),
            "top5_overlap": len({*measured.first} & {*measured.second}) / len(measured.first),
            "snr_db": measured.snr,
            "psnr_db": measured.psnr,
            # What judges the case again, with these numbers alone, needs what the reference says of both labels.
            "top": _top(labels, expected, actual, {*measured.first, *measured.second, top}),
        },
    )


def _top(
    labels: Sequence[str], expected: np.ndarray, actual: np.ndarray, listed: set[int]
) -> tuple[ClassPair, ...]:
    """List the classes that are among the most probable of either, the reference's first."""
    ordered = sorted(listed)
    pairs = zip(ordered, expected[ordered].tolist(), actual[ordered].tolist(), strict=True)
    ranked = sorted(pairs, key=lambda pair: -pair[1])
    return tuple(ClassPair(labels[place], e, f if isfinite(f) else None) for place, e, f in ranked)


def _measure(expected: np.ndarray, actual: np.ndarray) -> Iterator[_Measured]:
    """Measure finite rows, all at once."""
    if not len(expected):
        return
    # Rows are summed alike, however many there are and whatever array they were a part of.
    expected, actual = np.ascontiguousarray(expected), np.ascontiguousarray(actual)
    difference = np.abs(actual - expected)
    noise = difference**2
    first, second = (_most_probable(rows) for rows in (expected, actual))
    columns = (
        first[:, 0],
        second[:, 0],
        difference.argmax(axis=1),
        difference.max(axis=1),
        _kl(expected, actual),
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
    columns = []
    for _ in range(min(SHOWN, rows.shape[1])):
        columns.append(left.argmax(axis=1))
        left[every, columns[-1]] = -np.inf
    return np.stack(columns, axis=1)


def _kl(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    present = expected > 0
    ratio = np.divide(expected, np.maximum(actual, _SMALLEST), out=np.ones_like(expected), where=present)
    summed: np.ndarray = (np.where(present, expected, 0.0) * np.log(ratio)).sum(axis=1)
    return summed


def _decibel(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Give the ratio in dB; NaN where one of the two is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((noise > 0) & (signal > 0), 10 * np.log10(signal / noise), np.nan)


def _or_none(number: float) -> float | None:
    return None if isnan(number) else number
