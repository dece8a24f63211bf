"""What stands between logits and probabilities: absent, twice, of another axis, or something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import HALF_SUM
from parity.diagnosis.heads import Head, logit, softmax, unsoftmax
from parity.diagnosis.repair import Repair, with_numbers
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.outputs import has_unread_head
from parity.diagnosis.suspects.sigmoid_head import of_labels_apart
from parity.diagnosis.suspects.temperature import temperatures
from parity.formats.editing import settings

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination

_SMALLEST = 1e-30


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Read the outputs' range, and compare them with PyTorch's as a head of their kind lets them be."""
    outputs, head = examination.candidate.probabilities, examination.torch.head
    if head is not None and outputs is not None and outputs.ndim == 2:
        yield from _READ[head.activation](examination, outputs, head)


def _of_classes(examination: Examination, outputs: np.ndarray, head: Head) -> Iterator[Suspect]:
    """Read the outputs' range and sums, and compare their logarithms with PyTorch's."""
    expected = examination.torch.probabilities
    if outputs.shape[1] < 2:
        return
    yield from _axis(examination)
    if not np.isfinite(outputs).all():
        yield from _infinite(outputs)
        return
    sums = outputs.sum(axis=1)
    low, high = float(outputs.min()), float(outputs.max())
    if low < 0 and _are_logarithms(outputs):
        yield Suspect(
            "head-log-softmax",
            f"The output is log-probabilities ({low:.3g} to {high:.3g}): exp(output) sums to 1.",
            _change(np.exp, "end the model with softmax, not with log_softmax"),
            seen=True,
        )
    elif low < -1e-3 or high > 1 + 1e-3:
        if bool((np.abs(sums - 100) < 100 * HALF_SUM).all()) and low >= 0:
            yield Suspect(
                "head-percent",
                "The probabilities sum to 100, not to 1: the output is multiplied by 100.",
                _change(lambda p: p / 100, "divide the output by 100"),
                seen=True,
            )
        if has_unread_head(examination, head):
            return
        yield Suspect(
            "head-softmax-missing",
            f"The output is logits ({low:.3g} to {high:.3g}, sums {sums.min():.3g} to {sums.max():.3g}): softmax "
            "is missing.",
            _change(softmax, "model = torch.nn.Sequential(model, torch.nn.Softmax(dim=1))"),
            seen=True,
        )
    elif bool((np.abs(sums - 1) < HALF_SUM).all()):
        yield from _probabilities(outputs, expected)
        yield from temperatures(examination, outputs, head)
    else:
        yield from _no_distribution(outputs, sums)


def _are_logarithms(outputs: np.ndarray) -> bool:
    return bool((outputs <= 1e-6).all()) and bool((np.abs(np.exp(outputs).sum(axis=1) - 1) < HALF_SUM).all())


def _probabilities(outputs: np.ndarray, expected: np.ndarray) -> Iterator[Suspect]:
    """Look at outputs that sum to 1 and are none of PyTorch's all the same."""
    classes = outputs.shape[1]
    # The most that softmax can make of numbers that are probabilities already.
    bound = float(np.e / (np.e + classes - 1))
    inner = unsoftmax(outputs)
    # Outputs that are about the same for every class are within the bound too, but there is nothing inside.
    telling = float(np.median(np.ptp(inner, axis=1))) > 0.3 * float(np.median(np.ptp(expected, axis=1)))
    within = float(inner.min()) > -HALF_SUM and float(outputs.max()) <= bound * (1 + 1e-2)
    if within and telling and float(expected.max()) > 1.2 * bound:
        yield Suspect(
            "head-softmax-twice",
            f"Softmax is applied twice: no probability is above e/(e+{classes - 1}) = {bound:.3g}, and log(output) "
            "is the probabilities plus a constant.",
            _change(unsoftmax, "remove one of the two softmax"),
            seen=True,
        )


def _no_distribution(outputs: np.ndarray, sums: np.ndarray) -> Iterator[Suspect]:
    range_of_sums = f"the sums over classes are {sums.min():.3g} to {sums.max():.3g}"
    inner = np.clip(outputs, 1e-7, 1 - 1e-7)
    yield Suspect(
        "head-sigmoid",
        f"The output is sigmoid of the logits where softmax is meant: {range_of_sums}.",
        _change(lambda p: softmax(logit(p)), "end the model with torch.nn.Softmax(dim=1)"),
    )
    yield Suspect(
        "head-softmax-missing",
        f"The output is logits between {inner.min():.3g} and {inner.max():.3g}: {range_of_sums}, and softmax is "
        "missing.",
        _change(softmax, "model = torch.nn.Sequential(model, torch.nn.Softmax(dim=1))"),
    )
    if float(outputs.min()) >= 0:
        yield Suspect(
            "head-scaled",
            f"The probabilities are not divided by their sum: {range_of_sums}.",
            _change(lambda p: p / np.maximum(p.sum(axis=1, keepdims=True), _SMALLEST), ""),
        )


def _axis(examination: Examination) -> Iterator[Suspect]:
    """Look for a softmax at the end that normalises another axis than the classes'."""
    graph = examination.file.graph
    if graph is None:
        return
    values = None
    for operation in reversed(graph.operations[-12:]):
        if operation.type.lower() not in ("softmax", "softmaxnd", "logsoftmax"):
            continue
        values = values if values is not None else examination.candidate.values(examination.pixels[0])
        if values is None or operation.inputs[0] not in values or operation.outputs[0] not in values:
            return
        before, after = values[operation.inputs[0]], values[operation.outputs[0]]
        count = examination.torch.probabilities.shape[1]
        classes = [axis for axis, size in enumerate(before.shape) if size == count]
        if len(classes) != 1:
            return
        total = after.sum(axis=classes[0])
        if (
            before.shape == after.shape
            and operation.type.lower() != "logsoftmax"
            and not np.allclose(total, 1, atol=HALF_SUM)
        ):
            single = [a for a in range(after.ndim) if np.allclose(after.sum(axis=a), 1, atol=HALF_SUM)]
            own = operation.attributes.get("axis")
            axis = int(own) % after.ndim if own is not None else (single or [0])[0]
            wanted, name = classes[0], operation.name
            yield Suspect(
                "head-softmax-axis",
                f"Probabilities sum to 1 over axis {axis}, not over the classes (axis {wanted}): softmax "
                f"`{name}` runs on the wrong axis.",
                Repair(edit=settings({name: {"axis": wanted}}), fix="torch.softmax(logits, dim=1)"),
                seen=True,
            )
        return


def _infinite(outputs: np.ndarray) -> Iterator[Suspect]:
    finite = outputs[np.isfinite(outputs)]
    count = int(np.isneginf(outputs).sum())
    if count and not bool(np.isnan(outputs).any()) and finite.size and finite.max() <= 1e-3:
        yield Suspect(
            "head-logsoftmax-inf",
            f"Log-probabilities contain -inf ({count} of {outputs.size}): fp16 underflow inside log(softmax).",
            _change(np.exp, "end the model with softmax, not with log_softmax"),
            seen=True,
        )


def _change(function: Callable[[np.ndarray], np.ndarray], fix: str) -> Repair:
    return Repair(answers=with_numbers(function), fix=fix)


# Activation -> what reads outputs that should be its own.
_READ: Mapping[str, Callable[[Examination, np.ndarray, Head], Iterator[Suspect]]] = {
    "softmax": _of_classes,
    "sigmoid": of_labels_apart,
}
