"""The weight audit: every weight of an artefact against the one of PyTorch's that it should be.

Nothing is run but PyTorch, once: weights are paired by the order of their operations and by their shapes, so that
those of a file that never saw the checkpoint are paired too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis.graph import Graph, Operation, read_graph
from parity.diagnosis.source import Program, record
from parity.diagnosis.types import WeightFinding
from parity.diagnosis.weight_faults import compare_weight, likeness

if TYPE_CHECKING:
    from conversion import Artifact, Classifier

# The places of vectors, by the words that the formats have for them.
_BIAS = ("bias", "input[2]", "B")
_NORM_PLACES: Mapping[str, tuple[str, ...]] = {
    "weight": ("gamma", "input[1]"),
    "bias": ("beta", "input[2]"),
    "running_mean": ("mean", "input[3]"),
    "running_var": ("variance", "input[4]"),
}

# The cosine of kernels that belong together, even if one is quantised: no two of a network are that alike.
_ALIKE = 0.95
# Of those that are the same but for rounding.
_VERY_ALIKE = 0.99999


@dataclass(frozen=True)
class Unit:
    """Hold one operation of PyTorch's with weights.

    module: its path; kernel: what it multiplies with, float64; bias: what it adds. norm: the batch norm right
    behind it, as (gamma, beta, mean, variance), with its epsilon; a converter may fold it in.
    """

    module: str
    type: str
    kernel: np.ndarray
    bias: np.ndarray | None
    norm: tuple[np.ndarray, ...] = ()
    epsilon: float = 0.0

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Fold the batch norm into kernel and bias, in float64."""
        gamma, beta, mean, variance = self.norm
        scale = gamma / np.sqrt(variance + self.epsilon)
        offset = 0.0 if self.bias is None else self.bias
        return self.kernel * scale.reshape(-1, *(1,) * (self.kernel.ndim - 1)), (offset - mean) * scale + beta


@dataclass(frozen=True)
class Norm:
    """Hold a normalisation with weights that stands by itself: role -> vector."""

    module: str
    vectors: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class WeightAudit:
    """Hold what the audit found.

    findings: in the order of the artefact. repaired: (operation, place) -> what the weight should be, in its shape.
    compared: how many weights were; unmatched: PyTorch's modules for whose weights the artefact has no place.
    """

    findings: tuple[WeightFinding, ...]
    repaired: Mapping[tuple[str, str], np.ndarray]
    compared: int
    unmatched: tuple[str, ...]


def audit_weights(classifier: Classifier, artifact: Artifact) -> WeightAudit:
    """Compare the weights of an artefact with those of the classifier that it should have been made from."""
    from conversion.deployed import deployed_module, example_pixels

    module = deployed_module(classifier)
    program = record(module, example_pixels(classifier))
    state = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
    graph = read_graph(artifact)
    units, norms = _units(program, state)
    pairs = _pair(graph, units)
    apart = _followed_by_norm(graph) | _unfolded_kernels(graph, pairs)
    expected = [*_expected(graph, pairs, apart), *_expected_norms(graph, pairs, norms, apart)]
    others = [(e.module, e.array) for e in expected]
    owners: dict[str, list[str]] = {}
    for e in expected:
        owners.setdefault(e.operation.sources.get(e.place, ""), []).append(e.operation.name)
    findings = []
    for e in expected:
        shared = [name for name in owners.get(e.operation.sources.get(e.place, ""), []) if name != e.operation.name]
        shared = shared if e.operation.sources.get(e.place) else []
        finding = compare_weight(
            e.operation, e.place, e.module, e.array, e.alternatives, others, shared, artifact.precision
        )
        if finding:
            findings.append(finding)
    findings.sort(key=lambda finding: next(o.index for o in graph.operations if o.name == finding.operation))
    met = {id(unit) for _, _, unit in pairs}
    return WeightAudit(
        tuple(findings),
        {(f.operation, f.place): f.repaired for f in findings},
        len(expected),
        tuple(dict.fromkeys(unit.module for unit in units if id(unit) not in met)),
    )


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
        kernels = [array for _, array in arrays if array.ndim >= 2 and array.size > 3]
        if step.type == "native_batch_norm" and len(arrays) == 4:
            if step.index not in behind:
                norms.append(Norm(step.module, {n.split(".")[-1]: a for n, a in arrays}))
        elif kernels:
            biases = [array for _, array in arrays if array.ndim == 1]
            follow = [program.steps[i] for n in step.outputs for i in readers.get(n or -1, [])]
            norm: tuple[np.ndarray, ...] = ()
            epsilon = 0.0
            if step.type == "convolution" and len(follow) == 1 and follow[0].type == "native_batch_norm":
                found = [state[name] for name in follow[0].weights if name in state]
                if len(found) == 4:
                    norm, epsilon = tuple(found), float(follow[0].args[7])
                    behind.add(follow[0].index)
            units.append(Unit(step.module, step.type, kernels[0], biases[0] if biases else None, norm, epsilon))
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
    alike = [(round(scores[i, j], 3), -abs(i - j), i, j) for i, j in np.argwhere(scores > _ALIKE).tolist()]
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
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        if best[i, j] == 2 + scores[i, j] + best[i + 1, j + 1]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return found


