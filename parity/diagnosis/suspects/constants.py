"""Single numbers in a network's formulas: an epsilon, a slope, a factor that PyTorch has otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import EPSILON_MOST
from parity.diagnosis.constants import Constant, bounds_of_operation, bounds_of_step, of_operation, of_step
from parity.diagnosis.naming import group_of
from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.types import place as place_of
from parity.formats.graph import MOVING

if TYPE_CHECKING:
    from parity.diagnosis.examination import Examination
    from parity.diagnosis.source import Step
    from parity.diagnosis.types import Located
    from parity.formats.editing import Editable
    from parity.formats.graph import Graph, Operation


# Behind these a small number that was added keeps from dividing by nothing.
_DIVIDING = ("sqrt", "rsqrt", "inverse", "reciprocal", "div", "realdiv", "pow")
_LAYING_OUT = MOVING | {"expand", "tile", "broadcastto", "squeeze"}
# So many operations before the one that was located: what holds one number alone is not compared by itself.
_BEFORE = 3


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compare the numbers around each operation that was located with those of PyTorch's operations there."""
    graph, program = examination.file.graph, examination.torch.program
    if graph is None or program is None:
        return
    alike: dict[tuple[str, float, float], dict[str, tuple[Operation, Constant]]] = {}
    places: dict[tuple[str, float, float], str] = {}
    for one in examination.divergences:
        steps = [step for step in program.steps if step.module in {one.module, *one.sources}]
        wanted = [(constant, step.module) for step in steps for constant in _of_step(step)]
        for operation, constant in _constants(examination, graph, one):
            right = _other(constant, [w for w, _ in wanted if w.kind == constant.kind])
            if right is not None:
                module = next(module for w, module in wanted if (w.kind, w.number) == (constant.kind, right))
                places.setdefault((constant.kind, constant.number, right), module)
                alike.setdefault((constant.kind, constant.number, right), {})[operation.name] = (
                    operation,
                    constant,
                )
    for (kind, number, right), wrong in alike.items():
        operation, _ = next(iter(wrong.values()))
        module = places[kind, number, right]
        more = f"; so do {len(wrong) - 1} more" if len(wrong) > 1 else ""
        fault, does = _named(graph, operation, kind, right)
        yield Suspect(
            fault,
            f"`{operation.name}` ({operation.type}) {does.format(f'{number:.6g}')} where PyTorch has {right:.6g}, "
            f"in {place_of(module)}{more}.",
            Repair(edit=partial(_edit, changes=tuple(wrong.values()), number=right)),
            seen=True,
        )


def _constants(examination: Examination, graph: Graph, one: Located) -> Iterator[tuple[Operation, Constant]]:
    """List the numbers of an operation that was located, of its group, and of what leads to it."""
    producers = graph.producers()
    reached = {operation.index: operation for operation in group_of(examination, one)}
    edge = list(reached.values())
    for _ in range(_BEFORE):
        edge = [producers[name] for operation in edge for name in operation.inputs if name in producers]
        reached |= {operation.index: operation for operation in edge}
    for index in sorted(reached):
        operation = reached[index]
        constant = of_operation(operation)
        yield from (
            (operation, one) for one in (*([constant] if constant else ()), *bounds_of_operation(operation))
        )


def _of_step(step: Step) -> Iterator[Constant]:
    constant = of_step(step)
    yield from (*([constant] if constant else ()), *bounds_of_step(step))


def _other(constant: Constant, wanted: Sequence[Constant]) -> float | None:
    """Choose PyTorch's number that a number should be; None where it is one of them, or there is none."""
    numbers = sorted({one.number for one in wanted}, key=lambda number: abs(number - constant.number))
    if not numbers or any(np.isclose(number, constant.number, rtol=1e-4, atol=0) for number in numbers):
        return None
    return numbers[0]


def _named(graph: Graph, operation: Operation, kind: str, right: float) -> tuple[str, str]:
    """Name the fault, and say what the operation does with its number."""
    divides = any(reader.plain_type in _DIVIDING for reader in _readers(graph, operation))
    if kind in ("add", "max") and divides and 0 < right <= EPSILON_MOST:
        return "g-norm-eps", "has the epsilon {}"
    if kind in ("max", "min"):
        return "g-clip", f"takes {'at least' if kind == 'max' else 'at most'} {{}}"
    return {"add": ("g-constant", "adds {}"), "mul": ("g-scale", "multiplies by {}")}.get(
        kind, ("g-constant", "raises to the power {}")
    )


def _readers(graph: Graph, operation: Operation) -> list[Operation]:
    """List what reads an operation's number, the operations apart that lay it out otherwise."""
    consumers = graph.consumers()
    readers = list(consumers.get(operation.outputs[0], ()))
    for reader in readers:
        if reader.plain_type in _LAYING_OUT:
            readers += [one for name in reader.outputs for one in consumers.get(name, ()) if one not in readers]
    return readers


def _edit(model: Editable, changes: Sequence[tuple[Operation, Constant]], number: float) -> None:
    for operation, constant in changes:
        # To subtract and to divide are their own inverses: what reads a number writes it, too.
        shape = operation.weights[constant.place].shape
        model.set_weight(operation.name, constant.place, np.full(shape, constant.written(number), np.float32))
