"""Run a Core ML file in the evaluator so that its inner values can be seen, or be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.core.results import Prediction
from parity.coreml.reading.files import open_model
from parity.formats.coreml.classifier import classifier_predictions, fed
from parity.formats.trace import Answer, Trace, TraceWith

if TYPE_CHECKING:
    from conversion import Artifact


def open_trace(artifact: Artifact, optimised: bool) -> Trace:
    """Let the evaluator show all values; it rewrites no graph, optimised or not."""
    from parity.coreml import Evaluator

    evaluator = Evaluator(artifact.path)

    def trace(pixels: np.ndarray) -> dict[str, np.ndarray]:
        feeds = {feature.name: fed(artifact, feature, pixels[None]) for feature in evaluator.description.input}
        return {**evaluator.feeds(feeds), **evaluator.trace(feeds)}

    return trace


def open_with_values(artifact: Artifact, names: Sequence[str]) -> Answer:
    """Open an engine that answers with some values replaced."""
    engine, held = _engine(artifact, names)
    predict = classifier_predictions(artifact, engine.description, _inferring(engine.predict), 1)

    def answer(pixels: np.ndarray, overrides: Mapping[str, np.ndarray]) -> Prediction:
        held.clear()
        held.update(overrides)
        return predict(pixels)

    return answer


def open_trace_with_values(artifact: Artifact, names: Sequence[str]) -> TraceWith:
    """Open an engine that shows all values with some of them replaced."""
    engine, held = _engine(artifact, names)

    def traced(image: np.ndarray, overrides: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        held.clear()
        held.update(overrides)
        feature = engine.description.input[0]
        feeds = {feature.name: fed(artifact, feature, image[None])}
        with torch.inference_mode():
            values = {**engine.feeds(feeds), **engine.trace(feeds)}
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}

    return traced


def _inferring(run: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def inferring(inputs: Any) -> Any:
        with torch.inference_mode():
            return run(inputs)

    return inferring


def _engine(artifact: Artifact, names: Sequence[str]) -> tuple[Any, dict[str, np.ndarray]]:
    """Open the evaluator with nodes that give what is in the dictionary in the place of their own."""
    import torch

    from parity.coreml.running.engine import open_engine
    from parity.coreml.running.plan import make_plan

    engine = open_engine(open_model(artifact.path), None)
    overrides: dict[str, np.ndarray] = {}

    def giving(node: Any) -> Any:
        places = [i for i, value in enumerate(node.outputs) if value.name in names]
        if not places:
            return node

        def run(*inputs: Any) -> tuple[Any, ...]:
            results = list(node.run(*inputs))
            for place in places:
                own = results[place]
                if node.outputs[place].name in overrides:
                    results[place] = (
                        torch.from_numpy(overrides[node.outputs[place].name]).to(own.dtype).reshape(own.shape)
                    )
            return tuple(results)

        return replace(node, run=run, run_inplace=None, zeros=None, padded=None)

    graph = engine.plan.graph
    nodes = tuple(giving(node) for node in graph.nodes)
    return replace(engine, plan=make_plan(replace(graph, nodes=nodes), engine.name)), overrides