def _sized(array: np.ndarray, kernel: np.ndarray) -> bool:
    found, wanted = (tuple(size for size in a.shape if size != 1) for a in (array, kernel))
    return found == wanted or (len(found) == 2 and found == wanted[::-1])


def _laid_out(operation: Operation, place: str, kernel: np.ndarray) -> np.ndarray:
    """Lay PyTorch's kernel out as the operation reads it: transposed where it stands on the right of a product."""
    shape = operation.weights[place].shape
    squeezed = tuple(size for size in shape if size != 1)
    wanted = tuple(size for size in kernel.shape if size != 1)
    right = operation.type in ("MatMul", "batchedMatmul") or (
        operation.type == "matmul" and operation.attributes.get("transpose_y") != "True"
    )
    right |= operation.type == "Gemm" and operation.attributes.get("transB", "0") == "0"
    if len(wanted) == 2 and (squeezed != wanted or (right and squeezed == wanted[::-1])):
        kernel = kernel.reshape(wanted).T
    return kernel.reshape(shape)


def _closest(operation: Operation, place: str, unit: Unit) -> float:
    array = operation.weights[place]
    kernels = [unit.kernel, unit.folded()[0]] if unit.norm else [unit.kernel]
    return max(likeness(array, _laid_out(operation, place, kernel)) for kernel in kernels)


@dataclass(frozen=True)
class _Wanted:
    operation: Operation
    place: str
    module: str
    array: np.ndarray
    alternatives: Mapping[str, np.ndarray]


def _followed_by_norm(graph: Graph) -> frozenset[int]:
    """List the operations whose batch norm is an operation of its own in the artefact too."""
    consumers = graph.consumers()
    return frozenset(
        operation.index
        for operation in graph.operations
        for name in operation.outputs
        if any(reader.type.lower().replace("_", "").startswith("batchnorm") for reader in consumers.get(name, ()))
    )


def _unfolded_kernels(graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]]) -> frozenset[int]:
    """List the operations whose batch norm is somewhere behind them in the artefact, though not right behind."""
    vectors = [array for o in graph.operations if "norm" in o.type.lower() for array in o.weights.values()]
    return frozenset(
        operation.index
        for operation, place, unit in pairs
        if unit.norm
        and likeness(operation.weights[place], _laid_out(operation, place, unit.kernel)) > _VERY_ALIKE
        and all(
            any(v.size == wanted.size and likeness(v, wanted) > _VERY_ALIKE for v in vectors)
            for wanted in unit.norm
        )
    )


def _expected(
    graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]], apart: frozenset[int]
) -> Iterator[_Wanted]:
    consumers = graph.consumers()
    for operation, place, unit in pairs:
        folded = bool(unit.norm) and operation.index not in apart
        kernel, bias = unit.folded() if folded else (unit.kernel, unit.bias)
        wrong = dict(_wrong_folds(unit, _unfolded(operation, place, unit))) if folded else {}
        laid_out = _laid_out(operation, place, kernel)
        kernels = {told: _laid_out(operation, place, k) for told, (k, _) in wrong.items()}
        yield _Wanted(operation, place, unit.module, laid_out, kernels)
        adder, its_place = _where_bias_is(operation, place, consumers, unit.kernel.shape[0])
        if adder is not None and bias is not None and bias.size == adder.weights[its_place].size:
            biases = {told: b for told, (_, b) in wrong.items()}
            yield _Wanted(adder, its_place, unit.module, bias, biases)


def _where_bias_is(
    operation: Operation, place: str, consumers: Mapping[str, Sequence[Operation]], size: int
) -> tuple[Operation | None, str]:
    """Find the operation that adds the bias, and where it reads it: the same, or an addition right behind it."""
    for its_place in _BIAS:
        if its_place in operation.weights and its_place != place and operation.weights[its_place].ndim <= 1:
            return operation, its_place
    readers = consumers.get(operation.outputs[0], ())
    if len(readers) == 1 and readers[0].type.lower() == "add":
        for its_place, array in readers[0].weights.items():
            if array.size == size and array.ndim <= 1:
                return readers[0], its_place
    return None, ""


