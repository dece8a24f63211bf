"""One view of an artefact's computation, whatever its format: operations in order, values by name, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.formats import format_of

if TYPE_CHECKING:
    from conversion import Artifact

# Operations that move or retype numbers, and leave them what they are, by plain_type.
MOVING = frozenset({"cast", "transpose", "permute", "identity", "reshape", "unsqueeze", "expanddims", "pad"})
# Where an operation reads its own bias, by the words that the formats have for it.
_BIASES = ("bias", "input[2]", "B")


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


def bias_of(
    operation: Operation, place: str, consumers: Mapping[str, Sequence[Operation]], size: int
) -> tuple[Operation, str] | None:
    """Find what adds a bias of `size` numbers to an operation's results, and where it reads it.

    It is the operation itself, or the one addition behind it; of more axes than one all but one have one element.
    place: where the operation reads its kernel. consumers: those of its graph.
    """
    for name in _BIASES:
        if name != place and name in operation.weights and operation.weights[name].ndim <= 1:
            return operation, name
    readers = consumers.get(operation.outputs[0], ())
    if len(readers) == 1 and readers[0].plain_type == "add":
        for name, array in readers[0].weights.items():
            if array.size == size == max(array.shape, default=1):
                return readers[0], name
    return None


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
