"""Faults in the list of labels: another order, another number, other words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from parity.audit.mutant import Mutant, Original, none
from parity.formats.editing import Editable

FAULTS = (
    "lab-order-permuted",
    "lab-off-by-one-background",
    "lab-count-mismatch",
    "lab-text-mismatch",
    "lab-duplicate-names",
)


def mutants(original: Original) -> Iterator[Mutant]:
    """Write the labels anew in the ways in which lists of labels go wrong."""
    labels = original.labels
    if not labels or len(labels) < 2:
        for fault in FAULTS:
            yield from none(fault, "the file has no list of labels")
        return

    def other(fault: str, description: str, now: Sequence[str]) -> Iterator[Mutant]:
        if tuple(now) == labels:
            yield from none(fault, f"{description}: the labels stand in that order already")
        else:
            yield Mutant(fault, description, remedies=("classes",), edit=partial(_set, now))

    yield from other("lab-order-permuted", "labels backwards", labels[::-1])
    yield from other("lab-order-permuted", "labels sorted by name", sorted(labels))
    numbers = sorted(range(len(labels)), key=str)
    yield from other("lab-order-permuted", "labels sorted by their numbers as text", [labels[i] for i in numbers])
    first, second = sorted(_least_shown(original, labels))
    exchanged = list(labels)
    exchanged[first], exchanged[second] = labels[second], labels[first]
    description = f"{labels[first]!r} and {labels[second]!r} exchanged, the two classes that the images show least"
    yield from other("lab-order-permuted", description, exchanged)
    yield from other("lab-off-by-one-background", "labels rolled by one", (*labels[1:], labels[0]))
    yield from other(
        "lab-off-by-one-background", "a `background` in front, the last one lost", ("background", *labels[:-1])
    )
    yield from other("lab-count-mismatch", "a label too many", (*labels, "one too many"))
    yield from other("lab-count-mismatch", "the last label lost", labels[:-1])
    yield from other("lab-text-mismatch", "labels with a carriage return", [f"{label}\r" for label in labels])
    yield from other("lab-duplicate-names", "two labels alike", (labels[1], *labels[1:]))


def _set(labels: Sequence[str], model: Editable) -> None:
    model.set_labels(labels)


def _least_shown(original: Original, labels: Sequence[str]) -> list[int]:
    shown = original.reference.prediction.probabilities.max(axis=0)
    order = {label: float(p) for label, p in zip(original.reference.classifier.labels, shown, strict=True)}
    return sorted(range(len(labels)), key=lambda i: (order.get(labels[i], 0.0), i))[:2]
