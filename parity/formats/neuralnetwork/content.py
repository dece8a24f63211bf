"""What is in a NeuralNetwork: its layers with their settings, and the parts that its digest is taken of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml.reading.files import open_model
from parity.formats.coreml.content import content_of
from parity.formats.facts import Content
from parity.formats.listing import Operation, as_text

if TYPE_CHECKING:
    from conversion import Artifact

# Of NeuralNetwork.proto's layers: how they hang together, which the order of the operations says already.
_WIRING = frozenset(("name", "input", "output", "inputTensor", "outputTensor"))


def network_of(specification: Any) -> Any:
    """Return the network inside a model, a classifier's or a regressor's too."""
    return getattr(specification, specification.WhichOneof("Type"))


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the steps of the preprocessing, and the layers in the order of the file."""
    network = network_of(open_model(artifact.path).specification)
    for step in network.preprocessing:
        yield Operation("preprocessing", step.featureName, dict(_fields(step)))
    for layer in network.layers:
        settings = {place: value for place, value in _fields(layer) if place.split(".")[0] not in _WIRING}
        kind = layer.WhichOneof("layer") or "layer"
        yield Operation(kind, layer.name, settings, tuple(layer.input), tuple(layer.output))


def _fields(message: Any, place: str = "") -> Iterator[tuple[str, str | np.ndarray]]:
    """Walk through what is set in a protobuf message: `convolution.stride` -> [2, 2]."""
    for field, value in message.ListFields():
        where = f"{place}.{field.name}" if place else field.name
        several = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if several and field.message_type is None:
            yield where, np.array(value, np.float32) if field.name == "floatValue" else as_text(list(value))
        elif field.message_type is None:
            yield where, as_text(value)
        elif not several:
            # A message without anything in it says something too: that it is there.
            yield from [*_fields(value, where)] or [(where, "present")]
        else:
            for index, item in enumerate(value):
                yield from _fields(item, f"{where}[{index}]")


def content(path: Path) -> Content:
    """Read what facts and digest are taken from, without the notes of converters."""
    model = open_model(path)
    network = network_of(model.specification)
    counts = Counter(_types(network))
    counts.update(f"preprocessing.{step.WhichOneof('preprocessor')}" for step in network.preprocessing)
    return content_of(model, "", counts)


def _types(network: Any) -> Iterator[str]:
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        if kind not in ("loadConstant", "loadConstantND"):
            yield kind
        if kind == "loop":
            yield from _types(layer.loop.conditionNetwork)
            yield from _types(layer.loop.bodyNetwork)
        elif kind == "branch":
            yield from _types(layer.branch.ifBranch)
            yield from _types(layer.branch.elseBranch)
