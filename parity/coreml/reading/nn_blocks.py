"""Networks inside layers: what a branch and a loop read and write.

A blob of a NeuralNetwork is a variable of the whole model: a branch or a loop has no outputs, it writes blobs that
others read. Here stands which ones; neuralnetwork.py turns them into inputs and outputs of the layer's node. Which
blobs can be seen after a layer is the word of Apple's NeuralNetworkLayerValidator.cpp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

# The variable that says whether an iteration is to be left: None, or what `loopBreak` or `loopContinue` gives.
LEAVE = "(leave)"
# The constant that stands for a blob that no layer has written yet.
UNWRITTEN = "(unwritten)"


def networks(layer: Any) -> list[Any]:
    """List the networks inside a layer: both sides of a branch, the condition and the body of a loop."""
    kind = layer.WhichOneof("layer")
    if kind == "branch":
        return [layer.branch.ifBranch, layer.branch.elseBranch]
    if kind == "loop":
        return [layer.loop.conditionNetwork, layer.loop.bodyNetwork]
    return []


def _layers(layers: Iterable[Any]) -> Iterator[Any]:
    for layer in layers:
        yield layer
        for network in networks(layer):
            yield from _layers(network.layers)


def reads(layers: Iterable[Any]) -> Counter[str]:
    """Count how often these layers, and those inside them, read each blob."""
    return Counter(blob for layer in _layers(layers) for blob in layer.input)


def writes(layers: Iterable[Any]) -> dict[str, None]:
    """List the blobs that these layers and those inside them write; LEAVE is one where a loop is left."""
    written: dict[str, None] = {}
    for layer in layers:
        kind = layer.WhichOneof("layer")
        written |= dict.fromkeys(layer.output)
        if kind in ("loopBreak", "loopContinue"):
            written[LEAVE] = None
        for network in networks(layer):
            inside = writes(network.layers)
            if kind == "loop":
                inside.pop(LEAVE, None)
            written |= inside
    return written
