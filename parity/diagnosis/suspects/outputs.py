"""Which value of the file goes out as the probabilities: an output of another name, or the wrong value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.outputs import read_outputs, told_shape
from parity.core.noise import HALF_SUM
from parity.diagnosis.fixes import fix
from parity.diagnosis.heads import Head
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.formats.graph import MOVING
from parity.formats.outputs import wanted_output

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.examination import Examination
    from parity.formats.editing import Editable
    from parity.formats.graph import Graph

# Values that are tried by running the file, where it cannot be traced.
_MOST = 4


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Read each output where none could be chosen; else look for PyTorch's answer among all values of the file."""
    head = examination.torch.head
    if examination.candidate.is_recorded or any(repair.run for repair in examination.candidate.repairs):
        return
    if examination.candidate.prediction is None:
        yield from _unnamed(examination)
    if head is not None:
        yield from _wrong(examination, head)


def _unnamed(examination: Examination) -> Iterator[Suspect]:
    """Try each output of a file that has none of the expected name and several, or none, of the right shape."""
    artifact = examination.file.artifact
    declared, shapes = read_outputs(artifact)
    wanted = wanted_output(artifact)
    if artifact.output or (declared in shapes if declared else wanted in shapes) or not shapes:
        return
    listed = ", ".join(f"`{name}` {told_shape(shape)}" for name, shape in shapes.items())
    asked = f"predictedProbabilitiesName says `{declared}`" if declared else f"Expected output `{wanted}`"
    for name in shapes:
        yield Suspect(
            "i-output-renamed",
            f"{asked}; the {artifact.format} model calls it `{name}` (its outputs: {listed}).",
            Repair(
                run=partial(_read, name=name, batch=examination.candidate.batch),
                evidence="read there, the answers agree",
                fix=_fix(artifact, name, declared),
            ),
        )
    named = _fix(artifact, next(iter(shapes)), declared)
    yield Suspect(
        "i-output-renamed",
        f"{asked}; the {artifact.format} model has no output of that name, and which of {listed} holds the "
        f"probabilities cannot be told; name it, as by {named}.",
        seen=True,
    )


def _read(artifact: Artifact, name: str, batch: int) -> Predict:
    from parity.backends import backends_for, find_backend

    able = next(b for b in backends_for(artifact.format) if find_backend(b).why_not() is None)
    there = replace(artifact, output=name, bound=tuple((own, name) for own, _ in artifact.bound))
    return find_backend(able).load(there, batch)


def _fix(artifact: Artifact, name: str, declared: str) -> str:
    line = "declared output" if declared else "output's name"
    return fix(line, artifact.format, name=name, wanted=wanted_output(artifact))


def _wrong(examination: Examination, head: Head) -> Iterator[Suspect]:
    graph, artifact = examination.file.graph, examination.file.artifact
    if graph is None:
        return
    line = "wrong array" if artifact.bound else "wrong output"
    for name, seen in _candidates(examination, graph, head):
        producer = graph.producers().get(name)
        by = f" (what {producer.type} `{producer.name}` gives)" if producer else ""
        yield Suspect(
            "i-wrong-output",
            f"The probabilities are taken from the wrong value: {_place(artifact)} is "
            f"`{graph.output}`{_what(graph, head)}, and PyTorch's answer is in `{name}`{by}.",
            Repair(
                edit=partial(_pointed, was=graph.output, name=name),
                fix=fix(line, artifact.format, name=name, wanted=wanted_output(artifact)),
            ),
            seen=seen,
        )


def has_unread_head(examination: Examination, head: Head) -> bool:
    """Say whether a head's operation is there and the answer is taken from what it reads: it is not missing.

    The head of another of the model's outputs reads something else.
    """
    graph = examination.file.graph
    if graph is None:
        return False
    used, read = _ancestors(graph), _unmoved(graph, graph.output)
    producers = graph.producers()
    unread = [producers[name] for name in _ends(graph, head) if name not in used]
    return any(_unmoved(graph, name) == read for end in unread for name in end.inputs)


