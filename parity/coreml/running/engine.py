"""One ML Program or NeuralNetwork, planned, with its inputs and outputs; pipeline.py makes several into one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import CARRIERS
from parity.coreml.program import Graph, Value
from parity.coreml.reading.files import ModelFile
from parity.coreml.running.compiling import Compiled
from parity.coreml.running.default_sizes import check_declared_shapes, check_default_sizes, shapes_by_content
from parity.coreml.running.features import answer, feed, feed_default
from parity.coreml.running.guard import Guard, declared_too_large
from parity.coreml.running.plan import Plan, make_plan
from parity.coreml.running.state import State, make_cells
from parity.coreml.shapes import array_shapes, name_shapes

Inputs = Mapping[str, Any]
# What an output may be that the description calls so; others are named by the prediction.
_DESCRIBED: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("multiArrayType", "imageType"), frozenset(CARRIERS)),
    "stringType": ("string",),
    "dictionaryType": ("dict",),
}
NEURAL_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")


@dataclass(frozen=True)
class Engine:
    """Hold a model that is ready to predict.

    description: its inputs, outputs and states (a ModelDescription, or the FunctionDescription of one function).
    compiled: the plans that take over where many predictions come.
    passed: what a Guard has let pass. unguarded: shapes of inputs with which no value is too large.
    """

    name: str
    description: Any
    plan: Plan
    compiled: Compiled = field(compare=False)
    passed: set[Hashable] = field(default_factory=set, compare=False)
    unguarded: set[Hashable] = field(default_factory=set, compare=False)

    def predict(self, inputs: Inputs, state: State | None = None) -> dict[str, Any]:
        """Predict for one dictionary of inputs."""
        feeds = self.feeds(inputs, state)
        with self.guarded(feeds) as known:
            plan = self._plan(feeds) if known else self.plan
            values = plan.run(feeds)
        if not known and (plan := self._plan(feeds)) is not self.plan:
            values = plan.run(feeds)
        return {f.name: answer(f, values[f.name], self.name) for f in self.description.output}

    def trace(self, inputs: Inputs) -> dict[str, Any]:
        """Return every value of the model itself, not of its blocks, by name; a state starts afresh."""
        state = self.make_state() if self.states else None
        feeds = self.feeds(inputs, state)
        with Guard(self.passed):
            return self.plan.trace(feeds)

    def _plan(self, feeds: Mapping[str, Any]) -> Plan:
        return self.plan if self.states or self.by_content else self.compiled.plan(self.plan, feeds)

    @contextmanager
    def guarded(self, feeds: Mapping[str, Any]) -> Iterator[bool]:
        """Refuse values that are too large, inside; inputs of shapes that went well once go well again.

        Gives whether these did. What is guarded cannot be compiled: neither sees what the other does.
        """
        shapes = tuple(getattr(value, "shape", None) for value in feeds.values())
        if shapes in self.unguarded:
            yield True
            return
        with Guard(self.passed):
            yield False
        if not self.by_content:
            self.unguarded.add(shapes)

    @cached_property
    def by_content(self) -> bool:
        """Whether shapes may follow from what the inputs hold."""
        return shapes_by_content(self.plan)

    @property
    def states(self) -> tuple[Value, ...]:
        """The states that the model keeps."""
        return tuple(value for value in self.plan.graph.inputs if value.state)

    def make_state(self) -> State:
        """Make a fresh state."""
        if not self.states:
            raise CoreMLError(f"{self.name}: the model declares no state; predict without one")
        return make_cells(self.states, self.name)

    def feeds(self, inputs: Inputs, state: State | None = None) -> dict[str, Any]:
        """Make the values of the graph's inputs."""
        check_names(inputs, self.description, self.name)
        declared = {value.name: value for value in self.plan.graph.inputs}
        feeds: dict[str, Any] = {}
        for f in self.description.input:
            if f.name in inputs:
                feeds[f.name] = feed(f, inputs[f.name], declared[f.name], self.name)
            else:
                feeds[f.name] = feed_default(f, declared[f.name], self.name)
        return feeds | self._cells(state)

    def _cells(self, state: State | None) -> dict[str, Any]:
        states = self.states
        if state is None and not states:
            return {}
        if state is None:
            raise CoreMLError(
                f"{self.name}: the model keeps the state `{states[0].name}`; make one with make_state() and "
                "predict with it"
            )
        if not states or not isinstance(state, State) or not all(state.declares(v) for v in states):
            raise CoreMLError(f"{self.name}: this state is not of this model; make one with its make_state()")
        return {value.name: state.cells[value.name] for value in states}


def check_names(inputs: Inputs, description: Any, name: str) -> None:
    """Refuse inputs that the model does not have, and the absence of one that is not optional."""
    if not isinstance(inputs, Mapping):
        kind = type(inputs).__name__
        raise CoreMLError(f"{name}: inputs are a dictionary by name, or a list of those; not a {kind}")
    known = [f.name for f in description.input]
    unknown = [one for one in inputs if one not in known]
    if unknown:
        raise CoreMLError(f"{name}: no input `{unknown[0]}`; the model takes {', '.join(known) or 'none'}")
    absent = [f.name for f in description.input if f.name not in inputs and not f.type.isOptional]
    if absent:
        raise CoreMLError(f"{name}: the input `{absent[0]}` is missing; the model takes {', '.join(known)}")


