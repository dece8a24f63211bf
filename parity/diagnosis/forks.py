"""Where an artefact and PyTorch part: which operation is to blame, and which of PyTorch's it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from parity.diagnosis.align import Alignment, BothSides, ImageValues, Parting, stand_in
from parity.diagnosis.source import VIEWS, Program, Step
from parity.formats.graph import Operation

if TYPE_CHECKING:
    import torch

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
class Fork:
    """Hold one parting, and collect what is seen of it, image by image.

    operation: the one to blame, of the group that together does what PyTorch does in one. steps: PyTorch's.
    final: nothing behind it meets again, so that nothing more is looked for.
    pairs: the artefact's value and PyTorch's. allowed: what rounding may cost. images: those on which it shows.
    """

    parting: Parting
    group: tuple[Operation, ...]
    operation: Operation
    steps: tuple[Step, ...]
    kind: Literal["", "missing operation", "extra operation"] = ""
    final: bool = False
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    allowed: float = 0.0
    images: list[int] = field(default_factory=list)

    @property
    def step(self) -> Step | None:
        """PyTorch's operation that it is about."""
        if self.kind == "missing operation" and self.steps:
            return self.steps[0]
        alike = (step for step in self.steps if _is_alike(step, self.operation))
        return next(alike, self.steps[-1] if self.steps else None)


def input_fork(sides: BothSides) -> Fork:
    """Take the image itself for what is different."""
    name = sides.graph.input
    image = Operation(0, name, "input", (), (name,), {}, {}, {})
    return Fork(Parting(name, 0), (image,), image, ())


def fork_at(sides: BothSides, alignment: Alignment, unsound: Sequence[Operation], parting: Parting) -> Fork:
    """Find the operation that is to blame for a parting."""
    steps = steps_behind(sides.program, alignment, parting.source)
    producer = sides.graph.producers().get(parting.value)
    if parting.value in alignment.explained or producer is None:
        # The value itself is sound; what PyTorch makes of it is what the artefact lacks.
        reader = next((o for o in unsound if parting.value in o.inputs), unsound[0])
        return Fork(parting, (reader,), reader, steps, "missing operation")
    group = _group(unsound, producer)
    if alignment.matches.get(parting.source):
        own = (sides.program.steps[sides.program.producer[parting.source]],) if parting.source else ()
        extra = _first_unsound(group, sides.values, alignment, own)
        return Fork(parting, group, extra, steps, "extra operation")
    return Fork(parting, group, _first_unsound(group, sides.values, alignment, steps), steps)


def missing_end(sides: BothSides, alignment: Alignment) -> Fork:
    """Blame the end of an artefact whose operations are all sound, and whose answer is not PyTorch's."""
    graph, program = sides.graph, sides.program
    producer = graph.producers()[graph.output]
    steps = steps_behind(program, alignment, program.output)
    return Fork(Parting(graph.output, program.output), (producer,), producer, steps, "missing operation")


def final_fork(sides: BothSides, alignment: Alignment, unsound: Sequence[Operation]) -> Fork:
    """Take the first operation that PyTorch has not, where nothing behind it meets again, NaN for instance."""
    program, tensors = sides.program, sides.values.tensors
    head = unsound[0]
    name = next(name for name in head.outputs if name in tensors)
    read = [alignment.explained[n] for n in head.inputs if n in alignment.explained]
    start = max((program.producer.get(number, -1) for number in read), default=-1)
    chosen: Step | None = None
    source = -1
    for step in program.steps[start + 1 :]:
        for number in step.outputs:
            if number is None or number not in alignment.expected or alignment.matches.get(number):
                continue
            if stand_in(tensors[name], alignment.expected[number].exact) is None:
                continue
            better = chosen is None or (_is_alike(step, head) and not _is_alike(chosen, head))
            # A batch norm behind a convolution is part of it.
            follows = chosen is not None and step.type.endswith("norm") and set(step.inputs) & set(chosen.outputs)
            if better or follows:
                chosen, source = step, number
        if chosen is not None and step.index > chosen.index + 2:
            break
    steps = (chosen,) if chosen else ()
    return Fork(Parting(name, source), (head,), head, steps, final=True)


def _group(unsound: Sequence[Operation], last: Operation) -> tuple[Operation, ...]:
    """List the unsound operations that lead to one, in order: with it they do what PyTorch does in one."""
    read, group = set(last.inputs), [last]
    for operation in reversed([o for o in unsound if o.index < last.index]):
        if read.intersection(operation.outputs):
            read.update(operation.inputs)
            group.append(operation)
    return tuple(group[::-1])


def _first_unsound(
    group: Sequence[Operation], values: ImageValues, alignment: Alignment, steps: Sequence[Step]
) -> Operation:
    """Find the operation of a group that is to blame.

    Inside a formula two writings of it differ by factors, squares and reciprocals; what is none of PyTorch's values
    even up to those is unsound.
    """
    numbers = [n for step in steps for n in (*step.inputs, *step.outputs) if n is not None]
    own = [alignment.expected[n].exact for n in numbers if n in alignment.expected]
    for operation in group[:-1]:
        results = [values.tensors[name] for name in operation.outputs if name in values.tensors]
        if results and not any(_is_power_of(result, expected) for result in results for expected in own):
            return operation
    return group[-1]


def _is_power_of(value: torch.Tensor, expected: torch.Tensor) -> bool:
    """Say whether a value is a multiple of another, or of a power of it."""
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


def steps_behind(program: Program, alignment: Alignment, source: int) -> tuple[Step, ...]:
    """List PyTorch's operations from the last values that the artefact has up to one that it should have."""
    pending, steps = [source], dict[int, Step]()
    while pending:
        index = program.producer.get(pending.pop())
        if index is None or index in steps:
            continue
        steps[index] = program.steps[index]
        pending += [number for number in steps[index].inputs if not alignment.matches.get(number)]
    return tuple(steps[index] for index in sorted(steps) if steps[index].type not in VIEWS)


def _is_alike(step: Step, operation: Operation) -> bool:
    kind = operation.type.lower()
    return any(ours in step.type and any(t in kind for t in theirs.split()) for ours, theirs in _FAMILIES)
