"""Faults in what is done to the logits: softmax missing, doubled, over the wrong axis; another temperature.

Where labels are judged apart it is sigmoid that is missing or doubled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from conversion.task import LABELS_APART
from parity.audit.mutant import Mutant, Original, none
from parity.formats.editing import Editable
from parity.formats.graph import Operation, bias_of

_SOFTMAX = ("head-softmax-missing", "head-softmax-twice", "head-softmax-axis")
_SIGMOID = ("head-sigmoid-missing", "head-sigmoid-twice")
FAULTS = (*_SOFTMAX, *_SIGMOID, "head-temperature")
# What may stand behind the operation that gives the answer.
_BEHIND = ("cast", "identity", "reshape", "squeeze", "expanddims", "unsqueeze", "flatten")


def mutants(original: Original) -> Iterator[Mutant]:
    """Change what makes probabilities of the logits, and the logits in front of it."""
    apart = original.reference.prediction.measured[0].kind == LABELS_APART
    yield from _sigmoid(original) if apart else _softmax(original)
    for fault in _SOFTMAX if apart else _SIGMOID:
        yield from none(fault, f"labels are {'' if apart else 'not '}judged apart")
    if not original.kernels:
        yield from none("head-temperature", "no operation has learnt weights")
        return
    operation, place = original.kernels[-1]
    classes = len(original.reference.classifier.labels)
    added = bias_of(operation, place, original.graph.consumers(), classes)
    operations = {one.name: one for one in (operation, *(added or ())[:1])}
    edit = partial(_halve, tuple(operations.values()))
    yield Mutant("head-temperature", "logits halved", remedies=("unsure",), edit=edit)


def _sigmoid(original: Original) -> Iterator[Mutant]:
    last = next((o for o in reversed(original.behind) if o.plain_type not in _BEHIND), None)
    if last is None or not _is_sigmoid(last):
        for fault in _SIGMOID:
            yield from none(fault, "the file does not end with sigmoid")
        return
    yield Mutant(_SIGMOID[0], "sigmoid taken out", edit=lambda model: model.bypass(last.name))
    yield Mutant(_SIGMOID[1], "sigmoid done twice", edit=lambda model: model.repeat(last.name))


def _is_sigmoid(operation: Operation) -> bool:
    return operation.plain_type == "sigmoid" or "activation.sigmoid" in operation.attributes


def _softmax(original: Original) -> Iterator[Mutant]:
    softmaxes = [operation for operation in original.behind if operation.plain_type.startswith("softmax")]
    if not softmaxes:
        for fault in _SOFTMAX:
            yield from none(fault, "the file has no softmax")
    else:
        last = softmaxes[-1]
        yield Mutant(_SOFTMAX[0], "softmax taken out", edit=lambda model: model.bypass(last.name))
        yield Mutant(_SOFTMAX[1], "softmax done twice", edit=lambda model: model.repeat(last.name))
        yield Mutant(_SOFTMAX[2], "softmax over the images", edit=partial(_over_images, last))


def _over_images(softmax: Operation, model: Editable) -> None:
    model.verbs.set_softmax_axis(model.content, softmax.name, 0)


def _halve(operations: Sequence[Operation], model: Editable) -> None:
    for operation in operations:
        for place, array in operation.weights.items():
            if array.ndim:
                model.set_weight(operation.name, place, array / 2)
