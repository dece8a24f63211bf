"""NeuralNetwork (.mlmodel) -> Graph: read the messages of NeuralNetwork.proto and prepare every layer's kernel.

Every value is float32; weights of fewer bits are widened when they are read. Under the shape mapping RANK5, that
of files before iOS 13, tensors are [Seq, Batch, C, H, W]; under EXACT and RANK4 they have the axes that the file
names.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml.program import Graph, Node, Value
from parity.coreml.reading.nn_blocks import reads
from parity.coreml.reading.nn_interface import Step, classify, read_input, read_labels, read_preprocessing
from parity.coreml.reading.nn_reader import Reader, count_writes, read_layers


def read_network(specification: Any, path: str) -> Graph:
    """Read a model of type neuralNetwork, neuralNetworkClassifier or neuralNetworkRegressor.

    specification: the whole model (Model_pb2.Model). Layers that the evaluator lacks are named in one error.
    """
    kind = specification.WhichOneof("Type")
    network, description = getattr(specification, kind), specification.description
    names = frozenset(feature.name for feature in description.input)
    read = reads(network.layers) + Counter([*(f.name for f in description.output), _probabilities(network)])
    reader = Reader(path, names, read, count_writes(network.layers), {})
    preprocessing = read_preprocessing(description, network, path)
    inputs: list[Value] = []
    for feature in description.input:
        value, shaping = read_input(feature, network, path)
        inputs.append(value)
        reader.current[value.name] = value.name
        for step in (*preprocessing.get(value.name, ()), *shaping):
            reader.current[value.name] = _append(reader, reader.current[value.name], step)
    read_layers(reader, network.layers)
    if reader.missing:
        raise UnsupportedOperationsError(path, reader.missing)
    aliases = _outputs(reader, network, description)
    return reader.graph(tuple(inputs), tuple(aliases), aliases)


def _append(reader: Reader, value: str, step: Step) -> str:
    """Add a step of the interface and return the name of its result."""
    name = f"{value} ({step.name})"
    reader.nodes.append(
        Node(name, step.name, (value,), (Value(name, "fp32"),), step.run, owns_result=not step.view)
    )
    return name


def _outputs(reader: Reader, network: Any, description: Any) -> dict[str, str]:
    """Find the value of each output of the model."""
    aliases: dict[str, str] = {}
    labels, probabilities = _classifier(reader, network) if _is_classifier(network) else ("", "")
    for feature in description.output:
        kind = feature.type.WhichOneof("Type")
        if labels and kind in ("stringType", "int64Type"):
            aliases[feature.name] = labels
        elif labels and kind == "dictionaryType":
            aliases[feature.name] = probabilities
        elif not reader.written[feature.name]:
            raise CoreMLError(f"{reader.path}: the output `{feature.name}` is given by no layer; convert again")
        else:
            aliases[feature.name] = reader.current[feature.name]
    return aliases


def _classifier(reader: Reader, network: Any) -> tuple[str, str]:
    """Add the node from probabilities to label and dictionary, and return the names of those two."""
    labels = read_labels(network, reader.path)
    blob = _probabilities(network)
    if not reader.written[blob]:
        raise CoreMLError(f"{reader.path}: the probabilities, `{blob}`, are given by no layer; convert again")
    names = (f"{blob} (label)", f"{blob} (by label)")
    outputs = (Value(names[0], "string"), Value(names[1], "dict"))
    reader.nodes.append(Node(names[0], "classify", (reader.current[blob],), outputs, classify(labels)))
    return names


def _is_classifier(network: Any) -> bool:
    return "labelProbabilityLayerName" in network.DESCRIPTOR.fields_by_name


def _probabilities(network: Any) -> str:
    """Name the blob of a classifier's probabilities; without a name it is what the last layer gives."""
    if not _is_classifier(network):
        return ""
    return network.labelProbabilityLayerName or next((b for x in reversed(network.layers) for b in x.output), "")
