"""The first operation of an artefact whose inputs agree with PyTorch and whose output does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import OPERATION_FACTOR, OPERATION_FLOORS
from parity.diagnosis.agreement import excess
from parity.diagnosis.align import (
    Candidates,
    Parting,
    Walk,
    candidates,
    part,
    stand_in,
    unexplained,
    walk,
)
from parity.diagnosis.difference import describe
from parity.diagnosis.source import VIEWS, Program, Step, record
from parity.diagnosis.types import WRAPPER, Difference, Located
from parity.formats.graph import Graph, Operation, read_graph
from parity.formats.trace import open_trace

if TYPE_CHECKING:
    import torch

    from conversion import Artifact
    from parity.backends.reference import Reference
    from parity.suite.images import ImageSet

# Numbers kept of one value over all images: enough to see in which way it differs.
_KEPT = 4_000_000
# More faults than anybody repairs at once; behind so many the rest of the network says no more.
MOST = 12
# Enough for the first to be among them: they are found about in their order, and each takes a walk.
FIRST = 3
# What PyTorch and the formats call operations that are one: a part of the name, in lower case.
_FAMILIES = (
    ("conv", "conv"),
    ("addmm", "gemm linear matmul innerproduct"),
    ("mm", "gemm linear matmul innerproduct"),
    ("norm", "norm"),
    ("pool", "pool"),
    ("mean", "pool reducemean reduce_mean"),
    ("relu", "relu"),
    ("hardtanh", "clip relu6"),
    ("softmax", "softmax"),
)


@dataclass
class _Found:
    """Collect what is seen of one parting, image by image."""

    parting: Parting
    group: tuple[Operation, ...]
    operation: Operation
    steps: tuple[Step, ...]
    # Nothing behind it meets again, so that nothing more is looked for.
    kind: str = ""
    final: bool = False
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    allowed: float = 0.0
    images: list[int] = field(default_factory=list)


def divergences(
    reference: Reference,
    artifact: Artifact,
    images: ImageSet | None = None,
    optimised: bool = False,
    most: int = MOST,
) -> tuple[Located, ...]:
    """Name all such operations, in the order of the artefact; behind each, PyTorch goes on from its result.

    images: others than the reference's. optimised: see open_trace. most: behind so many, no more are looked for.
    """
    import torch

    from conversion.deployed import deployed_module, pixels_to_tensor

    given = (images or reference.images).pixels
    if not len(given):
        return ()
    graph, trace = read_graph(artifact), open_trace(artifact, optimised)
    program: Program | None = None
    seen: list[_Found] = []
    noise = None
    for number, pixels in enumerate(given):
        values = trace(pixels)
        image = pixels_to_tensor(np.repeat(pixels[None], len(values[graph.input]), axis=0))
        if program is None:
            program = record(deployed_module(reference.classifier), image)
        with torch.inference_mode():
            here = candidates(values, graph)
            del values
            found, lost = _walk_on(program, graph, here, image, artifact.precision, seen, noise, most)
            noise = noise or {n: expected.noise for n, expected in found.expected.items()}
            for one in (*seen, *([lost] if lost else [])):
                _note(one, found, here, artifact.precision, number)
        if lost:
            seen.append(lost)
    told = [_located(one, graph) for one in seen if one.images]
    return tuple(sorted(told, key=lambda located: located.index))


def _walk_on(
    program: Program,
    graph: Graph,
    here: Candidates,
    image: torch.Tensor,
    precision: str,
    seen: list[_Found],
    noise: object,
    most: int,
) -> tuple[Walk, _Found | None]:
    """Walk through one image, adding to `seen` whatever parts there; what parts for good is given apart."""
    while True:
        partings = tuple(one.parting for one in seen if one.parting.source >= 0)
        found = walk(program, image, here, partings, precision, noise=noise)  # type: ignore[arg-type]
        if graph.input not in found.matches[0] and not any(one.parting.source == 0 for one in seen):
            image_itself = Operation(0, graph.input, "input", (), (graph.input,), {}, {}, {})
            seen.append(_Found(Parting(graph.input, 0), (image_itself,), image_itself, ()))
            continue
        known = {**found.explained, **{one.parting.value: -1 for one in seen}}
        bad = unexplained(graph, here, known)
        ends = {Parting(graph.output, program.output)} & set(partings)
        if not bad and graph.output in here.values and not ends:
            same = graph.output in found.matches.get(program.output, ())
            if not same and found.values.get(program.output) is found.expected.get(program.output):
                seen.append(_missing_end(program, graph, found))
                continue
        if not bad or len(seen) >= most or any(one.final for one in seen):
            return found, None
        parting = part(program, graph, here, found, bad, precision)
        if parting is None or parting in partings:
            return found, _lost(program, graph, here, found, bad)
        seen.append(_parted(program, graph, here, found, bad, parting))


def _parted(
    program: Program, graph: Graph, here: Candidates, found: Walk, bad: Sequence[Operation], parting: Parting
) -> _Found:
    producers = graph.producers()
    steps = _steps_behind(program, found, parting.source)
    maker = producers.get(parting.value)
    if parting.value in found.explained or maker is None:
        # The value itself is sound; what PyTorch makes of it is what the artefact lacks.
        reader = next((o for o in bad if parting.value in o.inputs), bad[0])
        return _Found(parting, (reader,), reader, steps, "missing operation")
    if found.matches.get(parting.source):
        return _Found(parting, (maker,), maker, steps, "extra operation")
    group = _group(bad, maker)
    return _Found(parting, group, _first_unsound(group, here, found, steps), steps)


def _missing_end(program: Program, graph: Graph, found: Walk) -> _Found:
    steps = _steps_behind(program, found, program.output)
    maker = graph.producers()[graph.output]
    return _Found(Parting(graph.output, program.output), (maker,), maker, steps, "missing operation")


def _lost(program: Program, graph: Graph, here: Candidates, found: Walk, bad: Sequence[Operation]) -> _Found:
    """Take the first operation that PyTorch has not, where nothing behind it meets again, NaN for instance."""
    head = bad[0]
    name = next(name for name in head.outputs if name in here.values)
    read = [found.explained[n] for n in head.inputs if n in found.explained]
    start = max((program.producer.get(number, -1) for number in read), default=-1)
    chosen: Step | None = None
    source = -1
    for step in program.steps[start + 1 :]:
        for number in step.outputs:
            if number is None or number not in found.expected or found.matches.get(number):
                continue
            if stand_in(here.values[name], found.expected[number].exact) is None:
                continue
            better = chosen is None or (_akin(step, head) and not _akin(chosen, head))
            # A batch norm behind a convolution is part of it.
            follows = chosen is not None and step.type.endswith("norm") and set(step.inputs) & set(chosen.outputs)
            if better or follows:
                chosen, source = step, number
        if chosen is not None and step.index > chosen.index + 2:
            break
    steps = (chosen,) if chosen else ()
    return _Found(Parting(name, source), (head,), head, steps, final=True)


def _group(bad: Sequence[Operation], maker: Operation) -> tuple[Operation, ...]:
    """List the unsound operations that lead to one, in order: with it they do what PyTorch does in one."""
    wanted, group = set(maker.inputs), [maker]
    for operation in reversed([o for o in bad if o.index < maker.index]):
        if wanted.intersection(operation.outputs):
            wanted.update(operation.inputs)
            group.append(operation)
    return tuple(group[::-1])


def _first_unsound(group: Sequence[Operation], here: Candidates, found: Walk, steps: Sequence[Step]) -> Operation:
    """Find the operation of a group that is to blame.

    On the way through a formula two writings of it differ by factors, squares and reciprocals; what is none of
    PyTorch's values even up to those is unsound.
    """
    own = [n for step in steps for n in (*step.inputs, *step.outputs) if n is not None and n in found.expected]
    for operation in group[:-1]:
        names = [name for name in operation.outputs if name in here.values]
        if names and not any(
            _akin_values(here.values[name], found.expected[n].exact) for name in names for n in own
        ):
            return operation
    return group[-1]


def _akin_values(value: torch.Tensor, expected: torch.Tensor) -> bool:
    import torch

    if value.numel() != expected.numel() or value.numel() < 3:
        return False
    flat = [value.flatten().double(), expected.flatten().double()]
    logs = [t.abs().clamp_min(1e-30).log() for t in flat]
    for a, b in (flat, logs):
        a, b = a - a.mean(), b - b.mean()
        size = float(a.norm() * b.norm())
        if size > 0 and abs(float(a @ b)) > (1 - 1e-5) * size and bool(torch.isfinite(a).all()):
            return True
    return False


def _steps_behind(program: Program, found: Walk, source: int) -> tuple[Step, ...]:
    """List PyTorch's operations from the last values that the artefact has up to one that it should have."""
    wanted, steps = [source], dict[int, Step]()
    while wanted:
        index = program.producer.get(wanted.pop())
        if index is None or index in steps:
            continue
        steps[index] = program.steps[index]
        wanted += [number for number in steps[index].inputs if not found.matches.get(number)]
    return tuple(steps[index] for index in sorted(steps) if steps[index].type not in VIEWS)


