"""One view of an artefact's computation, whatever its format: operations in order, values by name, weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact

# Operations that move or retype numbers, and leave them what they are, by plain_type.
MOVING = frozenset({"cast", "transpose", "permute", "identity", "reshape", "unsqueeze", "expanddims", "pad"})


@dataclass(frozen=True)
class Operation:
    """Hold one operation of an artefact.

    inputs, outputs: the values that it reads and gives; constants are not among its inputs.
    attributes: its settings as text. weights: by the place at which it reads them, fp16 and compressed ones as the
    float32 numbers that they stand for. sources: the same places -> the names of those constants in the file.
    """

    index: int
    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]
    weights: Mapping[str, np.ndarray]
    sources: Mapping[str, str]

    @property
    def plain_type(self) -> str:
        """The type as plain_type writes it."""
        return plain_type(self.type)


def plain_type(name: str) -> str:
    """Write an operation's name as those of all formats are compared: in lower case, without underscores."""
    return name.lower().replace("_", "")


@dataclass(frozen=True)
class Graph:
    """Hold the operations in the order of the file. input: the image; output: the value with the probabilities."""

    format: str
    operations: tuple[Operation, ...]
    input: str
    output: str

    def producers(self) -> dict[str, Operation]:
        """Return the operation that gives each value."""
        return {name: operation for operation in self.operations for name in operation.outputs}

    def consumers(self) -> dict[str, list[Operation]]:
        """Return the operations that read each value."""
        readers: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                readers.setdefault(name, []).append(operation)
        return readers


def read_graph(artifact: Artifact) -> Graph:
    """Read an artefact; one that cannot be read is a ParityError or a ConversionError."""
    return format_of(artifact).read_graph(artifact)


def dynamic_values(graph: Graph) -> list[str]:
    """List the values that depend on the image, in order."""
    reached = {graph.input: None}
    for operation in graph.operations:
        if any(name in reached for name in operation.inputs):
            reached |= dict.fromkeys(operation.outputs)
    return list(reached)
