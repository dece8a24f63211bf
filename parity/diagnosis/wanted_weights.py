"""What each weight of an artefact should be, once its operations are paired with PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.core.noise import WEIGHT_ALIKE, WEIGHT_VERY_ALIKE
from parity.diagnosis.batch_norm import Norm, Unit, channel_scales, laid_out, wrong_folds
from parity.diagnosis.constants import of_operation
from parity.diagnosis.likeness import distance, likeness
from parity.diagnosis.types import ExpectedWeight, Origin
from parity.formats.graph import Graph, Operation, bias_of

# The places of vectors, by the words that the formats have for them.
_NORM_PLACES: Mapping[str, tuple[str, ...]] = {
    "weight": ("gamma", "input[1]"),
    "bias": ("beta", "input[2]"),
    "running_mean": ("mean", "input[3]"),
    "running_var": ("variance", "input[4]"),
}

# What the vectors of a norm are that were never loaded.
_FRESH: Mapping[str, tuple[str, float]] = {
    "running_mean": ("batch-norm mean not loaded (0)", 0.0),
    "running_var": ("batch-norm variance not loaded (1)", 1.0),
    "weight": ("normalisation's scale not loaded (1)", 1.0),
}
# How much nearer the right one must be to count.
_NO_NEARER = 1e-3


def followed_by_norm(graph: Graph) -> frozenset[int]:
    """List the operations whose batch norm is an operation of its own in the artefact too."""
    consumers = graph.consumers()
    return frozenset(
        operation.index
        for operation in graph.operations
        for name in operation.outputs
        if any(reader.plain_type.startswith("batchnorm") for reader in consumers.get(name, ()))
    )


def followed_by_numbers(graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]]) -> frozenset[int]:
    """List the operations behind which the artefact multiplies or adds a number, as PyTorch does."""
    consumers = graph.consumers()
    return frozenset(
        operation.index
        for operation, _, unit in pairs
        if unit.scaled
        and any(of_operation(reader) for name in operation.outputs for reader in consumers.get(name, ()))
    )


def unfolded_kernels(graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]]) -> frozenset[int]:
    """List the operations whose batch norm is somewhere behind them in the artefact, though not right behind."""
    vectors = [array for o in graph.operations if "norm" in o.type.lower() for array in o.weights.values()]
    return frozenset(
        operation.index
        for operation, place, unit in pairs
        if unit.norm
        and not unit.scaled
        and likeness(operation.weights[place], laid_out(operation, place, unit.kernel)) > WEIGHT_VERY_ALIKE
        and all(
            any(v.size == wanted.size and likeness(v, wanted) > WEIGHT_VERY_ALIKE for v in vectors)
            for wanted in unit.norm
        )
    )


def expected_kernels(
    graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]], apart: frozenset[int]
) -> Iterator[ExpectedWeight]:
    consumers = graph.consumers()
    for operation, place, unit in pairs:
        folded = bool(unit.norm) and operation.index not in apart
        kernel, bias = unit.folded() if folded else (unit.kernel, unit.bias)
        wrong = dict(wrong_folds(unit, channel_scales(operation, place, unit))) if folded else {}
        wanted = laid_out(operation, place, kernel)
        kernels = {mistake: laid_out(operation, place, k) for mistake, (k, _) in wrong.items()}
        places = laid_out(operation, place, np.arange(kernel.size).reshape(kernel.shape))
        origin = Origin(unit.kernel_name, places.reshape(-1), unit.spread(unit.scale) if folded else None)
        factor = (
            laid_out(operation, place, np.broadcast_to(unit.spread(unit.scale), kernel.shape)) if folded else None
        )
        axes = unit.axes if wanted.shape == kernel.shape else unit.axes[::-1] if wanted.ndim == 2 else ()
        yield ExpectedWeight(operation, place, unit.module, wanted, kernels, origin, factor, axes)
        added = bias_of(operation, place, consumers, unit.outputs)
        if added and bias is not None and bias.size == added[0].weights[added[1]].size:
            adder, its_place = added
            shape = adder.weights[its_place].shape
            # A mistake made the kernel, too: where that is right, or nearer to the right one, it is none.
            off = distance(operation.weights[place], wanted) + _NO_NEARER
            biases = {
                mistake: b.reshape(shape)
                for mistake, (_, b) in wrong.items()
                if distance(operation.weights[place], kernels[mistake]) <= off
            }
            # What moves a folded bias moves the norm's own, by as much.
            its_name = unit.bias_name if not folded else unit.norm_names[1] if unit.norm_names else ""
            own = Origin(its_name, np.arange(bias.size))
            yield ExpectedWeight(adder, its_place, unit.module, bias.reshape(shape), biases, own)


def expected_norms(
    graph: Graph, pairs: Sequence[tuple[Operation, str, Unit]], norms: Sequence[Norm], apart: frozenset[int]
) -> Iterator[ExpectedWeight]:
    """Pair normalisations that the artefact has as such: by the convolution before, or by likeness, in order."""
    alone = list(norms)
    behind: dict[str, Norm] = {}
    for operation, _, unit in pairs:
        if unit.norm and not unit.scaled and operation.index in apart:
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
            if role in _FRESH:
                name, number = _FRESH[role]
                wrong[name] = np.full_like(norm.vectors[role], number)
            yield ExpectedWeight(operation, place, norm.module, norm.vectors[role], wrong)


def _likest(norms: Sequence[Norm], operation: Operation, own: Mapping[str, str]) -> Norm:
    """Choose the norm whose vectors an operation has; the next in order where it has none of any."""
    scores = [np.mean([likeness(operation.weights[p], n.vectors[r]) for r, p in own.items()]) for n in norms]
    best = int(np.argmax(scores))
    return norms[best] if scores[best] > WEIGHT_ALIKE else norms[0]


def _fits(norm: Norm, operation: Operation, own: Mapping[str, str]) -> bool:
    return all(
        role in norm.vectors and norm.vectors[role].size == operation.weights[place].size
        for role, place in own.items()
    )