def _akin(step: Step, operation: Operation) -> bool:
    kind = operation.type.lower()
    return any(ours in step.type and any(t in kind for t in theirs.split()) for ours, theirs in _FAMILIES)


def _note(one: _Found, found: Walk, here: Candidates, precision: str, number: int) -> None:
    """Note whether a parting shows on one image, and keep its two values."""
    if one.parting.source < 0:
        one.images.append(number)
        return
    expected = found.expected.get(one.parting.source)
    value = stand_in(here.values[one.parting.value], expected.exact) if expected else None
    if expected is None or value is None:
        return
    if value.shape == expected.exact.shape and excess(value, expected, precision) <= 1:
        return
    one.images.append(number)
    size = expected.size if expected.finite else 0.0
    one.allowed = max(
        one.allowed, OPERATION_FACTOR * expected.noise.whole * size + OPERATION_FLOORS[precision] * size
    )
    if sum(pair[0].numel() for pair in one.pairs) + value.numel() <= _KEPT or not one.pairs:
        one.pairs.append((value.clone(), expected.exact.clone()))


def _located(one: _Found, graph: Graph) -> Located:
    import torch

    difference = Difference("broadband", "gives what nothing in PyTorch gives")
    if one.pairs:
        first = one.pairs[0]
        alike = [p for p in one.pairs if p[0].shape == first[0].shape and p[1].shape == first[1].shape]
        value, expected = (torch.cat([pair[side] for pair in alike]) for side in (0, 1))
        difference = describe(value, expected, one.allowed)
    step = next((s for s in one.steps if _akin(s, one.operation)), one.steps[-1] if one.steps else None)
    source, module = (step.whole, step.module) if step else ("", WRAPPER)
    if one.kind == "missing operation":
        step = one.steps[0] if one.steps else step
        source, module = (step.whole, step.module) if step else (source, module)
        names = " and ".join(dict.fromkeys(s.whole for s in one.steps))
        told = f"{names} is missing between `{one.parting.value}` and it" if names else "something is missing"
        if one.parting.value == graph.output:
            told = f"{names} is missing behind it"
        difference = Difference("missing operation", told, difference.figures)
    elif one.kind == "extra operation":
        told = f"PyTorch has no such operation here; its result {difference.told}"
        difference = Difference("extra operation", told, difference.figures)
    return Located(
        operation=one.operation.name,
        type=one.operation.type,
        index=one.operation.index,
        of=len(graph.operations),
        value=one.parting.value,
        module=module,
        source=source,
        difference=difference,
        sources=tuple(dict.fromkeys(s.module for s in one.steps)),
        group=tuple(operation.name for operation in one.group) if len(one.group) > 1 else (),
        images=tuple(one.images),
        number=one.parting.source,
    )
