"""Plan once, run many times: order the nodes, find what can be overwritten and freed, then just go through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.program import Graph, Node


class OperationError(CoreMLError):
    """An operation fails; the message names it, so that an operation around it has nothing to add."""


# A node with its inputs' and its outputs' places.
_Wired = tuple[Node, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Step:
    """One node with its values' places in the run's list of values.

    frees: places whose value nobody needs after this step.
    """

    node: Node
    run: Callable[..., tuple[Any, ...]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    frees: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Hold a graph in the form in which it runs; `make_plan` makes it.

    traced: every node, one step each; `steps` leaves out what nothing reads.
    places: name -> place in a run's list of values; the graph's inputs have the first ones, in order.
    outputs: the places of the graph's outputs.
    initial: what stands in the places after the inputs when a run begins.
    """

    where: str
    graph: Graph
    steps: tuple[Step, ...]
    traced: tuple[Step, ...]
    places: Mapping[str, int]
    outputs: tuple[int, ...]
    initial: tuple[Any, ...]

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run the graph on input values by name and return its outputs by name."""
        return dict(zip(self.graph.outputs, self.call(*self._ordered(feeds)), strict=True))

    def call(self, *inputs: Any) -> tuple[Any, ...]:
        """Run the graph on input values and return its outputs, both in the graph's order."""
        values = [*inputs, *self.initial]
        for step in self.steps:
            for place, result in zip(step.outputs, self._compute(step, values), strict=True):
                values[place] = result
            for place in step.frees:
                values[place] = None
        return tuple([values[place] for place in self.outputs])

    def trace(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run the graph, keep every value that an operation gives, and return them by name, in order."""
        values = [*self._ordered(feeds), *self.initial]
        kept: dict[str, Any] = {}
        for step in self.traced:
            results = self._compute(step, values)
            for place, result, value in zip(step.outputs, results, step.node.outputs, strict=True):
                values[place] = result
                kept[value.name] = result
        return kept

    def _ordered(self, feeds: Mapping[str, Any]) -> list[Any]:
        return [feeds[value.name] for value in self.graph.inputs]

    def _compute(self, step: Step, values: list[Any]) -> tuple[Any, ...]:
        try:
            return step.run(*[values[place] for place in step.inputs])
        except OperationError:
            raise
        except Exception as error:  # torch's own: a shape that does not fit, memory that runs out
            # Only a branch not taken and a loop without an iteration leave a value out.
            absent = [n for n, place in zip(step.node.inputs, step.inputs, strict=True) if values[place] is None]
            text = f"nothing that ran gave `{absent[0]}`" if absent else " ".join(str(error).split())
            where = f"{self.where}: operation `{step.node.name}` ({step.node.type})"
            raise OperationError(f"{where} fails: {text or type(error).__name__}") from error


def make_plan(graph: Graph, where: str) -> Plan:
    """Plan a graph.

    where: the file and function, for errors. A value that is read before anything gives it (a missing operation,
    a cycle) is a CoreMLError.
    """
    places: dict[str, int] = {}
    initial: list[Any] = []

    def place_of(name: str, value: Any = None) -> int:
        if name in places:
            raise CoreMLError(f"{where}: the value `{name}` is defined twice; the file is damaged, convert again")
        places[name] = len(initial)
        initial.append(value)
        return places[name]

    for value in graph.inputs:
        place_of(value.name)
    for name, constant in graph.constants.items():
        place_of(name, constant)

    wired: list[_Wired] = []
    for node in graph.nodes:
        for name in node.inputs:
            if name not in places:
                raise CoreMLError(
                    f"{where}: operation `{node.name}` ({node.type}) reads `{name}`, which nothing before gives; "
                    "the file is damaged, convert again"
                )
        inputs = tuple(places[name] for name in node.inputs)
        wired.append((node, inputs, tuple(place_of(value.name) for value in node.outputs)))
    outputs_at: list[int] = []
    for name in graph.outputs:
        value_name = graph.aliases.get(name, name)
        if value_name not in places:
            raise CoreMLError(f"{where}: the output `{name}` is given by no operation; convert again")
        outputs_at.append(places[value_name])
    traced = tuple(Step(node, node.run, inputs, outputs, ()) for node, inputs, outputs in wired)
    wired = _needed(_without_padding(wired, set(outputs_at)), set(outputs_at))

    last_use: dict[int, int] = {}
    for index, (_, inputs, outputs) in enumerate(wired):
        for place in (*inputs, *outputs):
            last_use[place] = index
    kept = set(outputs_at) | {places[value.name] for value in graph.inputs}
    kept |= {places[name] for name in graph.constants}

    owned: set[int] = set()
    steps: list[Step] = []
    for index, (node, inputs, outputs) in enumerate(wired):
        dying = {place for place in (*inputs, *outputs) if last_use[place] == index and place not in kept}
        overwrite = bool(inputs) and inputs[0] in dying and inputs[0] in owned
        run = node.run_inplace if overwrite and node.run_inplace else node.run
        if node.owns_result:
            owned.update(outputs)
        else:
            # The result may be a view: neither it nor what it looks at may be overwritten by a later node.
            owned.difference_update(inputs)
        steps.append(Step(node, run, inputs, outputs, tuple(sorted(dying))))
    return Plan(where, graph, tuple(steps), traced, places, tuple(outputs_at), tuple(initial[len(graph.inputs) :]))


def _without_padding(wired: list[_Wired], wanted: set[int]) -> list[_Wired]:
    """Let a convolution pad by itself where a node of its own does it before: both add zeros, one copies."""
    readers = Counter(place for _, inputs, _ in wired for place in inputs)
    padding = {
        outputs[0]: (node.zeros, inputs[0])
        for node, inputs, outputs in wired
        if node.zeros and readers[outputs[0]] == 1 and outputs[0] not in wanted
    }
    folded: list[_Wired] = []
    gone: set[int] = set()
    for node, inputs, outputs in wired:
        if node.padded and inputs[0] in padding:
            zeros, source = padding[inputs[0]]
            gone.add(inputs[0])
            folded.append((node.padded(node, zeros), (source, *inputs[1:]), outputs))
        else:
            folded.append((node, inputs, outputs))
    return [(node, inputs, outputs) for node, inputs, outputs in folded if not gone.intersection(outputs)]


def _needed(wired: list[_Wired], wanted: set[int]) -> list[_Wired]:
    """Leave out the skippable nodes whose values reach none of the `wanted` places."""
    needed: list[_Wired] = []
    read = set(wanted)
    for node, inputs, outputs in reversed(wired):
        if not node.skippable or not read.isdisjoint(outputs):
            needed.append((node, inputs, outputs))
            read.update(inputs)
    return needed[::-1]
