"""What fp16 does to a network: what overflows, what vanishes, and what must stay in fp32.

Predicted from the network in fp32, on any system: from its largest activations over the images, and by rounding
some operations and not others in the evaluator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.routes import convert
from parity.backends.bound import bind
from parity.core.compare import compare
from parity.core.noise import HALF_LARGEST, HALF_SMALLEST
from parity.core.tolerance import Tolerance
from parity.coreml import Evaluator
from parity.coreml.reading.files import ModelFile, open_model
from parity.formats import format_of
from parity.formats.coreml.classifier import classifier_predictions, fed
from parity.formats.graph import Graph, Operation, dynamic_values, read_graph
from parity.formats.mlprogram.retyped import evaluator_in

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.backends.reference import Reference

# Half of the range: a value beyond is near to overflow.
NEAR = 32768.0
# More operations than these are as good as all: then the whole network belongs in fp32.
_MOST = 64


@dataclass(frozen=True)
class Range:
    """Say how large an operation's result gets over the images, in fp32."""

    operation: str
    type: str
    index: int
    largest: float

    @property
    def verdict(self) -> str:
        """`overflows`, `near` the limit, or `fits`."""
        return "overflows" if self.largest > HALF_LARGEST else "near" if self.largest > NEAR else "fits"


@dataclass(frozen=True)
class LostConstant:
    """Name a constant that fp16 cannot hold; vanishes: how many of its numbers become zero; overflows: infinite."""

    operation: str
    place: str
    weight: str
    vanishes: int
    overflows: int
    of: int


@dataclass(frozen=True)
class Precision:
    """Hold what fp16 does to a model.

    keep: the operations that must stay in fp32 for parity to hold, by the names of their results; None: no set
    is enough. max_abs_diff: with those in fp32; in_fp16: with all in fp16.
    """

    ranges: tuple[Range, ...]
    constants: tuple[LostConstant, ...]
    keep: tuple[str, ...] | None
    max_abs_diff: float | None
    in_fp16: float | None
    tolerance: float

    @property
    def at_risk(self) -> tuple[Range, ...]:
        """The operations that overflow or come near it, the largest first."""
        return tuple(sorted((r for r in self.ranges if r.verdict != "fits"), key=lambda r: -r.largest))

    @property
    def call(self) -> str:
        """The call of coremltools that keeps those operations in fp32; empty where none need be."""
        if self.keep is None:
            return "ct.convert(..., compute_precision=ct.precision.FLOAT32)"
        if not self.keep:
            return ""
        names = "{" + ", ".join(repr(name) for name in self.keep) + "}"
        # The names of a file are those that coremltools gives in the end; when it selects, `var_33` is `33` still.
        own = r're.sub(r"^(?=\d)", "var_", re.sub(r"\W", "_", name))'
        return (
            "ct.convert(..., compute_precision=ct.transform.FP16ComputePrecision(op_selector=lambda op: "
            f"not any({own} in {names} for name in (op.name, op.outputs[0].name))))"
        )


def predict_precision(reference: Reference, tolerance: Tolerance, artifact: Artifact | None = None) -> Precision:
    """Predict what fp16 does to a classifier as an ML Program, and find what must stay in fp32.

    artifact: the model as an ML Program, by whose names the call names operations: they depend on who traced the
    module. Unless it is in fp32, which holds what was lost in fp16, the classifier is converted, into a directory
    that goes away.
    """
    named = artifact is not None and format_of(artifact).HAS_COMPUTE_PRECISION
    if artifact is not None and named and artifact.precision == "fp32":
        return _predict(reference, tolerance, artifact)
    with tempfile.TemporaryDirectory() as directory:
        converted = bind(convert(reference.classifier, "mlprogram-fp32", Path(directory)), reference.model.task)
        precision = _predict(reference, tolerance, converted)
        if artifact is None or not named or precision.keep is None:
            return precision
        names = _names(read_graph(converted), read_graph(artifact))
        return replace(precision, keep=tuple(names.get(name, name) for name in precision.keep))


def _names(ours: Graph, theirs: Graph) -> dict[str, str]:
    """Translate names of results from one program to another of the same operations, whose casts do not count."""
    both = [[o for o in graph.operations if o.type != "cast"] for graph in (ours, theirs)]
    if [o.type for o in both[0]] != [o.type for o in both[1]]:
        return {}
    return {a.outputs[0]: _plain(b.outputs[0]) for a, b in zip(*both, strict=True)}


def _predict(reference: Reference, tolerance: Tolerance, artifact: Artifact) -> Precision:
    graph = read_graph(artifact)
    model = open_model(artifact.path)
    ranges = largest_values(artifact, graph, evaluator_in(model, lambda name: False), reference.images.pixels)
    constants = lost_constants(graph)
    apart = _measure(reference, artifact, model, tolerance)
    whole = apart(())
    keep: tuple[str, ...] | None = ()
    left = whole
    if not _within(whole, tolerance):
        keep = _smallest(graph, ranges, constants, lambda names: _within(apart(names), tolerance))
        left = apart(keep) if keep is not None else None
    return Precision(ranges, constants, keep, left, whole, tolerance.probability)


