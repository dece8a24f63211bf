"""Run an ONNX file so that its inner values can be seen, or be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.core.refusals import refusals
from parity.core.results import Prediction
from parity.formats.arrays import Input, classifier_predictions, feed
from parity.formats.onnx.inputs import graph_inputs, session_inputs
from parity.formats.onnx.session import UNOPTIMISED, open_session
from parity.formats.trace import Answer, Trace, TraceWith

if TYPE_CHECKING:
    from conversion import Artifact

# Behind the name of an output that is replaced.
_REPLACED = " (replaced)"


def open_trace(artifact: Artifact, optimised: bool) -> Trace:
    """Ask ONNX Runtime for all values; optimised: let it rewrite the graph."""
    import onnx

    model = onnx.load(str(artifact.path))
    inputs = graph_inputs(model)
    (image,) = inputs.values()
    batch = image.shape[0] or 1
    _ask_for_all(model)
    with refusals(f"{artifact.path}: ONNX Runtime cannot show the values inside"):
        session = open_session(model.SerializeToString(), "ORT_ENABLE_ALL" if optimised else UNOPTIMISED)
    names = [value.name for value in session.get_outputs()]

    def trace(pixels: np.ndarray) -> dict[str, np.ndarray]:
        fed = feed(artifact, inputs, np.repeat(pixels[None], batch, axis=0))
        with refusals(f"{artifact.path}: ONNX Runtime cannot run it"):
            values = session.run(names, fed)
        return {**fed, **{n: v for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray)}}

    return trace


def open_with_values(artifact: Artifact, names: Sequence[str]) -> Answer:
    """Open a session that answers with some values replaced."""
    session, inputs = _session(artifact, names, everything=False)
    # By the names that the file has for them.
    asked = {value.name.removesuffix(_REPLACED): value for value in session.get_outputs()}
    feeds: dict[str, np.ndarray] = {}

    def run(output: str, image_feed: Mapping[str, np.ndarray]) -> Any:
        return session.run([asked[output].name], {**image_feed, **feeds})[0]

    outputs = {name: value.shape for name, value in asked.items()}
    predict = classifier_predictions(artifact, inputs, outputs, run, 1)

    def answer(pixels: np.ndarray, overrides: Mapping[str, np.ndarray]) -> Prediction:
        feeds.clear()
        feeds.update(overrides)
        return predict(pixels)

    return answer


def open_trace_with_values(artifact: Artifact, names: Sequence[str]) -> TraceWith:
    """Open a session that shows all values with some of them replaced."""
    session, inputs = _session(artifact, names, everything=True)
    listed = [value.name for value in session.get_outputs()]

    def traced(image: np.ndarray, overrides: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed = feed(artifact, inputs, image[None])
        with refusals(f"{artifact.path}: ONNX Runtime cannot run it"):
            values = session.run(listed, {**fed, **overrides})
        return {**fed, **dict(zip(listed, values, strict=True)), **overrides}

    return traced


def _session(artifact: Artifact, names: Sequence[str], everything: bool) -> tuple[Any, dict[str, Input]]:
    """Open a session in which some values are inputs; inputs: the others."""
    import onnx

    model = onnx.load(str(artifact.path))
    weights = {tensor.name for tensor in model.graph.initializer}
    half = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    for name in names:
        for node in model.graph.node:
            node.output[:] = [f"{one} (own)" if one == name else one for one in node.output]
        kind = onnx.TensorProto.FLOAT16 if name in half else onnx.TensorProto.FLOAT
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    for value in [v for v in model.graph.output if v.name in names]:
        # A graph's output cannot be its input as well.
        fresh = f"{value.name}{_REPLACED}"
        model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [fresh]))
        value.name = fresh
    if everything:
        _ask_for_all(model)
    session = open_session(model.SerializeToString(), UNOPTIMISED)
    return session, session_inputs(session, {*names, *weights})


def _ask_for_all(model: Any) -> None:
    """Make every value an output."""
    import onnx

    asked = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            # A constant is no value of a run, and ONNX Runtime folds it away.
            if name and name not in asked and node.op_type != "Constant":
                asked.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))
