"""What a file computes in: fp16, if anything between its inputs and its outputs is a half-precision number.

Weights may be stored in half and be widened, or dequantised, before they are used: that is storage. What counts is
the type of what is computed from the image and goes into the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from conversion.errors import ConversionError

Precision = Literal["fp32", "fp16"]

# Of a graph with its functions in the places where they are called: far more than the largest classifiers have.
_MOST_NODES = 1_000_000
_MIL_HALF = 10  # MIL.proto: DataType.FLOAT16


@dataclass(frozen=True)
class Step:
    """Hold what one operation reads and writes by name, and whether it computes half-precision numbers.

    A cast computes nothing: a file that casts to half and back in the middle of fp32 is judged as fp32, and the
    rounding is a fault that has a name.

    A block inside an operation is a step from what the operation reads to the block's inputs, the steps of its
    operations, and one from the block's outputs to what the operation writes.
    """

    reads: Sequence[str]
    writes: Sequence[str]
    half: bool = False


def computes_in(steps: Sequence[Step], inputs: Iterable[str], outputs: Iterable[str]) -> Precision:
    """Return `fp16` if a step on a way from an input to an output computes half-precision numbers."""
    after = _closure([(step.reads, step.writes) for step in steps], inputs)
    before = _closure([(step.writes, step.reads) for step in reversed(steps)], outputs)
    on_the_way = after & before
    return "fp16" if any(step.half and not on_the_way.isdisjoint(step.writes) for step in steps) else "fp32"


def _closure(arrows: Sequence[tuple[Sequence[str], Sequence[str]]], start: Iterable[str]) -> set[str]:
    """Return all names that can be reached; loops lead back, so the arrows are followed until nothing is new."""
    reached = set(start)
    grown = True
    while grown:
        before = len(reached)
        for tails, heads in arrows:
            if not reached.isdisjoint(tails):
                reached.update(heads)
        grown = len(reached) > before
    return reached - {""}


def onnx_precision(model: Any) -> Precision:
    """Return what an ONNX model computes in. Its external weights need not be loaded."""
    import onnx
    from onnx.inliner import inline_local_functions

    if model.functions:
        _check_functions(model)
        model = inline_local_functions(model)
    with suppress(Exception):  # what it cannot infer is taken from what an operation reads
        model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    stored = {weight.name: weight.data_type for weight in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in stored]
    types = _onnx_types(graph)
    steps = list(_onnx_steps(graph, types))
    return computes_in(steps, inputs, [value.name for value in graph.output])


def _check_functions(model: Any) -> None:
    """Refuse functions that call each other in a circle, or so often that the graph without them has no end."""
    calls = {(function.domain, function.name): list(_kinds(function.node)) for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    try:
        for key in TopologicalSorter(calls).static_order():
            sizes[key] = sum(sizes[kind] for kind in calls[key]) if key in calls else 1
    except CycleError as error:
        circle = " -> ".join(name for _, name in error.args[1])
        raise ConversionError(f"its functions call each other in a circle, {circle}; export it again") from error
    total = sum(sizes.get(kind, 1) for kind in _kinds(model.graph.node))
    if total > _MOST_NODES:
        raise ConversionError(
            f"its functions, put in the places where they are called, make {total} operations, and the most that "
            f"is read is {_MOST_NODES}; export it again, without functions that call each other so often"
        )


def _kinds(nodes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Give domain and type of these nodes and of those inside them."""
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _kinds(graph.node)


def _onnx_types(graph: Any) -> dict[str, int]:
    declared = {
        value.name: value.type.tensor_type.elem_type
        for values in (graph.value_info, graph.input, graph.output)
        for value in values
        if value.type.HasField("tensor_type")
    }
    return {**declared, **{weight.name: weight.data_type for weight in graph.initializer}}


def _onnx_steps(graph: Any, types: dict[str, int]) -> Iterator[Step]:
    import onnx

    half, whole = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for node in graph.node:
        # Where a type is neither declared nor inferred: a cast has it beside it, and an operator that onnx does not
        # know keeps the type that it reads.
        asked = [attribute.i for attribute in node.attribute if attribute.name == "to" and node.op_type == "Cast"]
        read = [types[name] for name in node.input if types.get(name) in (half, whole)]
        for name in node.output:
            for kind in [*asked, *read][:1]:
                types.setdefault(name, kind)
        computes = node.op_type != "Cast" and any(types.get(name) == half for name in node.output)
        yield Step(node.input, node.output, computes)
        for attribute in node.attribute:
            for body in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                types.update(_onnx_types(body))
                yield Step(node.input, [value.name for value in body.input])
                yield from _onnx_steps(body, types)
                yield Step([value.name for value in body.output], node.output)


def mlprogram_precision(specification: Any) -> Precision:
    """Return what an ML Program computes in: `fp16` if any of its functions does."""
    for function in specification.mlProgram.functions.values():
        block = function.block_specializations[function.opset]
        inputs = [value.name for value in function.inputs]
        if computes_in(list(_mil_steps(block)), inputs, block.outputs) == "fp16":
            return "fp16"
    return "fp32"


def _mil_steps(block: Any) -> Iterator[Step]:
    for operation in block.operations:
        reads = [
            binding.name
            for argument in operation.inputs.values()
            for binding in argument.arguments
            if binding.WhichOneof("binding") == "name"
        ]
        writes = [value.name for value in operation.outputs]
        half = any(value.type.tensorType.dataType == _MIL_HALF for value in operation.outputs)
        yield Step(reads, writes, operation.type != "cast" and half)
        for body in operation.blocks:
            yield Step(reads, [value.name for value in body.inputs])
            yield from _mil_steps(body)
            yield Step(body.outputs, writes)
