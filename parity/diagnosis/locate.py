"""The first operation of an artefact whose inputs agree with PyTorch and whose output does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import OPERATION_FACTOR, OPERATION_FLOORS
from parity.diagnosis.agreement import Noise, excess
from parity.diagnosis.align import Alignment, BothSides, Parting, align, image_values, stand_in
from parity.diagnosis.difference import describe
from parity.diagnosis.forks import Fork, final_fork, fork_at, input_fork, missing_end, steps_behind
from parity.diagnosis.heads import activation_of
from parity.diagnosis.partings import part, unexplained
from parity.diagnosis.recording import record
from parity.diagnosis.source import Program
from parity.diagnosis.types import WRAPPER, Difference, Located
from parity.formats.graph import Graph, read_graph
from parity.formats.trace import Trace, open_trace

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends.reference import Reference
    from parity.suite.images import ImageSet

# Numbers kept of one value over all images: enough to see in which respect it differs.
_KEPT = 4_000_000
# More faults than anybody repairs at once; behind so many the rest of the network says no more.
MOST = 12
# Rounding of so many operations in a row, added up, is as much as a fault that is small.
STRETCH = 14
# Enough for the first to be among them: they come about in their order, and each takes an alignment.
FIRST = 3


def divergences(
    reference: Reference,
    artifact: Artifact,
    images: ImageSet | None = None,
    optimised: bool = False,
    most: int = MOST,
) -> tuple[Located, ...]:
    """Name all such operations, in the order of the artefact; behind each, PyTorch goes on from its result.

    images: others than the reference's. optimised: see open_trace. most: behind so many, no more are looked for.
    Where none is found, values that are the same after a long stretch that is not are no longer taken for sound.
    """
    shown = (images or reference.images).pixels
    if not len(shown):
        return ()
    graph, trace = read_graph(artifact), open_trace(artifact, optimised)
    forks = _forks(reference, artifact, shown, (graph, trace), most, doubtful=False)
    if not any(fork.images for fork in forks):
        forks = _forks(reference, artifact, shown, (graph, trace), min(most, FIRST), doubtful=True)
        # What such a stretch excuses is small: a value of another shape is an operation of another place.
        forks = [fork for fork in forks if all(value.shape == expected.shape for value, expected in fork.pairs)]
    head = activation_of(reference.model.task.outputs[0])
    located = [_located(fork, graph, head) for fork in forks if fork.images]
    return tuple(sorted(located, key=lambda one: one.index))


def _forks(
    reference: Reference,
    artifact: Artifact,
    shown: np.ndarray,
    file: tuple[Graph, Trace],
    most: int,
    doubtful: bool,
) -> list[Fork]:
    """Walk through images, uint8 [N, H, W, 3], one after the other; file: its operations, and what shows values."""
    import torch

    from conversion.deployed import deployed_module, pixels_to_tensor

    graph, trace = file
    program: Program | None = None
    forks: list[Fork] = []
    noise: dict[int, Noise] | None = None
    for number, pixels in enumerate(shown):
        arrays = trace(pixels)
        image = pixels_to_tensor(np.repeat(pixels[None], len(arrays[graph.input]), axis=0))
        if program is None:
            program = record(deployed_module(reference.model), image)
        with torch.inference_mode():
            sides = BothSides(program, image, graph, image_values(arrays, graph), artifact.precision)
            del arrays
            alignment, last = _walk_through(sides, forks, noise, most, doubtful)
            noise = noise or {n: expected.noise for n, expected in alignment.expected.items()}
            for fork in (*forks, *([last] if last else [])):
                _note(fork, alignment, sides, number)
        if last:
            forks.append(last)
    return forks


def _walk_through(
    sides: BothSides, forks: list[Fork], noise: Mapping[int, Noise] | None, most: int, doubtful: bool
) -> tuple[Alignment, Fork | None]:
    """Walk through one image, adding to `forks` wherever the two part there; what parts for good comes apart.

    doubtful: what rounding costs a long stretch of operations excuses none of them.
    """
    program, graph = sides.program, sides.graph
    while True:
        partings = tuple(fork.parting for fork in forks if fork.parting.source >= 0)
        alignment = align(sides, partings, noise=noise)
        if graph.input not in alignment.matches[0] and not any(fork.parting.source == 0 for fork in forks):
            forks.append(input_fork(sides))
            continue
        doubted = _excused_by_a_stretch(program, alignment) if doubtful else frozenset[str]()
        known = {**alignment.explained, **{fork.parting.value: -1 for fork in forks}}
        unsound = unexplained(sides, known, doubted - {fork.parting.value for fork in forks})
        ends = {Parting(graph.output, program.output)} & set(partings)
        if not unsound and graph.output in sides.values.tensors and not ends:
            same = graph.output in alignment.matches.get(program.output, ())
            if not same and alignment.values.get(program.output) is alignment.expected.get(program.output):
                forks.append(missing_end(sides, alignment))
                continue
        if not unsound or len(forks) >= most or any(fork.final for fork in forks):
            return alignment, None
        parting = part(sides, alignment, unsound)
        if parting is None or parting in partings:
            return alignment, None if doubtful else final_fork(sides, alignment, unsound)
        forks.append(fork_at(sides, alignment, unsound, parting))


def _excused_by_a_stretch(program: Program, alignment: Alignment) -> frozenset[str]:
    """List values that are the same only because rounding of many operations in a row may come to as much."""
    lengths = {
        number: len(steps_behind(program, alignment, number)) for number in set(alignment.explained.values())
    }
    return frozenset(name for name, number in alignment.explained.items() if lengths[number] > STRETCH)


def _note(fork: Fork, alignment: Alignment, sides: BothSides, number: int) -> None:
    """Note whether a fork shows on one image, and keep its two values."""
    if fork.parting.source < 0:
        fork.images.append(number)
        return
    expected, precision = alignment.expected.get(fork.parting.source), sides.precision
    value = stand_in(sides.values.tensors[fork.parting.value], expected.exact) if expected else None
    if expected is None or value is None:
        return
    if value.shape == expected.exact.shape and excess(value, expected, precision) <= 1:
        return
    fork.images.append(number)
    size = expected.size if expected.finite else 0.0
    allowed = OPERATION_FACTOR * expected.noise.whole * size + OPERATION_FLOORS[precision] * size
    fork.allowed = max(fork.allowed, allowed)
    if sum(pair[0].numel() for pair in fork.pairs) + value.numel() <= _KEPT or not fork.pairs:
        fork.pairs.append((value.clone(), expected.exact.clone()))


def _located(fork: Fork, graph: Graph, head: str) -> Located:
    step = fork.step
    return Located(
        operation=fork.operation.name,
        type=fork.operation.type,
        index=fork.operation.index,
        of=len(graph.operations),
        value=fork.parting.value,
        module=step.module if step else WRAPPER,
        source=step.whole if step else "",
        difference=_difference(fork, graph),
        sources=tuple(dict.fromkeys(step.module for step in fork.steps)),
        group=tuple(operation.name for operation in fork.group) if len(fork.group) > 1 else (),
        images=tuple(fork.images),
        number=fork.parting.source,
        head=head,
    )


def _difference(fork: Fork, graph: Graph) -> Difference:
    difference = _measured(fork)
    if fork.kind == "missing operation":
        names = " and ".join(dict.fromkeys(step.whole for step in fork.steps))
        if fork.parting.value == graph.output:
            message = f"{names} is missing behind it"
        elif names:
            message = f"{names} is missing between `{fork.parting.value}` and it"
        else:
            message = "something is missing"
        return Difference("missing operation", message, difference.figures)
    if fork.kind == "extra operation":
        message = f"PyTorch has no such operation here; its result {difference.message}"
        return Difference("extra operation", message, difference.figures)
    return difference


def _measured(fork: Fork) -> Difference:
    """Describe the two values over all images on which they have the shapes of the first."""
    import torch

    if not fork.pairs:
        return Difference("broadband", "gives what nothing in PyTorch gives")
    first = fork.pairs[0]
    alike = [p for p in fork.pairs if p[0].shape == first[0].shape and p[1].shape == first[1].shape]
    value, expected = (torch.cat([pair[side] for pair in alike]) for side in (0, 1))
    return describe(value, expected, fork.allowed)
