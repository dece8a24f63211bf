"""A plan under several arithmetics at once: what is the same in all of them is computed once.

feeds --plan--> values, and of each arithmetic those that differ --> outputs of each

An operation is computed again for an arithmetic only where it computes otherwise, or where it reads a value that is
another one already. A result that comes out the same to the last bit is shared from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch

from conversion.artifact import Artifact
from conversion.guards.torch_defaults import with_torch_defaults
from parity.backends import backends_for
from parity.core.errors import ParityError
from parity.core.prediction import Prediction
from parity.coreml.reading.files import open_model
from parity.coreml.running.blocks import one_prediction
from parity.coreml.running.engine import Engine, open_engine
from parity.coreml.running.features import answer
from parity.coreml.running.plan import Plan, make_plan
from parity.envelope.arithmetics import Arithmetic
from parity.envelope.kernels import Change, changes_of, halve, same
from parity.formats.coreml.classifier import classifier_predictions

EVALUATOR = "coreml-evaluator"


@dataclass(frozen=True)
class Variant:
    """Hold an arithmetic with the nodes that it changes, by the name of their first output."""

    arithmetic: Arithmetic
    changes: Mapping[str, Change]

    def without(self, names: Collection[str]) -> Variant:
        """Return the same with some nodes computed as the evaluator does."""
        return replace(self, changes={name: c for name, c in self.changes.items() if name not in names})


@dataclass
class Opened:
    """Hold a file whose operations can be computed in other ways.

    variable: the operations themselves, and not their results alone. seconds: what evaluations took so far, of the
    file as it is and of all arithmetics with it; images: how many. Only where both were timed.
    """

    artifact: Artifact
    engine: Engine
    plan: Plan
    variable: bool
    seconds: list[tuple[float, float]] = field(default_factory=list)

    def variant(self, arithmetic: Arithmetic) -> Variant:
        """Make a variant; of a file without fp16 values what is declared fp32 is computed in fp16 for it."""
        halves = arithmetic.halves or not self.has_halves
        known = replace(arithmetic, halves=halves)
        return Variant(known, changes_of(self.plan.graph, known))

    @property
    def has_halves(self) -> bool:
        """Say whether the file computes anything in fp16."""
        return any(value.dtype == "fp16" for node in self.plan.graph.nodes for value in node.outputs)

    @with_torch_defaults
    def predict(self, variants: Sequence[Variant], pixels: np.ndarray, batch: int = 1) -> list[Prediction]:
        """Answer images in round-once and in each variant: one Prediction for each. pixels: uint8 [N, H, W, 3]."""
        found: list[list[Prediction]] = [[] for _ in range(len(variants) + 1)]
        for start in range(0, len(pixels), batch):
            part, answers = pixels[start : start + batch], _Answers(self, variants)
            for index, kept in enumerate(found):
                run = answers.of(index)
                kept.append(classifier_predictions(self.artifact, self.engine.description, run, batch)(part))
        return [joined(parts) for parts in found]


def open_variable(artifact: Artifact) -> Opened:
    """Open a Core ML file so that its operations can be computed in other ways.

    What the evaluator does not run is a ParityError, and so is a pipeline, or a model that keeps a state.
    """
    if EVALUATOR not in backends_for(artifact.format):
        raise ParityError(
            f"{artifact.path}: an envelope is computed by {EVALUATOR}, which does not run {artifact.format}; give "
            "the Core ML file"
        )
    model = open_model(artifact.path)
    if str(model.specification.WhichOneof("Type")).startswith("pipeline"):
        raise ParityError(f"{artifact.path}: a pipeline has no envelope; give one of its models")
    engine = open_engine(replace(model, open_forms=True), None)
    if engine.states:
        raise ParityError(f"{artifact.path}: a model that keeps a state has no envelope")
    # Each node by itself: what is folded into another, or overwritten, cannot be computed in two ways.
    nodes = tuple(replace(node, run_inplace=None, zeros=None, padded=None) for node in engine.plan.graph.nodes)
    plan = make_plan(replace(engine.plan.graph, nodes=nodes), engine.plan.where)
    return Opened(artifact, engine, plan, any(node.form for node in nodes))


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Put the answers to several batches together."""
    rows = np.concatenate([part.probabilities for part in parts])
    named = [part.top1 for part in parts if part.top1]
    top1 = tuple(name for names in named for name in names) if len(named) == len(parts) else None
    return Prediction(rows, parts[0].labels, top1, answer_shape=parts[0].answer_shape)


class _Answers:
    """Hold what one batch is answered in every arithmetic; the first that is asked for computes all."""

    def __init__(self, opened: Opened, variants: Sequence[Variant]) -> None:
        self.opened, self.variants = opened, variants
        self.outputs: list[Mapping[str, Any]] | None = None

    def of(self, index: int) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        """Return what MLModel.predict is, under one of the arithmetics."""

        def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            if self.outputs is None:
                self.outputs = _run_all(self.opened, self.variants, inputs)
            return self.outputs[index]

        return run


def _run_all(opened: Opened, variants: Sequence[Variant], inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    engine = opened.engine
    with torch.inference_mode(), one_prediction(), engine.guarded(feeds := engine.feeds(inputs)):
        ordered = [feeds[value.name] for value in opened.plan.graph.inputs]
        begun = perf_counter()
        alone, listed = run_plan(opened.plan, variants, ordered)
        opened.seconds.append((alone, perf_counter() - begun))
    described = engine.description.output
    names = opened.plan.graph.outputs
    found = [dict(zip(names, values, strict=True)) for values in listed]
    return [{f.name: answer(f, values[f.name], engine.name) for f in described} for values in found]


def run_plan(plan: Plan, variants: Sequence[Variant], inputs: Sequence[Any]) -> tuple[float, list[tuple[Any, ...]]]:
    """Run a plan as it is and in each variant; return the seconds of the first alone, and all outputs, in order."""
    values: list[Any] = [*inputs, *plan.initial]
    own: list[dict[int, Any]] = [dict(_halved(values)) if v.arithmetic.halves else {} for v in variants]
    alone = 0.0
    for step in plan.steps:
        begun = perf_counter()
        results = step.run(*[values[place] for place in step.inputs])
        alone += perf_counter() - begun
        name = step.node.outputs[0].name if step.node.outputs else ""
        for variant, other in zip(variants, own, strict=True):
            change = variant.changes.get(name)
            reads_own = not other.keys().isdisjoint(step.inputs)
            if change is None and not reads_own:
                continue
            found = results
            run = change.run if change and change.run else step.run if reads_own else None
            if run is not None:
                found = run(*[other.get(place, values[place]) for place in step.inputs])
            if change:
                found = tuple(a(x) if a else x for a, x in zip(change.adjust, found, strict=True))
            for place, result, shared in zip(step.outputs, found, results, strict=True):
                if not same(result, shared):
                    other[place] = result
        for place, result in zip(step.outputs, results, strict=True):
            values[place] = result
        for place in step.frees:
            values[place] = None
            for other in own:
                other.pop(place, None)
    ways = ({}, *own)
    return alone, [tuple(way.get(place, values[place]) for place in plan.outputs) for way in ways]


def _halved(values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Give what is no fp16 number among the values that a run begins with, rounded to one."""
    for place, value in enumerate(values):
        if not same(halved := halve(value), value):
            yield place, halved


def cost_of(seconds: Sequence[tuple[float, float]]) -> float | None:
    """Say how many evaluations of the file alone all arithmetics took; the first prepares, and is left out."""
    timed = seconds[1:]
    alone = sum(one for one, _ in timed)
    return sum(whole for _, whole in timed) / alone if alone else None
