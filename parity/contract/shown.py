"""What a file's computation shows of its contract; it settles nothing that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from parity.core.refusals import EXPECTED
from parity.formats.graph import MOVING, Graph, read_graph

if TYPE_CHECKING:
    from conversion import Artifact
    from conversion.contract import Contract


def as_the_graph_shows(artifact: Artifact, contracts: Sequence[Contract]) -> list[Contract]:
    """Leave out contracts that a file's first and last operation speak against; all, where none would be left.

    A kernel that reads the input itself normalises nothing, and probabilities come out of a softmax.
    """
    try:
        graph = read_graph(artifact)
    except EXPECTED:
        return list(contracts)
    left = list(contracts)
    if _begins_with_kernel(graph):
        left = _those(left, (one for one in left if "normalise" not in one.inside))
    ends = _ends_with_softmax(graph)
    return _those(left, (one for one in left if ("softmax" in one.inside) == ends))


def _those(contracts: list[Contract], fitting: Iterable[Contract]) -> list[Contract]:
    return list(fitting) or contracts


def _begins_with_kernel(graph: Graph) -> bool:
    """Say whether the first operation that computes anything is one with a kernel."""
    readers, name = graph.consumers(), graph.input
    for _ in graph.operations:
        first = readers.get(name, [])
        if len(first) != 1 or first[0].plain_type not in MOVING:
            return bool(first) and all(any(_is_kernel(w.shape) for w in one.weights.values()) for one in first)
        name = first[0].outputs[0]
    return False


def _is_kernel(shape: tuple[int, ...]) -> bool:
    """Say whether a weight has a number for more than each channel, as a mean of shape [3, 1, 1] has not."""
    return sum(size > 1 for size in shape) > 1


def _ends_with_softmax(graph: Graph) -> bool:
    makers, name = graph.producers(), graph.output
    for _ in graph.operations:
        last = makers.get(name)
        if last is None or last.plain_type not in MOVING or not last.inputs:
            return last is not None and "softmax" in last.plain_type
        name = last.inputs[0]
    return False