def _unfolded(operation: Operation, place: str, unit: Unit) -> np.ndarray:
    """Measure by what each output channel of a kernel was multiplied."""
    found = operation.weights[place].astype(np.float64)
    kernel = _laid_out(operation, place, unit.kernel)
    axis = next((a for a, size in enumerate(found.shape) if size == unit.kernel.shape[0]), 0)
    over = tuple(a for a in range(found.ndim) if a != axis)
    scale: np.ndarray = (found * kernel).sum(over) / (np.square(kernel).sum(over) + 1e-30)
    return scale


def _wrong_folds(unit: Unit, scale: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Fold in the ways in which converters have done it wrongly; scale: by which the artefact did."""
    from dataclasses import replace

    gamma, beta, mean, variance = unit.norm
    yield "batch-norm mean and variance swapped", replace(unit, norm=(gamma, beta, variance, np.abs(mean))).folded()
    epsilon = _fitted_epsilon(scale, gamma, variance, unit.epsilon)
    if not np.isclose(epsilon, unit.epsilon, rtol=2e-2, atol=0):
        yield (
            f"batch-norm epsilon lost ({epsilon:.4g} for {unit.epsilon:g})",
            replace(unit, epsilon=epsilon).folded(),
        )
    scale = gamma / np.sqrt(variance + unit.epsilon)
    offset = np.zeros_like(mean) if unit.bias is None else unit.bias
    kernel = unit.folded()[0]
    yield "batch norm folded without its bias", (kernel, -mean * scale)
    yield "batch norm folded without its mean", (kernel, beta + 0 * mean)
    yield "batch norm folded without scaling the bias", (kernel, offset + beta - mean * scale)
    yield "batch norm folded into the bias alone", (unit.kernel, unit.folded()[1])


def _fitted_epsilon(scale: np.ndarray, gamma: np.ndarray, variance: np.ndarray, epsilon: float) -> float:
    """Find the epsilon with which gamma / sqrt(variance + epsilon) comes nearest to a scale; at least 0.

    With a = (scale / gamma)^2 it is where a * (variance + epsilon) is 1 in every channel.
    """
    if scale.shape != gamma.shape:
        return epsilon
    a = np.square(scale / np.where(np.abs(gamma) > 1e-12, gamma, np.inf))
    # Channels of small variance tell most: there epsilon counts.
    weight = 1 / np.square(np.maximum(variance + epsilon, 1e-12) * np.maximum(a, 1e-12))
    told = (weight * np.square(a)).sum()
    return float(max((weight * a * (1 - a * variance)).sum() / told, 0.0)) if told > 0 else epsilon


def _expected_norms(
    graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]], norms: Sequence[Norm], apart: frozenset[int]
) -> Iterator[_Wanted]:
    """Pair normalisations that the artefact has as such: by the convolution before, or by likeness, in order."""
    alone = list(norms)
    behind: dict[str, Norm] = {}
    for operation, _, unit in pairs:
        if unit.norm and operation.index in apart:
            names = ("weight", "bias", "running_mean", "running_var")
            behind[operation.outputs[0]] = Norm(unit.module, dict(zip(names, unit.norm, strict=True)))
    for operation in graph.operations:
        if "norm" not in operation.type.lower():
            continue
        own = {
            role: place
            for role, places in _NORM_PLACES.items()
            for place in places
            if place in operation.weights and operation.weights[place].size > 1
        }
        before = next((behind[name] for name in operation.inputs if name in behind), None)
        fitting = [norm for norm in ([before] if before else alone) if _fits(norm, operation, own)]
        if not own or not fitting:
            continue
        norm = _likest(fitting, operation, own)
        alone = [one for one in alone if one is not norm]
        swapped = {"running_mean": "running_var", "running_var": "running_mean"}
        for role, place in own.items():
            wrong = {}
            if role in swapped and swapped[role] in norm.vectors:
                wrong["batch-norm mean and variance swapped"] = norm.vectors[swapped[role]]
            yield _Wanted(operation, place, norm.module, norm.vectors[role], wrong)


def _likest(norms: Sequence[Norm], operation: Operation, own: Mapping[str, str]) -> Norm:
    """Choose the norm whose vectors an operation has; the next in order where it has none of any."""
    scores = [np.mean([likeness(operation.weights[p], n.vectors[r]) for r, p in own.items()]) for n in norms]
    best = int(np.argmax(scores))
    return norms[best] if scores[best] > _ALIKE else norms[0]


def _fits(norm: Norm, operation: Operation, own: Mapping[str, str]) -> bool:
    return all(
        role in norm.vectors and norm.vectors[role].size == operation.weights[place].size
        for role, place in own.items()
    )