def largest_values(artifact: Artifact, graph: Graph, evaluator: Evaluator, pixels: np.ndarray) -> tuple[Range, ...]:
    """Measure the largest |value| of every operation over the images, as an evaluator computes it."""
    largest: dict[str, float] = {}
    for image in pixels:
        feeds = {feature.name: fed(artifact, feature, image[None]) for feature in evaluator.description.input}
        for name, value in evaluator.trace(feeds).items():
            if value.dtype.kind == "f" and value.size:
                highest = float(np.abs(value).max())
                largest[name] = max(largest.get(name, 0.0), np.inf if np.isnan(highest) else highest)
    moving = set(dynamic_values(graph))
    return tuple(
        Range(operation.name, operation.type, operation.index, max(largest.get(n, 0.0) for n in operation.outputs))
        for operation in graph.operations
        if moving.intersection(operation.outputs)
    )


def lost_constants(graph: Graph) -> tuple[LostConstant, ...]:
    """List the constants that become zero or infinite when they are rounded to fp16.

    Of weights some numbers may be too small and nothing is lost; what counts is a constant all of which vanishes.
    """
    lost = []
    for operation in graph.operations:
        for place, array in operation.weights.items():
            sound = array[np.isfinite(array)]
            infinite = int((np.abs(sound) > HALF_LARGEST).sum())
            gone = int(((sound != 0) & (np.abs(sound) < HALF_SMALLEST / 2)).sum())
            if infinite or (gone and gone == int((sound != 0).sum())):
                name = operation.sources.get(place, f"{operation.name}.{place}")
                lost.append(LostConstant(operation.name, place, name, gone, infinite, array.size))
        for place, text in operation.attributes.items():
            if place == "epsilon" and 0 < abs(_number(text)) < HALF_SMALLEST / 2 and place not in operation.weights:
                lost.append(LostConstant(operation.name, place, f"{operation.name}.{place}", 1, 0, 1))
    return tuple(lost)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _plain(name: str) -> str:
    """Name a value as it is called before coremltools casts it to fp16."""
    return name.removesuffix("_cast_fp16")


def _within(apart: float | None, tolerance: Tolerance) -> bool:
    return apart is not None and apart <= tolerance.probability


def _measure(
    reference: Reference, artifact: Artifact, model: ModelFile, tolerance: Tolerance
) -> Callable[[Sequence[str]], float | None]:
    """Make the function from operations kept in fp32 to the largest |dp|; None: no finite answer."""
    known: dict[frozenset[str], float | None] = {}

    def apart(kept: Sequence[str]) -> float | None:
        key = frozenset(kept)
        if key not in known:
            evaluator = evaluator_in(model, lambda name: name not in key)
            predict = classifier_predictions(artifact, evaluator.description, evaluator.predict, 1)
            answers = predict(reference.images.pixels)
            comparison = compare(reference.prediction, answers, tolerance, reference.images.names)
            finite = np.isfinite(answers.probabilities).all()
            known[key] = comparison.max_abs_diff if finite else None
        return known[key]

    return apart


def _smallest(
    graph: Graph,
    ranges: Sequence[Range],
    constants: Sequence[LostConstant],
    enough: Callable[[Sequence[str]], bool],
) -> tuple[str, ...] | None:
    """Find a set of operations that is enough in fp32 and of which none can be spared.

    Begins with what overflows, each with its neighbours, for a value that is too large for its maker is so for its
    readers too; then takes the operations in the order of their largest values, twice as many each time.
    """
    operations = {operation.name: operation for operation in graph.operations}
    consumers = graph.consumers()
    order = [operations[r.operation] for r in sorted(ranges, key=lambda r: -r.largest)]
    start = [operations[r.operation] for r in ranges if r.largest > HALF_LARGEST]
    start += [operations[c.operation] for c in constants if c.operation in operations]
    around = [reader for o in start for name in o.outputs for reader in consumers.get(name, ())]
    for chosen in _growing(start, around, order):
        names = tuple(dict.fromkeys(o.outputs[0] for o in chosen))
        if enough(names):
            largest = {n: r.largest for r in ranges for n in operations[r.operation].outputs}
            return spared(names, largest, enough)
    return None


def _growing(
    start: Sequence[Operation], around: Sequence[Operation], order: Sequence[Operation]
) -> list[list[Operation]]:
    sets = [list(start), [*start, *around]] if start else []
    count = 1
    while count < min(_MOST, len(order)):
        sets.append([*start, *around, *order[:count]])
        count *= 2
    return [*sets, list(order)]


def spared(
    names: tuple[str, ...], largest: Mapping[str, float], enough: Callable[[Sequence[str]], bool]
) -> tuple[str, ...]:
    """Leave out what can be left out: halves first, then one after the other, the smallest values first."""
    kept = sorted(names, key=lambda name: largest.get(name, 0.0))
    size = len(kept) // 2
    while size:
        at = 0
        while at < len(kept):
            without = kept[:at] + kept[at + size :]
            if enough(tuple(without)):
                kept = without
            else:
                at += size
        size //= 2
    return tuple(sorted(kept, key=lambda name: -largest.get(name, 0.0)))
