"""A planned Core ML model as operations of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml import Evaluator
from parity.formats.attributes import operations as listed_operations
from parity.formats.graph import Graph, Operation
from parity.formats.outputs import wanted_output

if TYPE_CHECKING:
    from conversion import Artifact

# Weights by the place at which an operation reads them, and the names of these constants in the file.
Held = tuple[Mapping[str, np.ndarray], Mapping[str, str]]


def planned_graph(artifact: Artifact, evaluator: Evaluator, weights: Mapping[str, Held]) -> Graph:
    """Read the operations that the evaluator runs; weights: by the name of their operation."""
    planned = evaluator.graph
    settings = {operation.name: operation for operation in listed_operations(artifact)}
    operations: list[Operation] = []
    wanted = (artifact.output, wanted_output(artifact))
    named = next((name for name in wanted if name in planned.outputs), planned.outputs[0])
    output = planned.aliases.get(named, named)
    for node in planned.nodes:
        if node.type == "classify":
            output = node.inputs[0]
            continue
        known = settings.get(node.name)
        attributes = {k: v for k, v in known.attributes.items() if isinstance(v, str)} if known else {}
        held, sources = weights.get(node.name, ({}, {}))
        inputs = tuple(name for name in node.inputs if name not in planned.constants)
        outputs = tuple(value.name for value in node.outputs)
        operations.append(
            Operation(len(operations), node.name, node.type, inputs, outputs, attributes, held, sources)
        )
    return Graph(artifact.format, tuple(operations), planned.inputs[0].name, output)


def reshape_targets(content: Any, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Read none: Core ML's shapes are declared with the input, and a batch that does not fit is refused there."""
    return {}