def _unmoved(graph: Graph, name: str) -> str:
    """Return the value that a value is, but for its shape and type."""
    producers = graph.producers()
    while (maker := producers.get(name)) and maker.plain_type in MOVING and maker.inputs:
        name = maker.inputs[0]
    return name


def _candidates(examination: Examination, graph: Graph, head: Head) -> Iterator[tuple[str, bool]]:
    """Name values that may be PyTorch's answer, and whether each was seen to be it, or to be left unused."""
    # Where the answer is worked out from the right value, what was put behind that is at fault, not the output.
    used = _ancestors(graph)
    unused = [name for name in _ends(graph, head) if name not in used]
    rows = [_rows(examination, row) for row in examination.screen]
    if not all(rows):
        yield from ((name, False) for name in unused[:_MOST])
        return
    wanted = examination.torch.probabilities[examination.screen]
    # An answer of another size, the best class say, is none, wherever it comes from.
    strange = graph.output not in rows[0]
    open_to = [name for name in rows[0] if strange or name not in used]
    alike = [name for name in open_to if _near(rows, name, wanted, examination.tolerance)]
    if strange and not alike:
        logits = [{name: _answer(row, head) for name, row in values.items()} for values in rows]
        alike = [name for name in open_to if _near(logits, name, wanted, examination.tolerance)]
    yield from ((name, True) for name in alike[-1:])
    for name in unused[:_MOST]:
        row = rows[0].get(name)
        if name not in alike and row is not None and (not head.sums_to_one or abs(float(row.sum()) - 1) < HALF_SUM):
            yield name, True


def _rows(examination: Examination, image: int) -> dict[str, np.ndarray]:
    """Return all values of one image that have a number for each class; none where it cannot be traced."""
    classes = examination.torch.probabilities.shape[1]
    values = examination.candidate.values(examination.pixels[image]) or {}
    rows = {name: _row(value, classes) for name, value in values.items()}
    return {name: row for name, row in rows.items() if row is not None}


def _near(rows: list[dict[str, np.ndarray]], name: str, wanted: np.ndarray, allowed: float) -> bool:
    if not all(name in row for row in rows):
        return False
    return bool(np.abs(np.array([row[name] for row in rows], np.float64) - wanted).max() <= allowed)


def _row(value: np.ndarray, classes: int) -> np.ndarray | None:
    """Read a value as one answer, the first of a batch; None where it has another size."""
    if value.dtype.kind != "f" or not value.size or value.size % classes:
        return None
    batch = value.shape[0] if value.ndim > 1 else 1
    if value.size != batch * classes or [size for size in value.shape[-value.ndim + 1 :] if size > 1] != [classes]:
        return None
    row: np.ndarray = value.reshape(batch, classes)[0]
    return row


def _answer(row: np.ndarray, head: Head) -> np.ndarray:
    with np.errstate(all="ignore"):
        return head.probabilities(np.asarray(row, np.float64))


def _ends(graph: Graph, head: Head) -> list[str]:
    ends = [operation for operation in graph.operations if operation.type.lower() in head.types]
    return [operation.outputs[0] for operation in reversed(ends)]


def _ancestors(graph: Graph) -> set[str]:
    """List the values that the answer is worked out from, itself among them."""
    producers, ancestors, pending = graph.producers(), set(), [graph.output]
    while pending:
        name = pending.pop()
        if name not in ancestors:
            ancestors.add(name)
            pending += producers[name].inputs if name in producers else ()
    return ancestors


def _place(artifact: Artifact) -> str:
    if artifact.bound:
        return "the output"
    places = {"onnx": "the output", "mlprogram": "what classify reads"}
    return places.get(artifact.format, "labelProbabilityLayerName")


def _what(graph: Graph, head: Head) -> str:
    producer = graph.producers().get(graph.output)
    readers = [reader.type for reader in graph.consumers().get(graph.output, [])]
    if any(kind.lower() in head.types for kind in readers):
        return f", the logits before {head.activation}"
    return f", what {producer.type} gives" if producer else ""


def _pointed(model: Editable, was: str, name: str) -> None:
    model.set_output(was, name)
