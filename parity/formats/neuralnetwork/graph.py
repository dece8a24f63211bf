"""The layers of a NeuralNetwork with their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml import Evaluator
from parity.coreml.layers.weights import read_weights
from parity.coreml.reading.files import open_model
from parity.formats.coreml.graph import planned_graph
from parity.formats.graph import Graph
from parity.formats.neuralnetwork.content import network_of

if TYPE_CHECKING:
    from conversion import Artifact


def read_graph(artifact: Artifact) -> Graph:
    """Read the layers."""
    # First, because it says what is wrong with a file.
    evaluator = Evaluator(artifact.path)
    network = network_of(open_model(artifact.path).specification)
    return planned_graph(artifact, evaluator, {layer.name: (_layer_weights(layer), {}) for layer in network.layers})


def _layer_weights(layer: Any) -> dict[str, np.ndarray]:
    """Read the weights of a NeuralNetwork layer, by their fields."""
    kind = layer.WhichOneof("layer")
    if kind is None:
        return {}
    params = getattr(layer, kind)
    arrays: dict[str, np.ndarray] = {}
    for field, value in params.ListFields():
        if getattr(field.message_type, "name", "") != "WeightParams":
            continue
        shape = layer_shape(kind, params, field.name)
        axes = (1,) if kind == "convolution" and params.isDeconvolution else (0,)
        try:
            arrays[field.name] = read_weights(value, shape or (len(value.floatValue),), field.name, axes).numpy()
        except ValueError:
            continue  # of a layer whose shapes are not known here: the audit does without
    return arrays


def layer_shape(kind: str, params: Any, name: str) -> tuple[int, ...]:
    """Return the shape of a weight of a layer by its field; empty where it is not known here."""
    if kind == "convolution" and name == "weights":
        kernel = tuple(params.kernelSize) or (3, 3)
        first, second = int(params.outputChannels), int(params.kernelChannels)
        if params.isDeconvolution:
            first, second = second, first // max(int(params.nGroups), 1)
        return (first, second, *(int(size) for size in kernel))
    if kind == "convolution":
        return (int(params.outputChannels),)
    if kind in ("innerProduct", "batchedMatmul") and name == "weights":
        sizes = ("outputChannels", "inputChannels")
        if kind == "batchedMatmul":
            sizes = ("weightMatrixFirstDimension", "weightMatrixSecondDimension")
        return tuple(int(getattr(params, size)) for size in sizes)
    if kind == "innerProduct":
        return (int(params.outputChannels),)
    if kind == "batchnorm":
        return (int(params.channels),)
    for shape in ({"data": "shape", "scale": "shapeScale", "bias": "shapeBias"}.get(name, "shape"), "shape"):
        if hasattr(params, shape):
            return tuple(int(size) for size in getattr(params, shape))
    return ()
