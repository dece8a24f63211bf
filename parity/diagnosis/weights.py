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
from parity.diagnosis.batch_norm import Norm, Unit, laid_out
from parity.diagnosis.compression import sort_compressed
from parity.diagnosis.likeness import likeness
from parity.diagnosis.source import Program, record
from parity.diagnosis.types import ExpectedWeight, WeightFinding
from parity.diagnosis.wanted_weights import (
    expected_kernels,
    expected_norms,
    followed_by_norm,
    unfolded_kernels,
)
from parity.diagnosis.weight_faults import compare_weight
from parity.formats import format_of
from parity.formats.graph import Graph, Operation, read_graph

if TYPE_CHECKING:
    from conversion import Artifact, Classifier, Model


@dataclass(frozen=True)
class WeightAudit:
    """Hold the audit's findings.

    findings: in the order of the artefact. repaired: (operation, place) -> what the weight should be, in its shape.
    """

    findings: tuple[WeightFinding, ...]
    repaired: Mapping[tuple[str, str], np.ndarray]


def audit_weights(classifier: Classifier, artifact: Artifact) -> WeightAudit:
    """Compare the weights of an artefact with those of the classifier that it should come from."""
    graph = read_graph(artifact)
    expected = expected_weights(classifier, graph)
    compression = sort_compressed(expected, format_of(artifact).compressed_weights(artifact))
    compressed = {id(one.expected): one for one in (*compression.sound, *compression.absurd)}
    readers: dict[str, list[str]] = {}
    for weight in expected:
        readers.setdefault(weight.constant, []).append(weight.operation.name)
    findings = []
    for weight in expected:
        alike = readers[weight.constant] if weight.constant else []
        sharing = [name for name in alike if name != weight.operation.name]
        if finding := compare_weight(weight, expected, sharing, artifact.precision, compressed.get(id(weight))):
            findings.append(finding)
    findings.sort(key=lambda finding: next(o.index for o in graph.operations if o.name == finding.operation))
    return WeightAudit(tuple(findings), {(f.operation, f.place): f.repaired for f in findings})


def expected_weights(model: Model, graph: Graph) -> list[ExpectedWeight]:
    """Say what each weight of a graph should be, as far as it has one of PyTorch's for it."""
    from conversion.deployed import deployed_module, example_pixels

    module = deployed_module(model)
    program = record(module, example_pixels(model))
    state = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
    units, norms = _units(program, state)
    pairs = _pair(graph, units)
    apart = followed_by_norm(graph) | unfolded_kernels(graph, pairs)
    return [*expected_kernels(graph, pairs, apart), *expected_norms(graph, pairs, norms, apart)]


def _units(program: Program, state: Mapping[str, np.ndarray]) -> tuple[list[Unit], list[Norm]]:
    readers: dict[int, list[int]] = {}
    for step in program.steps:
        for number in step.inputs:
            readers.setdefault(number, []).append(step.index)
    units: list[Unit] = []
    norms: list[Norm] = []
    behind: set[int] = set()
    for step in program.steps:
        arrays = [(name, state[name]) for name in step.weights if name in state]
        kernels = [(name, array) for name, array in arrays if array.ndim >= 2 and array.size > 3]
        if step.type == "native_batch_norm" and len(arrays) == 4:
            if step.index not in behind:
                norms.append(Norm(step.module, {n.split(".")[-1]: a for n, a in arrays}))
        elif kernels:
            kernel_name, kernel = kernels[0]
            bias_name, bias = next(((name, array) for name, array in arrays if array.ndim == 1), ("", None))
            follow = [program.steps[i] for n in step.outputs for i in readers.get(n or -1, [])]
            norm: dict[str, np.ndarray] = {}
            epsilon = 0.0
            if step.type == "convolution" and len(follow) == 1 and follow[0].type == "native_batch_norm":
                vectors = [name for name in follow[0].weights if name in state]
                if len(vectors) == 4:
                    norm, epsilon = {name: state[name] for name in vectors}, float(follow[0].args[7])
                    behind.add(follow[0].index)
            units.append(
                Unit(
                    *(step.module, step.type, kernel, bias, tuple(norm.values()), epsilon),
                    *(kernel_name, bias_name, tuple(norm)),
                )
            )
        elif step.whole.endswith("norm") and len(arrays) == 1:
            name, array = arrays[0]
            if norms and norms[-1].module == step.module and name.endswith("bias"):
                norms[-1] = Norm(step.module, {**norms[-1].vectors, "bias": array})
            else:
                norms.append(Norm(step.module, {name.split(".")[-1]: array}))
    return units, norms


def _pair(graph: Graph, units: Sequence[Unit]) -> list[tuple[Operation, str, Unit]]:
    """Pair kernels: those that are alike first, wherever they stand, and the others in the order of both sides."""
    places = [
        (operation, place)
        for operation in graph.operations
        for place, array in operation.weights.items()
        if array.ndim >= 2 and array.size > 3
    ]
    scores = np.full((len(places), len(units)), -np.inf)
    for i, (operation, place) in enumerate(places):
        for j, unit in enumerate(units):
            if _sized(operation.weights[place], unit.kernel):
                scores[i, j] = _closest(operation, place, unit)
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


def _closest(operation: Operation, place: str, unit: Unit) -> float:
    array = operation.weights[place]
    kernels = [unit.kernel, unit.folded()[0]] if unit.norm else [unit.kernel]
    return max(likeness(array, laid_out(operation, place, kernel)) for kernel in kernels)
