"""Faults in what is done to the logits: softmax missing, doubled, over the wrong axis; another temperature."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from parity.audit.mutant import Mutant, Original, none
from parity.formats.editing import Editable
from parity.formats.graph import Operation

FAULTS = ("head-softmax-missing", "head-softmax-twice", "head-softmax-axis", "head-temperature")


def mutants(original: Original) -> Iterator[Mutant]:
    """Change the last softmax, and the logits in front of it."""
    softmaxes = [operation for operation in original.behind if operation.plain_type.startswith("softmax")]
    if not softmaxes:
        for fault in FAULTS[:3]:
            yield from none(fault, "the file has no softmax")
    else:
        last = softmaxes[-1]
        yield Mutant(FAULTS[0], "softmax taken out", edit=lambda model: model.bypass(last.name))
        yield Mutant(FAULTS[1], "softmax done twice", edit=lambda model: model.repeat(last.name))
        yield Mutant(FAULTS[2], "softmax over the images", edit=partial(_over_images, last))
    if not original.kernels:
        yield from none(FAULTS[3], "no operation has learnt weights")
        return
    operation, _ = original.kernels[-1]
    yield Mutant(FAULTS[3], "logits halved", remedies=("unsure",), edit=partial(_halve, operation))


def _over_images(softmax: Operation, model: Editable) -> None:
    model.verbs.set_softmax_axis(model.content, softmax.name, 0)


def _halve(operation: Operation, model: Editable) -> None:
    for place, array in operation.weights.items():
        if array.ndim:
            model.set_weight(operation.name, place, array / 2)
