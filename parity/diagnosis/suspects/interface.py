"""Names, order and number of the labels, and which outputs they belong to."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from conversion.task import PROBABILITIES
from parity.core.pairing import pair
from parity.core.refusals import EXPECTED
from parity.core.results import Prediction
from parity.diagnosis.fixes import fix
from parity.diagnosis.heads import HEADS, Head
from parity.diagnosis.repair import Repair, relabelled
from parity.diagnosis.suspects import Suspect

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination

_SMALLEST = 1e-9
# Outputs of which every pair with a class is looked at; of more, those next to it on both sides.
_EXHAUSTIVE, _NEAR = 1024, 8
# How it is known that a list is not the model's.
_READ = "the file's list of labels was read, and with the model's in its place parity holds"


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compare the file's labels with the classifier's, then the columns of the answers with PyTorch's."""
    head = examination.torch.head
    if head is None:
        return
    labels, wanted = examination.file.labels, examination.reference.model.labels
    if labels is not None and labels != wanted:
        yield from _list(labels, wanted, examination)
    yield from _columns(examination, head)


def _list(labels: tuple[str, ...], wanted: tuple[str, ...], examination: Examination) -> Iterator[Suspect]:
    probabilities = examination.candidate.probabilities
    outputs = None if probabilities is None else probabilities.shape[1]
    has_dictionary = examination.file.has_dictionary
    right = Repair(
        edit=lambda model: model.set_labels(wanted),
        evidence=_READ,
        fix=fix("labels", examination.file.artifact.format),
    )
    by_place = Repair(answers=lambda prediction: _by_place(prediction, labels, wanted), fix=right.fix)
    repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
    if repeated:
        first, second, *_ = [i for i, label in enumerate(labels) if label == repeated[0]]
        lost = f"{len(labels) - len(set(labels))} of {len(labels)}"
        unnamed = f"{lost} classes have no name of their own"
        what = f"the probability dictionary loses {lost} entries" if has_dictionary else unnamed
        yield Suspect(
            "lab-duplicate-names",
            f"Labels {first} and {second} are both {repeated[0]!r}: {what}; use unique names.",
            right,
            seen=True,
        )
        return
    if len(labels) != len(wanted):
        yield _count(labels, wanted, outputs, right)
        return
    fault, message = name_order(labels, wanted)
    yield Suspect(fault, message, by_place if has_dictionary or outputs else right, seen=True)


def _count(labels: Sequence[str], wanted: Sequence[str], outputs: int | None, right: Repair) -> Suspect:
    known = set(wanted)
    strange = [label for label in labels if label not in known]
    if tuple(labels[1:]) == tuple(wanted) or tuple(wanted[1:]) == tuple(labels):
        extra = "has one entry too many" if len(labels) > len(wanted) else "lacks its first entry"
        return Suspect(
            "lab-off-by-one-background",
            f"The label list {extra} at its beginning ({labels[0]!r} where {wanted[0]!r} is meant): all labels are "
            "shifted by one.",
            right,
            seen=True,
        )
    unknown = f" (unknown: {strange[0]!r})" if strange else ""
    return Suspect(
        "lab-count-mismatch",
        f"The label list has {len(labels)} entries but the classifier has {len(wanted)} classes{unknown}.",
        right,
        seen=True,
    )


def name_order(labels: Sequence[str], wanted: Sequence[str]) -> tuple[str, str]:
    """Say what was done to a list of labels of the right length."""
    count = len(wanted)
    if all(_plain(one) == _plain(other) for one, other in zip(labels, wanted, strict=True)):
        index = next(i for i in range(count) if labels[i] != wanted[i])
        return (
            "lab-text-mismatch",
            f"Same class index, different spelling: label {index} is {labels[index]!r} in the file and "
            f"{wanted[index]!r} in PyTorch.",
        )
    for shift in (1, -1):
        same = sum(labels[(i + shift) % count] == wanted[i] for i in range(count))
        if same >= count - 1 and count > 2:
            word = "a background entry is present" if shift == 1 else "the first entry is missing"
            return (
                "lab-off-by-one-background",
                f"All labels are shifted by one ({word}): output 0 is called {labels[0]!r}, and is {wanted[0]!r}.",
            )
    if sorted(labels) != sorted(wanted):
        known = set(wanted)
        unknown = [i for i in range(count) if labels[i] not in known]
        return (
            "lab-text-mismatch",
            f"{len(unknown)} of {count} labels have other names in the file: label {unknown[0]} is "
            f"{labels[unknown[0]]!r}, in PyTorch {wanted[unknown[0]]!r}.",
        )
    places = {label: i for i, label in enumerate(wanted)}
    moves = name_permutation([places[label] for label in labels], wanted)
    return (
        "lab-order-permuted",
        f"The labels are in another order than the outputs: {moves}.",
    )


