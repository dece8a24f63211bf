"""Changes to the specification of a NeuralNetwork; see `parity.diagnosis.editing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_RGB, _BGR = 20, 30  # FeatureTypes.proto: ImageFeatureType.ColorSpace


def replace_input(
    model: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Take the preprocessing away and put a layer `scale` behind the image."""
    network, feature = _network(model), model.description.input[0]
    if feature.type.imageType.colorSpace == _BGR:
        feature.type.imageType.colorSpace = _RGB
    del network.preprocessing[:]
    for layer in network.layers:
        if layer.name in readers:
            # The steps of the interface have names of ours, `image (scaler)`; the file says `image`.
            layer.input[:] = ["repaired input" if value.split(" (")[0] == name else name for name in layer.input]
    layer = type(network.layers[0])()
    layer.name = "repaired input"
    layer.input.append(feature.name)
    layer.output.append("repaired input")
    layer.scale.shapeScale.extend([3, 1, 1])
    layer.scale.scale.floatValue.extend(scale)
    layer.scale.hasBias = True
    layer.scale.shapeBias.extend([3, 1, 1])
    layer.scale.bias.floatValue.extend(bias)
    network.layers.insert(0, layer)


def set_weight(model: Any, operation: str, place: str, array: np.ndarray) -> None:
    """Replace the weights of a layer's field by fp32 numbers."""
    params = _params(model, operation)
    if place == "bias" and hasattr(params, "hasBias"):
        params.hasBias = True
    weights = getattr(params, place)
    weights.Clear()
    weights.floatValue.extend(array.astype(np.float32).reshape(-1).tolist())


def set_attribute(model: Any, operation: str, name: str, setting: Any) -> None:
    """Set a field of a layer, by its path: `convolution.valid.paddingAmounts.borderAmounts[0].startEdgeSize`."""
    target = _layer(_network(model), operation)
    *path, last = name.split(".")
    for part in path:
        field, _, index = part.rstrip("]").partition("[")
        target = getattr(target, field)
        if index:
            while len(target) <= int(index):
                target.add()
            target = target[int(index)]
    if setting is None:
        target.ClearField(last)
    elif isinstance(setting, list | tuple):
        getattr(target, last)[:] = setting
    else:
        setattr(target, last, setting)


def set_labels(model: Any, labels: Sequence[str]) -> None:
    """Replace the class labels."""
    network = _network(model)
    if hasattr(network, "stringClassLabels"):
        network.stringClassLabels.vector[:] = list(labels)


def labels(model: Any) -> Sequence[str] | None:
    """Read the class labels."""
    network = _network(model)
    kind = network.WhichOneof("ClassLabels") if hasattr(network, "stringClassLabels") else None
    return [str(label) for label in getattr(network, kind).vector] if kind else None


def bypass(model: Any, operation: str) -> None:
    """Take a layer out."""
    network = _network(model)
    layer = _layer(network, operation)
    source, result = layer.input[0], layer.output[0]
    network.layers.remove(layer)
    for other in network.layers:
        if source in other.output:
            # What the model gives, and its probabilities, go by the old name.
            other.output[:] = [result if name == source else name for name in other.output]
        other.input[:] = [result if name == source else name for name in other.input]


def set_output(model: Any, was: str, value: str) -> None:
    """Let a classifier read its probabilities from another blob; without classes the blobs exchange their names."""
    network = _network(model)
    if hasattr(network, "labelProbabilityLayerName"):
        network.labelProbabilityLayerName = value
        return
    names = {was: value, value: was}
    for layer in network.layers:
        layer.input[:] = [names.get(name, name) for name in layer.input]
        layer.output[:] = [names.get(name, name) for name in layer.output]


def _network(model: Any) -> Any:
    return getattr(model, model.WhichOneof("Type"))


def _layer(network: Any, name: str) -> Any:
    return next(layer for layer in network.layers if layer.name == name)


def _params(model: Any, operation: str) -> Any:
    layer = _layer(_network(model), operation)
    return getattr(layer, layer.WhichOneof("layer"))
