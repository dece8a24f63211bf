"""Weights that are not the classifier's: by the audit, and undone by putting the classifier's in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis import fixes
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.interface import name_permutation

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.types import WeightFinding, WeightKind
    from parity.formats.editing import Edit, Editable

_FAULTS: Mapping[WeightKind, str] = {
    "shared by mistake": "wt-initializer-collision",
    "batch-norm mean and variance swapped": "wt-bn-fold",
    "batch-norm epsilon lost": "g-norm-eps",
    "batch norm folded without its bias": "wt-bn-fold",
    "batch-norm statistics not loaded": "wt-not-loaded",
    "rows permuted": "wt-permuted",
    "columns permuted": "wt-permuted",
    "transposed": "wt-transposed",
    "scaled": "wt-scaled",
    "quantised": "p-weight-quant",
    "rounded to fp16": "p-weight-fp16",
    "zeroed": "wt-zeroed",
    "non-finite": "wt-non-finite",
    "not loaded": "wt-not-loaded",
    "other numbers": "wt-other-numbers",
}
_FEW, _MOST = 4, 0.6
# More findings than two or three faults make.
_MANY = 12
# Releases of onnxscript whose rewriter names a folded bias after the convolution's input: two share one.
_COLLIDING = ("0.5.0", "0.5.1", "0.5.2", "0.5.3", "0.5.4", "0.5.5", "0.5.6")


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Undo each kind of finding, those that are faults by themselves first, then all of these at once."""
    by_kind: dict[WeightKind, list[WeightFinding]] = {}
    # Of those that are compressed as the file says, the family of compression tells what they cost.
    wrong = [finding for finding in examination.weight_findings if not finding.compressed]
    kinds = [finding.kind for finding in wrong]
    most = max(kinds, key=kinds.count, default=None)
    # What was done to nearly all weights was done to all: where it shows less it has another name.
    whole = most is not None and len(kinds) > _FEW and kinds.count(most) > _MOST * len(kinds)
    heads = [f for f in wrong if _classes_axis(examination, f) is not None]
    moved = _order(examination, heads[0]) if heads else None
    if moved:
        yield _labels(examination, moved, heads)
    others = [f for f in wrong if not (moved and any(f is head for head in heads))]
    for finding in sorted(others, key=lambda f: f.harmless):
        by_kind.setdefault(most if whole and most else finding.kind, []).append(finding)
    for kind, findings in by_kind.items():
        worst = min(findings, key=lambda f: f.snr_db)
        repair = Repair(edit=replaced(findings), fix="convert(classifier, route, directory)")
        if order := _first_layer(examination, findings):
            yield _channels(examination, order, worst, repair)
        else:
            yield Suspect(_FAULTS[kind], _sentence(examination, worst, len(findings)), repair, seen=True)
    if len(by_kind) > 1 and len(others) > _MANY:
        yield _whole(examination, others)


def _whole(examination: Examination, findings: Sequence[WeightFinding]) -> Suspect:
    """Take what is wrong in many ways all over the file for one fault: its weights are others."""
    kinds = [finding.kind for finding in findings]
    kind: WeightKind = "not loaded" if "not loaded" in kinds else max(kinds, key=kinds.count)
    worst = min((f for f in findings if f.kind == kind), key=lambda f: f.snr_db)
    message = _sentence(examination, worst, len(findings))
    repair = Repair(edit=replaced(findings), fix="convert(classifier, route, directory)")
    return Suspect(_FAULTS[kind], message, repair, seen=True)


def replaced(findings: Sequence[WeightFinding]) -> Edit:
    """Make the edit that puts the classifier's weights in the place of these."""

    def edit(model: Editable) -> None:
        for finding in findings:
            model.set_weight(finding.operation, finding.place, finding.repaired)

    return edit


def _sentence(examination: Examination, worst: WeightFinding, count: int) -> str:
    sentence = f"Weight {worst.message}"
    if count > 1:
        sentence += f"; so do {count - 1} more"
    provenance = examination.file.artifact.provenance
    script = provenance.packages.get("onnxscript", "") if provenance else ""
    if worst.kind == "shared by mistake" and script in _COLLIDING:
        sentence += (
            f"; onnxscript {script} gives two convolutions that read one value one bias: upgrade to 0.5.7 or later"
        )
    return f"{sentence}."


def _classes_axis(examination: Examination, finding: WeightFinding) -> int | None:
    """Find the axis of the classes in a weight of the last layer whose rows or columns changed places."""
    classes, shape = len(examination.reference.model.labels), finding.repaired.shape
    axis = {"rows permuted": 0, "columns permuted": 1}.get(finding.kind)
    return axis if axis is not None and len(shape) > axis and shape[axis] == classes else None


def _order(examination: Examination, finding: WeightFinding) -> list[int] | None:
    """Find which class each output has the weights of."""
    weight, axis = _weight(examination, finding), _classes_axis(examination, finding)
    if weight is None or axis is None or weight.shape != finding.repaired.shape:
        return None
    rows, wanted = (np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in (weight, finding.repaired))
    order = [int(np.abs(wanted - row).sum(axis=1).argmin()) for row in rows]
    return order if len(set(order)) == len(order) else None


def _labels(examination: Examination, order: Sequence[int], findings: Sequence[WeightFinding]) -> Suspect:
    labels = examination.reference.model.labels
    count = len(order)
    shifted = [i for i in (1, -1) if list(order) == [(place + i) % count for place in range(count)]]
    return Suspect(
        "lab-off-by-one-background" if shifted and count > 2 else "lab-order-permuted",
        f"The rows of the last layer `{findings[0].module}` changed places ({name_permutation(order, labels)}), "
        "which is the same as labels in that order.",
        Repair(edit=replaced(findings)),
        seen=True,
    )


def _weight(examination: Examination, finding: WeightFinding) -> np.ndarray | None:
    graph = examination.file.graph
    operations = graph.operations if graph else ()
    return next((o.weights.get(finding.place) for o in operations if o.name == finding.operation), None)


def _first_layer(examination: Examination, findings: Sequence[WeightFinding]) -> tuple[int, ...] | None:
    """Find the order of the colours that the first layer's kernel is written for, where that is all."""
    if len(findings) != 1:
        return None
    finding = findings[0]
    weight = _weight(examination, finding)
    if weight is None or weight.shape != finding.repaired.shape or weight.ndim != 4 or weight.shape[1] != 3:
        return None
    for order in permutations(range(3)):
        if order != (0, 1, 2) and np.allclose(weight, finding.repaired[:, list(order)], rtol=5e-3, atol=1e-3):
            return order
    return None


def _channels(examination: Examination, order: tuple[int, ...], finding: WeightFinding, repair: Repair) -> Suspect:
    letters = "".join("RGB"[i] for i in order)
    return Suspect(
        "pre-bgr-swap" if letters == "BGR" else "pre-channel-order",
        f"The first layer `{finding.module or finding.operation}` is written for {letters} images: the input "
        f"channels of its weights are exchanged, or, which is the same, it expects {letters} pixels and gets RGB.",
        repair,
        seen=True,
        # The network's channel i wants the image's channel order[i], and gets its i-th.
        fix=fixes.channels(examination, [order.index(i) for i in range(3)], normalised=True),
    )