def open_engine(model: ModelFile, function_name: str | None, compile_after: int | None = None) -> Engine:
    """Read and plan a model of one of the types that compute: mlProgram, neuralNetwork and its two relatives.

    compile_after: after how many predictions with inputs of the same shapes the plan is compiled; None: never.
    """
    description = _description(model, function_name)
    kind = model.specification.WhichOneof("Type")
    try:
        graph = _read(model, kind, description, function_name)
        _check_sizes(graph.inputs, model.name)
        plan = make_plan(graph, model.name)
    except CoreMLError:
        raise
    except Exception as error:  # what a damaged file leads to where nothing more can be said of the place
        text = " ".join(str(error).split()) or type(error).__name__
        raise CoreMLError(f"{model.name}: cannot be read: {text}; the file is damaged, convert again") from error
    _check_interface(model, description, graph)
    if kind == "mlProgram":  # a NeuralNetwork declares no shapes between its layers
        check_declared_shapes(plan)
    check_default_sizes(plan, description)
    return Engine(model.name, description, plan, Compiled(compile_after))


def _read(model: ModelFile, kind: str | None, description: Any, function_name: str | None) -> Graph:
    if kind == "mlProgram":
        from parity.coreml.reading.mil import read_function

        graph = read_function(
            *(model.specification, model.name, model.weights_dir, function_name),
            retyped=model.retyped,
            forms=model.open_forms,
        )
        arrays = {f.name: f.type.multiArrayType for f in description.input if f.type.HasField("multiArrayType")}
        inputs = (_bounded(v, arrays[v.name], model.name) if v.name in arrays else v for v in graph.inputs)
        return replace(graph, inputs=tuple(inputs))
    from parity.coreml.reading.neuralnetwork import read_network

    if function_name:
        raise CoreMLError(f"{model.name}: no function `{function_name}`; a neural network has none, leave it out")
    return read_network(model.specification, model.name)


def _bounded(declared: Value, array: Any, name: str) -> Value:
    """Bound the sizes that a program leaves open by those that the model's description allows."""
    described = array_shapes(array)
    # The description has no word for a single number, and calls it one axis of one element.
    if not described or (declared.shape == () and described == [(1,)]):
        return declared
    for shape in described:
        agree = len(shape) == len(declared.shape) and all(
            d in (None, s) for s, d in zip(shape, declared.shape, strict=True)
        )
        if not agree:
            raise CoreMLError(
                f"{name}: the input `{declared.name}` has the shape {name_shapes(described)} in the description "
                f"and {name_shapes([declared.shape])} in the program; the file is damaged, convert again"
            )
    first, *others = described
    return replace(declared, shape=first, others=tuple(others))


def _description(model: ModelFile, function_name: str | None) -> Any:
    """Find the inputs and outputs: the model's own, or in a multi-function model those of the function.

    A copy: a part of a message keeps the whole in memory, with a NeuralNetwork's weights.
    """
    description = copy.deepcopy(model.specification.description)
    if not description.functions:
        return description
    wanted = function_name or description.defaultFunctionName
    matching = [function for function in description.functions if function.name == wanted]
    if not matching:
        names = ", ".join(function.name for function in description.functions)
        raise CoreMLError(f"{model.name}: no function `{wanted}`; the file has {names}")
    return matching[0]


def _check_sizes(inputs: Sequence[Value], name: str) -> None:
    """Refuse inputs and states that are too large as they are declared."""
    for value in inputs:
        if excess := declared_too_large(value):
            raise CoreMLError(f"{name}: the input `{value.name}`: {excess}")


def _check_interface(model: ModelFile, description: Any, graph: Graph) -> None:
    """Compare the inputs, states and outputs that the file describes with those that the graph has."""
    described = {
        "input": ([f.name for f in description.input], [v.name for v in graph.inputs if not v.state]),
        "state": ([f.name for f in description.state], [v.name for v in graph.inputs if v.state]),
    }
    for kind, (listed, actual) in described.items():
        if sorted(listed) != sorted(actual):
            odd = sorted(set(listed) ^ set(actual)) or listed
            raise CoreMLError(
                f"{model.name}: the {kind} `{odd[0]}` stands only in the description or only in the program, or "
                "twice; the file is damaged, convert again"
            )
    for value in graph.inputs:
        if value.dtype not in CARRIERS:
            raise CoreMLError(
                f"{model.name}: the input `{value.name}` has the type {value.dtype} in the program, which takes "
                "tensors of numbers; the file is damaged, convert again"
            )
    for f in description.output:
        if f.name not in graph.outputs:
            raise CoreMLError(
                f"{model.name}: the output `{f.name}` is described, but the program gives "
                f"{', '.join(graph.outputs) or 'none'}; the file is damaged, convert again"
            )
    declared = {value.name: value.dtype for value in (*graph.inputs, *(v for n in graph.nodes for v in n.outputs))}
    for f in description.output:
        kind, dtype = str(f.type.WhichOneof("Type")), declared.get(graph.aliases.get(f.name, f.name))
        if dtype is not None and dtype not in _DESCRIBED.get(kind, (dtype,)):
            raise CoreMLError(
                f"{model.name}: the output `{f.name}` is described as {kind}, and the program gives {dtype}; the "
                "file contradicts itself, convert again"
            )
