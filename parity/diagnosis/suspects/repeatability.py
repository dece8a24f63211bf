"""Answers that depend on more than the image: on chance, on the other images of a batch."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.backends.reference import Reference
from parity.core.refusals import refusals
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.environment import with_answers
from parity.formats import format_of

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.formats.editing import Editable
    from parity.formats.graph import Graph, Operation


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Run the same twice, and let PyTorch use batch statistics."""
    yield from _chance(examination)
    yield from _batch_statistics(examination)


def _chance(examination: Examination) -> Iterator[Suspect]:
    if examination.candidate.apart_twice <= 1e-6:
        return
    apart = f"Two identical runs differ by {examination.candidate.apart_twice:.2g}"
    message = f"{apart}: dropout is active, or something else is random."
    able = format_of(examination.file.artifact).HAS_TRAINING_SWITCHES
    repair = Repair(edit=_without_training, fix="model.eval()") if able else None
    yield Suspect("mode-dropout-live", message, repair, seen=True)


def _batch_statistics(examination: Examination) -> Iterator[Suspect]:
    """Look for batch norm that was left in training mode: in the file, or by PyTorch's answers in that mode."""
    import torch

    norms = [m for m in examination.reference.model.module.modules() if isinstance(m, _norms(torch))]
    if not norms:
        return
    editable = examination.file.editable
    if training := editable.verbs.training_norms(editable.content):
        yield Suspect(
            "mode-train-bn",
            f"BatchNorm runs on batch statistics in {len(training)} operation(s), "
            f"`{training[0]}` first: the model was exported in training mode.",
            Repair(edit=_without_training, fix="model.eval()"),
            seen=True,
        )
    computed = _batch_means(examination.file.graph)
    learnt = any(norm.running_mean is not None and not norm.training for norm in norms)
    if computed and learnt:
        where = f"the file computes mean and variance of the images themselves in {len(computed)} place(s)"
        message = (
            f"BatchNorm runs on batch statistics: {where}, `{computed[0]}` first, where PyTorch has learnt ones"
        )
    else:
        message = "BatchNorm runs on batch statistics: PyTorch in training mode answers as the file does"
    yield Suspect(
        "mode-train-bn",
        f"{message}; the model was exported in training mode.",
        Repair(
            reference=_in_training,
            evidence="PyTorch in training mode gives the same answers",
            fix="model.eval()",
        ),
        seen=bool(computed and learnt),
        suffices=bool(computed and learnt),
    )


def _batch_means(graph: Graph | None) -> list[str]:
    """Name the operations that take the mean over images and pixels, of what it is taken from again.

    So a converter spells a batch norm in training mode. No other layer takes a mean over the images of a batch.
    """
    if graph is None:
        return []
    readers = graph.consumers()
    names = []
    for mean in graph.operations:
        if "mean" not in mean.type.lower() or len(mean.inputs) != 1 or not _over_images(mean):
            continue
        pair = {mean.inputs[0], mean.outputs[0]}
        if any("sub" in reader.type.lower() and set(reader.inputs) == pair for reader in readers[mean.inputs[0]]):
            names.append(mean.name)
    return names


def _over_images(mean: Operation) -> bool:
    try:
        axes = ast.literal_eval(mean.attributes.get("axes", ""))
    except (ValueError, SyntaxError):
        return False
    return isinstance(axes, list | tuple) and len(axes) > 1 and 0 in axes


def _norms(torch: Any) -> tuple[Any, ...]:
    return torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm


def _in_training(reference: Reference) -> Reference:
    import torch

    from conversion.deployed import answer_singly, deployed_module

    module = copy.deepcopy(reference.model.module)
    deployed = deployed_module(replace(reference.model, module=module))
    for part in module.modules():
        if isinstance(part, _norms(torch)):
            part.train()
            part.momentum = 0.0
    with refusals("PyTorch in training mode"):
        return with_answers(reference, answer_singly(deployed, reference.images.pixels))


def _without_training(model: Editable) -> None:
    model.verbs.stop_training(model.content)
