"""Operations that compute something else than PyTorch's, whatever it is: undone by letting PyTorch do them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.types import Kind, Located

# More operations than this are not undone one by one: it costs a trace for each.
_MOST = 4
_KINDS: Mapping[Kind, str] = {
    "non-finite": "p-fp16-overflow",
    "shape": "g-shape",
    "border only": "g-pad-border",
    "shift": "g-pad-asymmetric",
    "mirrored": "geo-orientation",
    "channel permutation": "g-channel-order",
    "missing operation": "g-operation-missing",
    "extra operation": "g-operation-added",
    "saturation": "g-clip",
}
# PyTorch's operation, as a part of its name -> fault, where the kind says little.
_SOURCES = (
    ("_aa", "g-resize-antialias-dropped"),
    ("upsample", "g-resize-mode"),
    ("adaptive_avg_pool", "g-adaptive-pool"),
    ("gelu", "g-gelu-variant"),
    ("norm", "g-norm-eps"),
    ("log_softmax", "head-logsoftmax-inf"),
)


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Name every operation that was located; several are undone together too."""
    graph = examination.graph
    if examination.program is None or graph is None:
        return
    # What is wrong before the first operation is the input's family's.
    located = [one for one in examination.divergences if one.type != "input" and one.value != graph.input]
    chance = examination.apart_twice
    for one in located[:_MOST]:
        fault, told = _fault(one), _sentence(one)
        if chance > 1e-6:
            fault, told = (
                "mode-dropout-live",
                f"Two identical runs differ by {chance:.2g}: dropout is active. {told}",
            )
        yield Suspect(fault, told, _repair(examination, [one]), seen=True)
    if 1 < len(located) <= _MOST:
        told = "; ".join(_sentence(one)[:-1] for one in located)
        yield Suspect(_fault(located[0]), f"{told}.", _repair(examination, located))


def _fault(one: Located) -> str:
    if "norm" in one.source and any(
        word in f"{one.type} {' '.join(one.group)}".lower() for word in ("reduce", "mvn")
    ):
        return "mode-train-bn"
    return next((fault for part, fault in _SOURCES if part in one.source), _KINDS.get(one.kind, "g-operation"))


def _sentence(one: Located) -> str:
    told = one.told
    return f"{told[0].upper()}{told[1:]}."


def _repair(examination: Examination, located: Sequence[Located]) -> Repair:
    return Repair(run=partial(_run, examination=examination, located=tuple(located)))


def _run(artifact: Artifact, examination: Examination, located: tuple[Located, ...]) -> Predict:
    from parity.diagnosis.graft import grafted

    assert examination.graph is not None
    assert examination.program is not None
    return grafted(artifact, examination.graph, examination.program, examination.divergences, located)
