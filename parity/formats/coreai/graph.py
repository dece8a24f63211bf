"""The operations of a Core AI program with their weights, and with what is constant worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.formats.coreai.content import listed, place_of
from parity.formats.coreai.runtime import Program, open_program
from parity.formats.graph import Graph, Operation
from parity.formats.outputs import Shape, pick_output, wanted_output

if TYPE_CHECKING:
    from conversion import Artifact


def read_graph(artifact: Artifact) -> Graph:
    """Read the operations that depend on the image."""
    program = open_program(artifact.path)
    constants = program.fixed()
    operations: list[Operation] = []
    for one in listed(program):
        if one.outputs[0] in constants:
            continue
        places = {place_of(one.type, i): name for i, name in enumerate(one.inputs) if name in constants}
        numbers = {place: constants[name] for place, name in places.items() if constants[name].dtype.kind == "f"}
        operations.append(
            Operation(
                index=len(operations),
                name=one.name,
                type=one.type,
                inputs=tuple(name for name in one.inputs if name not in constants),
                outputs=one.outputs,
                attributes={k: v for k, v in one.attributes.items() if isinstance(v, str)},
                weights={place: array.astype(np.float32) for place, array in numbers.items()},
                sources=places,
            )
        )
    answer = answer_of(program, artifact)
    return Graph(artifact.format, tuple(operations), program.inputs[0], answer)


def answer_of(program: Program, artifact: Artifact) -> str:
    """Name the value that holds the probabilities."""
    from parity.formats.coreai.description import read_outputs
    from parity.formats.coreai.runtime import outputs_of

    shapes: Mapping[str, Shape] = read_outputs(artifact)[1]
    output = pick_output(shapes, artifact, wanted_output(artifact))
    return program.value_names()[outputs_of(program)[program.outputs.index(output)]]


def reshape_targets(content: Any, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Read the constants by which operations reshape: operation -> shape."""
    constants = content.program.constants()
    return {
        operation.name: tuple(int(size) for size in constants[operation.sources["new_shape"]])
        for operation in graph.operations
        if operation.type == "reshape" and operation.sources.get("new_shape") in constants
    }
