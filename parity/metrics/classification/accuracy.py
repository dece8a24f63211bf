"""How often reference and candidate are right: counted from cases whose truth is known, then computed.

Everything is a count, so that parts add up. Confidences are counted in units of 2**-53: sums of floats would depend
on the order of the images.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from parity.core.accuracy import (
    Accuracy,
    Calibration,
    CalibrationBin,
    Change,
    ClassAccuracy,
    ClassLoss,
    Correctness,
    Selective,
    Share,
    Taken,
)
from parity.core.results import Case, ClassPair
from parity.metrics.classification.cases import SHOWN
from parity.metrics.classification.noninferiority import lower_bound, upper_bound

Side = Literal["reference", "candidate"]
SIDES: tuple[Side, Side] = ("reference", "candidate")
# What is counted: ("right", of the reference, of the candidate), ("top5", side), (side, bin, "images" or "right" or
# "confidence"), ("class", label, "images" or side), ("class", label, "only", side), ("taken", of the reference, of
# the candidate, right of the reference, of the candidate).
Counts = Counter[tuple[str | bool | int, ...]]

BINS = 15
WORST_CLASSES = 10
_EDGES = [(place + 1) / BINS for place in range(BINS)]
_UNIT = 2**53
# What is beyond is no probability, of whatever size; its sums stay numbers.
_MOST = 2.0**64


def count_accuracy(cases: Iterable[Case], places: Mapping[str, int], threshold: float | None = None) -> Counts:
    """Count the cases whose truth is known.

    places: label -> column, by which equal probabilities are ranked. threshold: from which on an app takes answers.
    """
    counts: Counts = Counter()
    for case in cases:
        if case.truth is None:
            continue
        right = {
            "reference": case.reference.probability is not None and case.reference.label == case.truth,
            "candidate": case.verdict != "error" and case.candidate.label == case.truth,
        }
        answers = (case.reference, case.candidate)
        counts["right", right["reference"], right["candidate"]] += 1
        counts["class", case.truth, "images"] += 1
        if right["reference"] != right["candidate"]:
            counts["class", case.truth, "only", "reference" if right["reference"] else "candidate"] += 1
        if threshold is not None:
            taken = (one.probability is not None and one.probability >= threshold for one in answers)
            counts["taken", *taken, *right.values()] += 1
        top5 = {"reference": case.top[:SHOWN], "candidate": _candidates(case, places)}
        for side in SIDES:
            counts["class", case.truth, side] += right[side]
            counts["top5", side] += any(pair.label == case.truth for pair in top5[side])
            confidence = (case.reference if side == "reference" else case.candidate).probability
            if confidence is not None:
                # What is above 1 is no probability, and as sure as one can be.
                place = min(bisect_left(_EDGES, confidence), BINS - 1)
                counts[side, place, "images"] += 1
                counts[side, place, "right"] += right[side]
                counts[side, place, "confidence"] += round(max(-_MOST, min(confidence, _MOST)) * _UNIT)
    return counts


def add_counts(first: Counts, second: Counts) -> Counts:
    """Add counts up; unlike `+` this keeps sums below zero, of what a candidate gives for probabilities."""
    counts = Counter(first)
    counts.update(second)
    return counts


def accuracy_of(
    counts: Counts, labels: Sequence[str], confidence: float = 0.95, threshold: float | None = None
) -> Accuracy | None:
    """Compute from counts how often each is right; None where of no image the truth is known.

    confidence: of all bounds of the classes' losses together. threshold: that the images were counted with.
    """
    images = sum(count for key, count in counts.items() if key[0] == "right")
    if not images:
        return None
    both, first, second = (counts["right", a, b] for a, b in ((True, True), (True, False), (False, True)))
    right: dict[Side, int] = {"reference": both + first, "candidate": both + second}
    reference, candidate = (
        Correctness(_share(right[side], images), _share(counts["top5", side], images), _calibration(counts, side))
        for side in SIDES
    )
    return Accuracy(
        images,
        reference,
        candidate,
        _change(both, first, second, images),
        _worst(counts, labels),
        max(counts["class", label, "images"] for label in labels),
        _losing(counts, labels, 1 - confidence),
        None if threshold is None else _selective(counts, threshold),
    )


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score (1927)."""
    from scipy.stats import binomtest

    low, high = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def paired_interval(both: int, first: int, second: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of (both + first) / total - (both + second) / total, measured on the same images.

    Newcombe's tenth method (Statistics in Medicine 17, 1998, 2635-2650): the two Wilson intervals, put together
    with the correlation of the two answers. Unlike Wald's it has a width also where the two never differ.
    """
    neither = total - both - first - second
    shares = ((both + first) / total, (both + second) / total)
    bounds = (wilson(both + first, total), wilson(both + second, total))
    below, above = (
        [abs(share - bound[end]) for share, bound in zip(shares, bounds, strict=True)] for end in (0, 1)
    )
    spread = (both + first) * (second + neither) * (both + second) * (first + neither)
    product: float = both * neither - first * second
    if product > 0:
        product = max(product - total / 2, 0.0)
    correlation = product / math.sqrt(spread) if spread else 0.0
    difference = shares[0] - shares[1]
    down, up = (
        math.sqrt(max(a**2 - 2 * correlation * a * b + b**2, 0.0))
        for a, b in ((below[0], above[1]), (above[0], below[1]))
    )
    return difference - down, difference + up


def mcnemar(first: int, second: int) -> float:
    """Return the p-value of McNemar's exact test: of `first` + `second` tosses of a fair coin, how odd is this?"""
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def _candidates(case: Case, places: Mapping[str, int]) -> list[ClassPair]:
    if case.verdict == "error":
        return []
    return sorted(case.top, key=lambda pair: (-(pair.candidate or 0.0), places[pair.label]))[:SHOWN]


def _share(count: int, total: int) -> Share:
    return Share(count, total, count / total, *wilson(count, total))


def _change(both: int, first: int, second: int, total: int) -> Change:
    low, high = paired_interval(both, second, first, total)
    return Change((second - first) / total, low, high, first, second, mcnemar(first, second))


def _calibration(counts: Counts, side: Side) -> Calibration:
    bins, apart, total = [], 0.0, 0
    for place, high in enumerate(_EDGES):
        images, right, units = (counts[side, place, what] for what in ("images", "right", "confidence"))
        confidence = units / _UNIT
        apart, total = apart + abs(right - confidence), total + images
        means = (confidence / images, right / images) if images else (None, None)
        bins.append(CalibrationBin(place / BINS, high, images, *means))
    return Calibration(apart / total if total else None, tuple(bins))


def _worst(counts: Counts, labels: Sequence[str]) -> tuple[ClassAccuracy, ...]:
    classes = [
        ClassAccuracy(label, images, counts["class", label, "reference"], counts["class", label, "candidate"])
        for label in labels
        if (images := counts["class", label, "images"])
    ]
    wrong = [one for one in classes if one.candidate < one.images]
    return tuple(sorted(wrong, key=lambda one: (one.candidate / one.images, -one.images))[:WORST_CLASSES])


def _losing(counts: Counts, labels: Sequence[str], alpha: float) -> tuple[ClassLoss, ...]:
    """List the classes that lose most; their bounds share `alpha` with those of all classes, the other ones too."""
    classes = [
        (label, images, counts["class", label, "only", "reference"], counts["class", label, "only", "candidate"])
        for label in labels
        if (images := counts["class", label, "images"])
    ]
    each = alpha / len(classes)
    losing = sorted(
        (one for one in classes if one[2] > one[3]), key=lambda one: (-(one[2] - one[3]) / one[1], -one[1])
    )
    return tuple(
        ClassLoss(
            label,
            images,
            first,
            second,
            (first - second) / images,
            lower_bound(first, second, images, each),
            upper_bound(first, second, images, each),
        )
        for label, images, first, second in losing[:WORST_CLASSES]
    )


def _selective(counts: Counts, threshold: float) -> Selective:
    tables = {key[1:]: count for key, count in counts.items() if key[0] == "taken"}
    total = sum(tables.values())

    def side(place: int) -> Taken:
        taken = sum(count for key, count in tables.items() if key[place])
        right = sum(count for key, count in tables.items() if key[place] and key[2 + place])
        return Taken(_share(taken, total), _share(right, taken) if taken else None)

    risen, fallen = (
        _share(sum(count for key, count in tables.items() if key[:2] == crossing), total)
        for crossing in ((False, True), (True, False))
    )
    return Selective(threshold, side(0), side(1), risen, fallen)