def name_permutation(order: Sequence[int], labels: Sequence[str]) -> str:
    """Describe a permutation: place i holds what belongs to place order[i]."""
    count, places = len(order), list(range(len(order)))
    moved = [i for i in places if order[i] != i]
    if list(order) == places[::-1]:
        return "the list is reversed"
    shift = order[0]
    if shift and list(order) == [(i + shift) % count for i in places]:
        return f"the list is rolled by {shift if shift <= count // 2 else shift - count}"
    if list(order) == sorted(places, key=str):
        return "the numbers of the classes were sorted as text (0, 1, 10, 11, ..., 2)"
    if list(order) == sorted(places, key=lambda i: labels[i]):
        return "the names were sorted"
    if len(moved) == 2:
        return f"{labels[moved[0]]!r} and {labels[moved[1]]!r} are exchanged"
    return f"{len(moved)} of {count} are moved, {labels[order[moved[0]]]!r} stands for {labels[moved[0]]!r}"


def _columns(examination: Examination, head: Head) -> Iterator[Suspect]:
    """Find PyTorch's columns among the candidate's by their numbers over all images."""
    probabilities, expected = examination.candidate.probabilities, examination.torch.probabilities
    if probabilities is None or probabilities.ndim != 2 or len(probabilities) < 2:
        return
    if not np.isfinite(probabilities).all():
        return
    outputs, classes = probabilities.shape[1], expected.shape[1]
    labels = examination.reference.model.labels
    if outputs == classes:
        order = match_columns(*_enough(examination, probabilities, expected), head)
        if order is None or order == list(range(classes)):
            return
        # order[i]: the output that holds class i; the inverse says what each output holds.
        holds = np.argsort(order, kind="stable").tolist()
        swap = order
        if (shift := _roll(order)) is not None and abs(shift) == 1:
            fault, message = (
                "lab-off-by-one-background",
                "All labels are shifted by one (a background entry is present or missing)",
            )
        else:
            fault, message = (
                "lab-order-permuted",
                f"Values agree but names are permuted: {name_permutation(holds, labels)}",
            )
        equal = "; permuted labels and permuted rows of the last layer are the same, and both would explain it"
        yield Suspect(fault, f"{message}{equal}.", Repair(answers=lambda p: _taken(p, examination, swap, head)))
    elif outputs > classes:
        order = match_columns(probabilities, expected, head)
        if order is None:
            return
        kept = order
        extra = sorted(set(range(outputs)) - set(order))
        fault = "lab-off-by-one-background" if extra in ([0], [outputs - 1]) else "lab-count-mismatch"
        yield Suspect(
            fault,
            f"The network has {outputs} outputs for {classes} labels: output {extra[0]} belongs to no class"
            + (" (background?), and all labels are shifted by one." if extra == [0] else "."),
            Repair(answers=lambda p: _taken(p, examination, kept, head)),
        )


