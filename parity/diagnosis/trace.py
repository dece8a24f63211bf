"""All values of one run of an artefact, image by image: never those of two images in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parity.backends.coreml_classifier import fed as fed_to
from parity.backends.feeding import as_tensor
from parity.core.errors import ParityError
from parity.diagnosis.edit_onnx import image_of
from parity.diagnosis.failures import refusals

if TYPE_CHECKING:
    from conversion import Artifact

# Takes the pixels of one image, uint8 [H, W, 3]; gives every value, the input among them, by its name in the file.
Trace = Callable[[np.ndarray], dict[str, np.ndarray]]


def open_trace(artifact: Artifact, optimised: bool = False) -> Trace:
    """Open an artefact once, to trace one image after the other.

    optimised: let ONNX Runtime rewrite the graph, as far as it can while every value is asked for.
    """
    return _onnx(artifact, optimised) if artifact.format == "onnx" else _coreml(artifact)


def _onnx(artifact: Artifact, optimised: bool) -> Trace:
    import onnx
    import onnxruntime

    model = onnx.load(str(artifact.path))
    image = image_of(model)
    batch = image.type.tensor_type.shape.dim[0].dim_value or 1
    asked = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            # A constant is no value of a run, and ONNX Runtime folds it away.
            if name and name not in asked and node.op_type != "Constant":
                asked.add(name)
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has an exception class for each of its status codes
        raise ParityError(f"{artifact.path}: ONNX Runtime cannot show the values inside: {error}") from error
    names = [value.name for value in session.get_outputs()]

    def trace(pixels: np.ndarray) -> dict[str, np.ndarray]:
        fed = np.repeat(as_tensor(pixels[None]), batch, axis=0)
        with refusals(f"{artifact.path}: ONNX Runtime cannot run it"):
            found = session.run(names, {image.name: fed})
        return {image.name: fed, **{n: v for n, v in zip(names, found, strict=True) if isinstance(v, np.ndarray)}}

    return trace


def _coreml(artifact: Artifact) -> Trace:
    from parity.coreml import Evaluator

    evaluator = Evaluator(artifact.path)

    def trace(pixels: np.ndarray) -> dict[str, np.ndarray]:
        given = {feature.name: fed_to(feature, pixels[None]) for feature in evaluator.description.input}
        return {**evaluator.feeds(given), **evaluator.trace(given)}

    return trace
