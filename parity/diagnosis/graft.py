"""Run an artefact with some of its values made by PyTorch, from what the artefact itself gives the operation.

That undoes whatever is wrong with an operation, even where the format has no setting that would: the operation
alone is PyTorch's, all before and all behind it the artefact's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import coreml_classifier, onnx_classifier
from parity.core.results import Prediction
from parity.diagnosis.align import Candidates, Parting, candidates, stand_in, walk
from parity.diagnosis.trace import open_trace

if TYPE_CHECKING:
    import torch

    from conversion import Artifact
    from parity.backends import Predict
    from parity.diagnosis.graph import Graph
    from parity.diagnosis.source import Program
    from parity.diagnosis.types import Located

# Values by name -> what the artefact answers with them.
Answer = Callable[[np.ndarray, Mapping[str, np.ndarray]], Prediction]


def grafted(
    artifact: Artifact, graph: Graph, program: Program, known: Sequence[Located], chosen: Sequence[Located]
) -> Predict:
    """Make a Predict in which PyTorch does what is chosen of the located operations, one after the other.

    known: all that were located: behind each of the others PyTorch goes on from what the artefact gives.
    """
    import torch

    from conversion.deployed import pixels_to_tensor

    trace = open_trace(artifact)
    answer = _with_values(artifact, [one.value for one in chosen])
    further = [_traced_with(artifact, [one.value for one in chosen[:count]]) for count in range(1, len(chosen))]
    partings = {one.value: Parting(one.value, one.number) for one in known if one.number >= 0}

    def wanted(values: dict[str, np.ndarray], image: torch.Tensor, one: Located) -> np.ndarray:
        given = candidates(values, graph)
        return _computed(program, image, given, artifact.precision, graph, one, partings)

    def predict(pixels: np.ndarray) -> Prediction:
        rows = []
        for image in pixels:
            made: dict[str, np.ndarray] = {}
            values = trace(image)
            for place, one in enumerate(chosen):
                if place:
                    values = further[place - 1](image, made)
                with torch.inference_mode():
                    found = wanted(values, pixels_to_tensor(image[None]), one)
                made[one.value] = np.asarray(found, values[one.value].dtype)
            rows.append(answer(image[None], made))
        top1 = [row.top1 for row in rows]
        return replace(
            rows[0],
            probabilities=np.concatenate([row.probabilities for row in rows]),
            top1=tuple(name for row in top1 for name in row or ()) or None,
        )

    return predict


def _computed(
    program: Program,
    image: torch.Tensor,
    given: Candidates,
    precision: str,
    graph: Graph,
    located: Located,
    partings: Mapping[str, Parting],
) -> np.ndarray:
    """Let PyTorch compute a value from what the artefact gives the operation."""
    own = given.values[located.value]
    if located.kind == "extra operation":
        producer = graph.producers()[located.value]
        before = next(given.values[n] for n in producer.inputs if given.values[n].numel() == own.numel())
        return np.asarray(before.reshape(own.shape).numpy())
    found = walk(program, image, given, tuple(partings.values()), precision)
    wanted = stand_in(found.expected[partings[located.value].source].exact, own)
    assert wanted is not None
    return np.asarray(wanted.numpy())


def _with_values(artifact: Artifact, names: Sequence[str]) -> Answer:
    return _onnx(artifact, names) if artifact.format == "onnx" else _coreml(artifact, names)


def _onnx(artifact: Artifact, names: Sequence[str]) -> Answer:
    session, inputs = _session(artifact, names, everything=False)
    outputs = {value.name: value.shape for value in session.get_outputs()}
    feeds: dict[str, np.ndarray] = {}
    predict = onnx_classifier.classifier_predictions(
        artifact, inputs, outputs, lambda output, given: session.run([output], {**given, **feeds})[0], 1
    )

    def answer(pixels: np.ndarray, made: Mapping[str, np.ndarray]) -> Prediction:
        feeds.clear()
        feeds.update(made)
        return predict(pixels)

    return answer


def _session(artifact: Artifact, names: Sequence[str], everything: bool) -> tuple[Any, dict[str, Any]]:
    """Open a session in which some values are inputs; inputs: the others."""
    import onnx
    import onnxruntime

    model = onnx.load(str(artifact.path))
    weights = {tensor.name for tensor in model.graph.initializer}
    half = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    asked = {value.name for value in model.graph.output}
    for name in names:
        for node in model.graph.node:
            node.output[:] = [f"{one} (own)" if one == name else one for one in node.output]
        kind = onnx.TensorProto.FLOAT16 if name in half else onnx.TensorProto.FLOAT
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    for value in [v for v in model.graph.output if v.name in names]:
        # A graph's output cannot be its input as well.
        fresh = f"{value.name} (given)"
        model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [fresh]))
        value.name = fresh
    if everything:
        for node in model.graph.node:
            for name in node.output if node.op_type != "Constant" else ():
                if name and name not in asked:
                    asked.add(name)
                    model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {v.name: v.shape for v in session.get_inputs() if v.name not in names and v.name not in weights}
    return session, given


def _coreml(artifact: Artifact, names: Sequence[str]) -> Answer:
    engine, made = _engine(artifact, names)
    predict = coreml_classifier.classifier_predictions(artifact, engine.description, _inferring(engine.predict), 1)

    def answer(pixels: np.ndarray, given: Mapping[str, np.ndarray]) -> Prediction:
        made.clear()
        made.update(given)
        return predict(pixels)

    return answer


def _inferring(run: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def inferring(inputs: Any) -> Any:
        with torch.inference_mode():
            return run(inputs)

    return inferring


def _engine(artifact: Artifact, names: Sequence[str]) -> tuple[Any, dict[str, np.ndarray]]:
    """Open the evaluator with nodes that give what is in the dictionary in the place of their own."""
    import torch

    from parity.coreml.reading.files import open_model
    from parity.coreml.running.engine import open_engine
    from parity.coreml.running.plan import make_plan

    engine = open_engine(open_model(artifact.path), None)
    made: dict[str, np.ndarray] = {}

    def giving(node: Any) -> Any:
        places = [i for i, value in enumerate(node.outputs) if value.name in names]
        if not places:
            return node

        def run(*given: Any) -> tuple[Any, ...]:
            found = list(node.run(*given))
            for place in places:
                own = found[place]
                if node.outputs[place].name in made:
                    found[place] = torch.from_numpy(made[node.outputs[place].name]).to(own.dtype).reshape(own.shape)
            return tuple(found)

        return replace(node, run=run, run_inplace=None, zeros=None, padded=None)

    graph = engine.plan.graph
    nodes = tuple(giving(node) for node in graph.nodes)
    return replace(engine, plan=make_plan(replace(graph, nodes=nodes), engine.name)), made


def _traced_with(
    artifact: Artifact, names: Sequence[str]
) -> Callable[[np.ndarray, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Make a trace in which some values are given."""
    from parity.backends.feeding import as_tensor

    if artifact.format == "onnx":
        session, inputs = _session(artifact, names, everything=True)
        listed = [value.name for value in session.get_outputs()]
        image_name = next(iter(inputs))

        def traced(image: np.ndarray, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            fed = as_tensor(image[None])
            found = session.run(listed, {image_name: fed, **made})
            return {image_name: fed, **dict(zip(listed, found, strict=True)), **made}

        return traced
    engine, held = _engine(artifact, names)

    def evaluated(image: np.ndarray, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        from parity.backends.coreml_classifier import fed

        held.clear()
        held.update(made)
        feature = engine.description.input[0]
        given = {feature.name: fed(feature, image[None])}
        with torch.inference_mode():
            values = {**engine.feeds(given), **engine.trace(given)}
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}

    return evaluated