def _enough(
    examination: Examination, probabilities: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let both answer for the images turned over too, where they are few for so many classes."""
    if examination.candidate.is_recorded or len(probabilities) >= 32 or probabilities.shape[1] < 16:
        return probabilities, expected
    turned = np.concatenate([examination.pixels[:, ::-1], examination.pixels[:, :, ::-1]])[:24]
    turned = np.ascontiguousarray(turned)
    try:
        more = examination.candidate.predict(turned)
    except EXPECTED:
        return probabilities, expected
    from conversion.deployed import pixels_to_tensor

    values = np.asarray(more.probabilities, np.float64)
    if values.shape[1:] != probabilities.shape[1:] or more.labels is not None:
        return probabilities, expected
    return (
        np.concatenate([probabilities, values]),
        np.concatenate([expected, examination.torch.answer(pixels_to_tensor(turned))]),
    )


def match_columns(answers: np.ndarray, expected: np.ndarray, head: Head = HEADS[PROBABILITIES]) -> list[int] | None:
    """Find the column of each class; None where the columns do not say."""
    first, second = head.columns(answers, expected)
    columns = _candidates(first, second)
    apart = np.zeros(columns.shape)
    for one, other in zip(first, second, strict=True):  # image by image, or it would be too large at once
        np.maximum(apart, np.abs(one[columns] - other[:, None]), out=apart)
    every = np.arange(len(columns))
    order: list[int] = columns[every, apart.argmin(axis=1)].tolist()
    if len(set(order)) < len(order):
        # The pairing of hundreds of thousands would take hours.
        order = pair(apart) if first.shape[1] <= _EXHAUSTIVE else _one_to_one(apart, columns)
    nearest = np.abs(first[:, order] - second).max(axis=0)
    return order if float(np.median(nearest)) < 0.05 else None


def _candidates(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """List the columns of `first` that may be those of each class: [classes, candidates].

    All of them, up to a thousand or so. The pairs of more are too many: looked at are the column at the class's own
    place, which wins where several are equal, and those that are about as probable over all images.
    """
    outputs, classes = first.shape[1], second.shape[1]
    if outputs <= _EXHAUSTIVE:
        return np.tile(np.arange(outputs), (classes, 1))
    ranked, sums = np.argsort(first.sum(axis=0), kind="stable"), np.sort(first.sum(axis=0), kind="stable")
    middle = np.searchsorted(sums, second.sum(axis=0))
    near = np.clip(middle[:, None] + np.arange(-_NEAR, _NEAR), 0, outputs - 1)
    return np.concatenate([np.arange(classes)[:, None], ranked[near]], axis=1)


def _one_to_one(apart: np.ndarray, columns: np.ndarray) -> list[int]:
    """Give every class a column of its own, the surest pairs first; what is left over in the end as it comes."""
    order = [-1] * len(apart)
    taken: set[int] = set()
    rows, places = np.unravel_index(np.argsort(apart, axis=None, kind="stable"), apart.shape)
    for row, column in zip(rows.tolist(), columns[rows, places].tolist(), strict=True):
        if order[row] < 0 and column not in taken:
            order[row] = column
            taken.add(column)
            if len(taken) == len(order):
                break
    left = iter(column for column in range(int(columns.max()) + 1 if -1 in order else 0) if column not in taken)
    return [next(left) if column < 0 else column for column in order]


def _roll(order: Sequence[int]) -> int | None:
    count = len(order)
    for shift in (1, -1):
        if list(order) == [(i + shift) % count for i in range(count)]:
            return shift
    return None


def _taken(prediction: Prediction, examination: Examination, order: Sequence[int], head: Head) -> Prediction:
    """Take the columns that hold the classes, in PyTorch's order."""
    values = np.asarray(prediction.probabilities, np.float64)
    labels = examination.file.labels
    if prediction.labels is not None and labels and len(labels) == len(prediction.labels):
        places = {label: i for i, label in enumerate(prediction.labels)}
        if all(label in places for label in labels):
            values = values[:, [places[label] for label in labels]]
    values = values[:, list(order)]
    if head.sums_to_one and bool((values >= 0).all()) and len(order) < prediction.probabilities.shape[1]:
        values = values / np.maximum(values.sum(axis=1, keepdims=True), _SMALLEST)
    return replace(prediction, probabilities=values, labels=examination.reference.model.labels, top1=None)


def _by_place(prediction: Prediction, labels: Sequence[str], wanted: Sequence[str]) -> Prediction:
    """Name the outputs by their place in the file's list of labels."""
    if prediction.labels is None or set(prediction.labels) != set(labels):
        return replace(prediction, labels=None, top1=None)
    names = dict(zip(labels, wanted, strict=True))
    return relabelled(prediction, [names[label] for label in prediction.labels])


def _plain(label: str) -> str:
    """Drop what spelling alone decides: case, underscores, blanks, Unicode's forms, synonyms after a comma."""
    text = unicodedata.normalize("NFKC", label).casefold().split(",")[0]
    return re.sub(r"[\s_-]+", " ", text).strip()
