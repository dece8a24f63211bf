"""What is wrong before anything is compared: the reference, or the file that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.reference import Reference
from parity.core.refusals import refusals
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.weights import replaced

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Ask PyTorch again, and compare the weights' hash with the file's note."""
    yield from _reference(examination)
    yield from _stale(examination)


def _reference(examination: Examination) -> Iterator[Suspect]:
    """Let PyTorch answer again, in evaluation mode: a reference that says something else is no reference."""
    apart = examination.torch.apart(asked_again(examination.reference).prediction.probabilities)
    if apart > 1e-4:
        yield Suspect(
            "mode-reference-in-train",
            f"The PyTorch reference was in training mode: in evaluation mode it answers otherwise, by {apart:.2g}; "
            "call .eval() before comparing.",
            Repair(
                reference=asked_again,
                evidence="PyTorch in evaluation mode gives the same answers",
                fix="module.eval()",
            ),
            seen=True,
        )


def asked_again(reference: Reference, pixels: np.ndarray | None = None) -> Reference:
    """Let PyTorch answer again, in evaluation mode; pixels: others than the reference's."""
    from conversion.deployed import answer_singly, deployed_module

    images = reference.images.pixels if pixels is None else pixels
    with refusals("PyTorch"):
        return with_answers(reference, answer_singly(deployed_module(reference.model), images))


def _stale(examination: Examination) -> Iterator[Suspect]:
    from conversion.provenance import weights_hash

    provenance = examination.file.artifact.provenance
    if provenance is None or examination.candidate.repairs:
        return
    here = weights_hash(examination.reference.model)
    if provenance.weights == here:
        return
    findings = [f for f in examination.weight_findings if not f.harmless]
    yield Suspect(
        "wt-stale-artifact",
        f"The file was built from other weights: their hash is {provenance.weights[:8]}..., the classifier's "
        f"{here[:8]}...; convert again.",
        Repair(edit=replaced(findings), fix="convert(classifier, route, directory)") if findings else None,
        seen=True,
    )


def with_answers(reference: Reference, probabilities: np.ndarray) -> Reference:
    """Give a reference other answers."""
    return replace(reference, prediction=replace(reference.prediction, probabilities=probabilities))
