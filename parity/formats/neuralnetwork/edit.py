"""Changes to the specification of a NeuralNetwork; see `parity.formats.editing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.formats.coreml.edit import BGR, RGB, declare_bgr, takes_image
from parity.formats.coreml.edit import declare_rgb as declare_rgb
from parity.formats.coreml.edit import declares_bgr as declares_bgr
from parity.formats.coreml.edit import halves as halves
from parity.formats.coreml.edit import read as read
from parity.formats.coreml.edit import save as save
from parity.formats.coreml.edit import stop_training as stop_training
from parity.formats.coreml.edit import strange_input_type as strange_input_type
from parity.formats.coreml.edit import take_channels_first as take_channels_first
from parity.formats.coreml.edit import take_floats as take_floats
from parity.formats.coreml.edit import training_norms as training_norms
from parity.formats.coreml.edit import widen as widen
from parity.formats.neuralnetwork.content import network_of


def replace_input(
    model: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
) -> None:
    """Take the preprocessing away and put a layer `scale` behind the image."""
    network, feature = network_of(model), model.description.input[0]
    if feature.type.imageType.colorSpace == BGR:
        feature.type.imageType.colorSpace = RGB
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


def swap_channels(model: Any) -> None:
    """Declare an image to be of blue, green, red; of an array the channels are exchanged by a layer."""
    if takes_image(model):
        declare_bgr(model)
        return
    network, feature = network_of(model), model.description.input[0]
    for layer in network.layers:
        layer.input[:] = ["swapped channels" if name == feature.name else name for name in layer.input]
    layer = type(network.layers[0])()
    layer.name = "swapped channels"
    layer.input.append(feature.name)
    layer.output.append("swapped channels")
    # Counted from the end: a network's arrays may have axes of the format's own before them.
    rank = max(len(feature.type.multiArrayType.shape), 4)
    layer.reverse.reverseDim.extend([place == rank - 3 for place in range(rank)])
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
    target = _layer(network_of(model), operation)
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
    network = network_of(model)
    if hasattr(network, "stringClassLabels"):
        network.stringClassLabels.vector[:] = list(labels)


def labels(model: Any) -> Sequence[str] | None:
    """Read the class labels."""
    network = network_of(model)
    kind = network.WhichOneof("ClassLabels") if hasattr(network, "stringClassLabels") else None
    return [str(label) for label in getattr(network, kind).vector] if kind else None


def bypass(model: Any, operation: str) -> None:
    """Take a layer out."""
    network = network_of(model)
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
    network = network_of(model)
    if hasattr(network, "labelProbabilityLayerName"):
        network.labelProbabilityLayerName = value
        return
    names = {was: value, value: was}
    for layer in network.layers:
        layer.input[:] = [names.get(name, name) for name in layer.input]
        layer.output[:] = [names.get(name, name) for name in layer.output]


def repeat(model: Any, operation: str) -> None:
    """Do a layer twice."""
    layers = network_of(model).layers
    index = next(i for i, layer in enumerate(layers) if layer.name == operation)
    again = type(layers[index])()
    again.CopyFrom(layers[index])
    again.name = f"{operation} again"
    layers[index].output[0] = again.input[0] = f"{again.output[0]} once"
    layers.insert(index + 1, again)


def set_softmax_axis(model: Any, operation: str, axis: int) -> None:
    """Make a softmax one of N dimensions: the layer softmax has no axis."""
    _layer(network_of(model), operation).softmaxND.axis = axis


def fix_shape(model: Any, shape: Sequence[int]) -> None:
    """Put a layer `reshape` behind the image; its batch is the format's own."""
    network = network_of(model)
    image, changed = model.description.input[0].name, "mutated image"
    for layer in network.layers:
        layer.input[:] = [changed if name == image else name for name in layer.input]
    layer = type(network.layers[0])()
    layer.name = changed
    layer.input.append(image)
    layer.output.append(changed)
    layer.reshape.targetShape.extend(shape[1:])
    network.layers.insert(0, layer)


def _layer(network: Any, name: str) -> Any:
    return next(layer for layer in network.layers if layer.name == name)


def _params(model: Any, operation: str) -> Any:
    layer = _layer(network_of(model), operation)
    return getattr(layer, layer.WhichOneof("layer"))
