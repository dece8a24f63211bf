"""Judging an envelope: how far the arithmetics are apart, which operation it comes from, and what helps.

A variant is judged against round-once as a candidate against a reference: match, tie, drift, flip, error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from parity.core.compare import compare
from parity.core.comparison import Case, CaseVerdict, Comparison
from parity.core.envelope import Band, Envelope, EnvelopeCase, EnvelopeVerdict, HeldRecord, VariantAnswers
from parity.core.errors import ParityError
from parity.core.prediction import Prediction
from parity.core.tolerance import Tolerance
from parity.envelope.running import Opened, Variant

if TYPE_CHECKING:
    from parity.suite.images import ImageSet

# Worst last.
SEVERITY: tuple[CaseVerdict, ...] = ("match", "tie", "drift", "flip", "error")
# What a page and a file show of an image with thousands of classes.
BANDS = 10
NOT_VARIED = (
    "how this file's operations add up and round cannot be varied: it is a NeuralNetwork, each of whose layers was "
    "computed in fp16, as an assumption; convert it to an ML Program"
)


@dataclass(frozen=True)
class Answers:
    """Hold what a set of images is answered: in round-once, and in each variant.

    rows: [variants + 1, images, classes], round-once first. judged: each variant against it.
    """

    opened: Opened
    images: ImageSet
    labels: tuple[str, ...]
    allowed: Tolerance
    batch: int
    variants: tuple[Variant, ...]
    rows: np.ndarray
    judged: tuple[Comparison, ...]

    @property
    def lowest(self) -> np.ndarray:
        """Return the lower ends of all ranges, [images, classes]."""
        return np.asarray(self.rows.min(0))

    @property
    def highest(self) -> np.ndarray:
        """Return the upper ends of all ranges, [images, classes]."""
        return np.asarray(self.rows.max(0))


def answers_of(
    opened: Opened,
    variants: Sequence[Variant],
    images: ImageSet,
    labels: tuple[str, ...],
    allowed: Tolerance,
    batch: int,
) -> Answers:
    """Answer images in every variant, and judge each against round-once."""
    base, *others = opened.predict(variants, images.pixels, batch)
    reference = Prediction(in_order(base, labels), labels)
    judged = tuple(compare(reference, other, allowed, images.names) for other in others)
    rows = np.stack([in_order(one, labels) for one in (base, *others)])
    return Answers(opened, images, labels, allowed, batch, tuple(variants), rows, judged)


def in_order(prediction: Prediction, labels: Sequence[str]) -> np.ndarray:
    """Return probabilities in the order of the classifier's labels, [images, classes]."""
    rows = np.asarray(prediction.probabilities, np.float64)
    names = prediction.labels
    if rows.shape[1:] != (len(labels),) or (names and set(names) != set(labels)):
        raise ParityError(
            f"the file answers {list(rows.shape[1:])} classes, and the model has {len(labels)} labels"
        )
    return rows[:, [names.index(label) for label in labels]] if names else rows


def judge(answers: Answers, cost: float | None = None, records: Sequence[HeldRecord] = ()) -> Envelope:
    """Judge what was computed; what it comes from is looked for elsewhere (causes.py)."""
    cases = tuple(_case(answers, index) for index in range(len(answers.images.names)))
    verdict, reason = _verdict(answers, cases)
    unsafe = sum(len(case.labels) > 1 for case in cases)
    told = [_variant(v, judged) for v, judged in zip(answers.variants, answers.judged, strict=True)]
    return Envelope(
        verdict=verdict,
        reason=reason,
        images=len(cases),
        unsafe_share=unsafe / len(cases) if cases else 0.0,
        max_abs_diff=_most([case.max_abs_diff for case in cases]),
        tolerance=answers.allowed.distance,
        variants=tuple(sorted(told, key=lambda one: -_size(one.max_abs_diff))),
        cases=cases,
        records=tuple(records),
        cost=cost,
    )


def _verdict(answers: Answers, cases: Sequence[EnvelopeCase]) -> tuple[EnvelopeVerdict, str]:
    if not answers.opened.variable:
        return "inconclusive", NOT_VARIED
    counts = {verdict: sum(case.verdict == verdict for case in cases) for verdict in SEVERITY}
    listed = ", ".join(f"{counts[v]} {v}" for v in ("error", "flip", "drift", "tie") if counts[v])
    told = f"{listed} of {len(cases)} image(s)" if listed else ""
    if counts["flip"] or counts["error"]:
        return "unsafe", told
    lacking = next((one.reason for one in answers.judged if one.verdict == "inconclusive"), "")
    if lacking or not cases:
        return "inconclusive", lacking or "no images were given"
    return ("sensitive", told) if listed else ("safe", "")


def severity(case: Case) -> tuple[int, float]:
    """Order cases, the worst last."""
    return SEVERITY.index(case.verdict), _size(case.max_abs_diff)


def _case(answers: Answers, index: int) -> EnvelopeCase:
    judged = [one.cases[index] for one in answers.judged if one.cases]
    base = answers.rows[0, index]
    label = answers.labels[int(base.argmax())]
    low, high = answers.lowest[index], answers.highest[index]
    shown = np.argsort(-np.nan_to_num(high, nan=np.inf), kind="stable")[:BANDS]
    return EnvelopeCase(
        image=answers.images.names[index],
        verdict=max(judged, key=severity).verdict if judged else "match",
        label=label,
        labels=tuple(dict.fromkeys([label, *(case.candidate.label for case in judged)])),
        max_abs_diff=_most([case.max_abs_diff for case in judged]) if judged else 0.0,
        bands=tuple(
            Band(answers.labels[c], _finite(base[c]), _finite(low[c]), _finite(high[c])) for c in map(int, shown)
        ),
    )


def _variant(variant: Variant, judged: Comparison) -> VariantAnswers:
    known = variant.arithmetic
    other = sum(case.candidate.label != case.reference.label for case in judged.cases)
    largest = _most([case.max_abs_diff for case in judged.cases])
    return VariantAnswers(known.name, known.title, known.source, known.basis, largest, other)


def worst_of(answers: Answers, most: int) -> tuple[int, list[int]]:
    """Return the variant that is furthest off, and its worst images, the worst first."""
    variant = max(range(len(answers.judged)), key=lambda v: max(map(severity, answers.judged[v].cases)))
    cases = answers.judged[variant].cases
    ordered = sorted(range(len(cases)), key=lambda index: severity(cases[index]), reverse=True)
    return variant, ordered[:most]


def again(answers: Answers, variants: Sequence[Variant], chosen: Sequence[int]) -> Answers:
    """Answer some of the images in other variants."""
    images = answers.images
    some = replace(
        images, names=tuple(images.names[i] for i in chosen), pixels=images.pixels[list(chosen)], files=()
    )
    return answers_of(answers.opened, variants, some, answers.labels, answers.allowed, answers.batch)


def flips(judged: Comparison) -> int:
    """Count the images with another label, beyond a tie, or without an answer."""
    return sum(case.verdict in ("flip", "error") for case in judged.cases)


def distance(judged: Comparison) -> float | None:
    """Return the largest |dp| of an image, in the mean of all; None where an answer is not finite."""
    sizes = [case.max_abs_diff for case in judged.cases]
    known = [size for size in sizes if size is not None]
    return sum(known) / len(known) if known and len(known) == len(sizes) else None


def _most(numbers: Sequence[float | None]) -> float | None:
    return None if any(number is None for number in numbers) else max(filter(None, numbers), default=0.0)


def _size(number: float | None) -> float:
    return np.inf if number is None else number


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
