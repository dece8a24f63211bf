"""The weight audit: every weight of an artefact against the one of PyTorch's that it should be.

Nothing is run but PyTorch, once: weights are paired by the order of their operations and by their shapes, so that
those of a file that never saw the checkpoint are paired too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.core.noise import WEIGHT_ALIKE
from parity.diagnosis.batch_norm import Unit, is_right, laid_out
from parity.diagnosis.compression import sort_compressed
from parity.diagnosis.likeness import direction
from parity.diagnosis.recording import record
from parity.diagnosis.types import ExpectedWeight, WeightFinding
from parity.diagnosis.units import BY_CHANNEL, is_vector, units_of, vectors_of
from parity.diagnosis.wanted_weights import (
    expected_kernels,
    expected_norms,
    followed_by_norm,
    followed_by_numbers,
    unfolded_kernels,
)
from parity.diagnosis.weight_faults import compare_weight
from parity.formats import format_of
from parity.formats.graph import Graph, Operation, read_graph

if TYPE_CHECKING:
    from conversion import Artifact, Model


@dataclass(frozen=True)
class WeightAudit:
    """Hold the audit's findings.

    findings: in the order of the artefact. repaired: (operation, place) -> what the weight should be, in its shape.
    compared: how many weights had one of PyTorch's to be compared with.
    """

    findings: tuple[WeightFinding, ...]
    repaired: Mapping[tuple[str, str], np.ndarray]
    compared: int = 0


def audit_weights(classifier: Model, artifact: Artifact) -> WeightAudit:
    """Compare the weights of an artefact with those of the classifier that it should come from."""
    graph = read_graph(artifact)
    expected = expected_weights(classifier, graph)
    compression = sort_compressed(expected, format_of(artifact).compressed_weights(artifact))
    compressed = {id(one.expected): one for one in (*compression.sound, *compression.absurd)}
    readers: dict[str, list[ExpectedWeight]] = {}
    for weight in expected:
        readers.setdefault(weight.constant, []).append(weight)
    findings = []
    for weight in expected:
        alike = readers[weight.constant] if weight.constant else []
        # What PyTorch calls twice is one weight there too.
        sharing = [one.operation.name for one in alike if not _same_weight(one, weight)]
        if finding := compare_weight(weight, expected, sharing, artifact.precision, compressed.get(id(weight))):
            findings.append(finding)
    findings.sort(key=lambda finding: next(o.index for o in graph.operations if o.name == finding.operation))
    return WeightAudit(tuple(findings), {(f.operation, f.place): f.repaired for f in findings}, len(expected))


def _same_weight(one: ExpectedWeight, other: ExpectedWeight) -> bool:
    return one is other or (one.module == other.module and np.array_equal(one.array, other.array))


def expected_weights(model: Model, graph: Graph) -> list[ExpectedWeight]:
    """Say what each weight of a graph should be, as far as it has one of PyTorch's for it."""
    from conversion.deployed import deployed_module, example_pixels

    module = deployed_module(model)
    program = record(module, example_pixels(model))
    tensors = {**module.state_dict(), **program.constants}
    state = {name: tensor.detach().double().numpy() for name, tensor in tensors.items()}
    units, norms = units_of(program, state)
    pairs = _pair(kernel_places(graph), units)
    apart = followed_by_norm(graph) | unfolded_kernels(graph, pairs) | followed_by_numbers(graph, pairs)
    as_norms = list(expected_norms(graph, pairs, norms, apart))
    known = [*expected_kernels(graph, pairs, apart), *as_norms]
    taken = {(weight.operation.index, weight.place) for weight in known}
    vectors = vectors_of(program, state, {weight.module for weight in as_norms})
    return [*known, *_expected_vectors(graph, vectors, taken)]


def kernel_places(graph: Graph) -> list[tuple[Operation, str]]:
    """List where the operations of a graph read arrays of several axes."""
    return [
        (operation, place)
        for operation in graph.operations
        # What reads constants alone is worked out where it is read.
        if operation.inputs
        for place, array in operation.weights.items()
        if array.ndim >= 2 and array.size > 3
    ]


def _expected_vectors(graph: Graph, units: Sequence[Unit], taken: set[tuple[int, str]]) -> list[ExpectedWeight]:
    """Pair such operations: by what they do, by likeness, and in order."""
    expected: list[ExpectedWeight] = []
    for kind in dict.fromkeys(unit.type for unit in units):
        places = [
            (operation, place)
            for operation in graph.operations
            if operation.plain_type in BY_CHANNEL[kind]
            for place, array in operation.weights.items()
            if is_vector(array) and (operation.index, place) not in taken
        ]
        for operation, place, unit in _pair(places, [unit for unit in units if unit.type == kind]):
            array = unit.kernel.reshape(operation.weights[place].shape)
            expected.append(ExpectedWeight(operation, place, unit.module, array, {}))
    return expected


def _pair(places: Sequence[tuple[Operation, str]], units: Sequence[Unit]) -> list[tuple[Operation, str, Unit]]:
    """Pair arrays: those that are alike first, wherever they stand, and the others in the order of both sides."""
    scores = _scores(places, units)
    chosen: dict[int, int] = {}
    alike = [(round(scores[i, j], 3), -abs(i - j), i, j) for i, j in np.argwhere(scores > WEIGHT_ALIKE).tolist()]
    for _, _, i, j in sorted(alike, reverse=True):
        if i not in chosen and j not in chosen.values():
            chosen[i] = j
    while True:
        rest = (
            [i for i in range(len(places)) if i not in chosen],
            [j for j in range(len(units)) if j not in chosen.values()],
        )
        more = _in_order(scores[np.ix_(*rest)])
        chosen |= {rest[0][i]: rest[1][j] for i, j in more}
        # A branch that the converter wrote before another is out of order: it is among those that are left.
        if not more:
            break
    return [(*places[i], units[j]) for i, j in sorted(chosen.items())]


def _in_order(scores: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns without changing the order of either: as many as can be, and of those the likest."""
    rows, columns = scores.shape
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i, j] = max(best[i + 1, j], best[i, j + 1], 2 + scores[i, j] + best[i + 1, j + 1])
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        if best[i, j] == 2 + scores[i, j] + best[i + 1, j + 1]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return pairs


def _sized(array: np.ndarray, kernel: np.ndarray) -> bool:
    own, wanted = (tuple(size for size in a.shape if size != 1) for a in (array, kernel))
    return own == wanted or (len(own) == 2 and own == wanted[::-1])


def _scores(places: Sequence[tuple[Operation, str]], units: Sequence[Unit]) -> np.ndarray:
    """Return the likeness of each array to each kernel, as it is or folded; -inf where their sizes are others."""
    scores = np.full((len(places), len(units)), -np.inf)
    # Each array is looked at once for all those that it is compared with: networks have hundreds of one size.
    alike: dict[tuple[tuple[int, ...], bool], list[int]] = {}
    for i, (operation, place) in enumerate(places):
        alike.setdefault((operation.weights[place].shape, is_right(operation)), []).append(i)
    for rows in alike.values():
        operation, place = places[rows[0]]
        own = [direction(places[i][0].weights[places[i][1]]) for i in rows]
        for j, unit in enumerate(units):
            if _sized(operation.weights[place], unit.kernel):
                kernels = [unit.kernel, unit.folded()[0]] if unit.norm else [unit.kernel]
                wanted = [direction(laid_out(operation, place, kernel)) for kernel in kernels]
                scores[rows, j] = [max(float(one @ other) for other in wanted) for one in own]
    return scores
