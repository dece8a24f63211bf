"""Where an artefact and PyTorch part, and meet again.

One value of the artefact is tried in the place of one of PyTorch's: the pair behind which the values meet again is
where the fault lies, however different the two are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from parity.diagnosis.align import Alignment, BothSides, Parting, align, is_varied, stand_in
from parity.diagnosis.source import VIEWS
from parity.formats.graph import Graph, Operation

if TYPE_CHECKING:
    import torch

# How far behind a fault the values are looked at, in operations; how many must meet again to be sure; how many
# unsound operations are tried.
_WINDOW, _SURE, _TRIED = 60, 2, 12


def unexplained(
    sides: BothSides, known: Mapping[str, Any], doubted: AbstractSet[str] = frozenset()
) -> list[Operation]:
    """List the operations whose result is none of PyTorch's, and is not just a step towards one that is.

    doubted: values that are among the known, and count as no such result.
    """
    graph, tensors = sides.graph, sides.values.tensors
    consumers = graph.consumers()
    sound: dict[str, bool] = {}
    unsound: list[Operation] = []
    for operation in reversed(graph.operations):
        names = [name for name in operation.outputs if name in tensors]
        for name in names:
            readers = consumers.get(name, [])
            onward = bool(readers) and all(sound.get(after, True) for reader in readers for after in reader.outputs)
            dead = not readers and name != graph.output
            step = name != graph.output and name not in doubted and (onward or dead)
            sound[name] = (name in known and name not in doubted) or step
        if not all(sound[name] for name in names):
            unsound.append(operation)
    return unsound[::-1]


def part(sides: BothSides, alignment: Alignment, unsound: list[Operation]) -> Parting | None:
    """Find the first pair of values behind which an artefact and PyTorch meet again; None where they do not."""
    best: tuple[int, Parting] | None = None
    program, graph = sides.program, sides.graph
    for parting, begin in _pairs(sides, alignment, unsound):
        again = align(sides, (parting,), alignment, (begin, begin + _WINDOW))
        met = {
            name
            for name in again.explained.keys() - alignment.explained.keys()
            if again.explained[name] != parting.source
            and program.steps[program.producer[again.explained[name]]].type not in VIEWS
            and is_varied(sides.values.tensors[name])
        }
        score = len(met)
        # Nothing comes after the answer itself that could agree again.
        if parting == Parting(graph.output, program.output):
            score += 1
        if score >= _SURE:
            return parting
        if score and (best is None or score > best[0]):
            best = (score, parting)
    return best[1] if best else None


def _pairs(sides: BothSides, alignment: Alignment, unsound: list[Operation]) -> Iterator[tuple[Parting, int]]:
    """List what may stand for what, the likeliest first, with the operation behind which to look."""
    program, graph, tensors = sides.program, sides.graph, sides.values.tensors
    explained, expected = alignment.explained, alignment.expected
    head = unsound[0]
    read = _origins(head, graph, explained)
    start = max((program.producer.get(number, -1) for number in read), default=-1)
    unmet = [
        (number, step.index)
        for step in program.steps[start + 1 : start + 1 + _WINDOW // 2]
        for number in step.outputs
        if number is not None and number in expected and not alignment.matches.get(number)
    ]
    # An operation too few: the value that goes in stands for what should come out.
    for name in (name for name in head.inputs if name in explained):
        for number, index in unmet[:4]:
            if _fits(tensors[name], expected[number].exact):
                yield Parting(name, number), index + 1
    for operation in unsound[:_TRIED]:
        for name in (name for name in operation.outputs if name in tensors):
            for number, index in unmet[: 2 * _TRIED]:
                if _fits(tensors[name], expected[number].exact):
                    yield Parting(name, number), index + 1
            # Operations too many: what they make stands for what they read.
            for number in _origins(operation, graph, explained):
                if _fits(tensors[name], expected[number].exact):
                    yield Parting(name, number), program.producer.get(number, -1) + 1
    if program.output in expected and graph.output in tensors:
        yield Parting(graph.output, program.output), len(program.steps)


def _origins(operation: Operation, graph: Graph, explained: Mapping[str, int]) -> list[int]:
    """List PyTorch's values that an operation reads, itself or through others that give none of them."""
    producers = graph.producers()
    pending, seen, origins = list(operation.inputs), set[str](), dict[int, None]()
    while pending:
        name = pending.pop(0)
        if name in explained:
            origins[explained[name]] = None
        elif name in producers and name not in seen:
            pending += producers[name].inputs
        seen.add(name)
    return list(origins)


def _fits(value: torch.Tensor, expected: torch.Tensor) -> bool:
    return value.numel() > 1 and stand_in(value, expected) is not None
