"""NeuralNetwork (.mlmodel) -> Graph: read the messages of NeuralNetwork.proto and prepare every layer's kernel.

Every value is float32; weights of fewer bits are widened when they are read. Under the shape mapping RANK5, that
of files before iOS 13, tensors are [Seq, Batch, C, H, W]; under EXACT and RANK4 they have the axes that the file
names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parity.coreml.layers.clamp import Clamp
from parity.coreml.nn_interface import Step, classify, read_input, read_labels, read_preprocessing
from parity.coreml.program import Graph, Node, Value
from parity.coreml.registry import Layer, Prepared, find_layer
from parity.errors import CoreMLError, UnsupportedOperationsError


@dataclass
class _Reader:
    """Carry what reading one network needs: the nodes so far, and which value a blob's name stands for now.

    inputs: the model's inputs.
    remaining: how often each blob is still to be written; written: how often it has been.
    clamps: the values that are a Clamp of another value, with that value's name.
    """

    path: str
    inputs: frozenset[str]
    remaining: Counter[str]
    written: Counter[str] = field(default_factory=Counter)
    current: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    clamps: dict[str, tuple[Clamp, str]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)


def read_network(specification: Any, path: str) -> Graph:
    """Read a model of type neuralNetwork, neuralNetworkClassifier or neuralNetworkRegressor.

    specification: the whole model (Model_pb2.Model). Layers that the evaluator lacks are named in one error.
    """
    kind = specification.WhichOneof("Type")
    network, description = getattr(specification, kind), specification.description
    names = frozenset(feature.name for feature in description.input)
    reader = _Reader(path, names, Counter(blob for layer in network.layers for blob in layer.output))
    preprocessing = read_preprocessing(description, network, path)
    inputs: list[Value] = []
    for feature in description.input:
        value, shaping = read_input(feature, network, path)
        inputs.append(value)
        reader.current[value.name] = value.name
        for step in (*preprocessing.get(value.name, ()), *shaping):
            reader.current[value.name] = _append(reader, reader.current[value.name], step)
    for layer in network.layers:
        _read_layer(reader, layer)
    if reader.missing:
        raise UnsupportedOperationsError(path, reader.missing)
    aliases = _outputs(reader, network, description)
    return Graph(tuple(inputs), tuple(aliases), tuple(reader.nodes), aliases=aliases)


def _append(reader: _Reader, value: str, step: Step) -> str:
    """Add a step of the interface and return the name of its result."""
    name = f"{value} ({step.name})"
    reader.nodes.append(
        Node(name, step.name, (value,), (Value(name, "fp32"),), step.run, owns_result=not step.view)
    )
    return name


def _read_layer(reader: _Reader, layer: Any) -> None:
    kind = layer.WhichOneof("layer") or "of an unknown type"
    where = f"{reader.path}: layer `{layer.name}` ({kind})"
    if kind == "custom":
        raise CoreMLError(
            f"{where}: its code, the class `{layer.custom.className}`, is part of an app and not of the file; "
            "convert again without custom layers"
        )
    absent = [blob for blob in layer.input if blob not in reader.current]
    if absent:
        raise CoreMLError(
            f"{where}: the input `{absent[0]}` is given by no layer before it; the file is damaged, convert again"
        )
    inputs = tuple(reader.current[blob] for blob in layer.input)
    outputs = tuple(Value(_define(reader, blob, kind, where), "fp32") for blob in layer.output)
    found = find_layer(kind)
    if found is None:
        reader.missing.setdefault(kind, []).append(layer.name)
    else:
        reader.nodes.append(_prepare(reader, layer, found, inputs, outputs, where))


def _define(reader: _Reader, blob: str, kind: str, where: str) -> str:
    """Name the value that a layer gives a blob: as the blob, unless a later layer or an input has that name."""
    if blob in reader.current and kind != "copy":
        raise CoreMLError(
            f"{where}: the output `{blob}` is given before, and only a copy layer may give it again; "
            "the file is damaged, convert again"
        )
    reader.remaining[blob] -= 1
    reader.written[blob] += 1
    overwritten = reader.remaining[blob] > 0 or blob in reader.inputs
    reader.current[blob] = f"{blob} ({reader.written[blob]})" if overwritten else blob
    return reader.current[blob]


def _prepare(
    reader: _Reader, layer: Any, found: Layer, inputs: tuple[str, ...], outputs: tuple[Value, ...], where: str
) -> Node:
    """Make a layer's node: its weights are read and prepared here, once."""
    params = getattr(layer, found.type)
    try:
        made = found.make(params, layer=layer) if found.wants_layer else found.make(params)
    except ValueError as error:
        raise CoreMLError(f"{where}: {error}; the file is damaged, convert again") from error
    clamped = isinstance(made, Clamp) and len(inputs) == len(outputs) == 1
    if clamped:
        first, source = reader.clamps.get(inputs[0], (Clamp(), inputs[0]))
        made, inputs = made.after(first), (source,)
        reader.clamps[outputs[0].name] = (made, source)
    # A tensor that is joined with itself cannot be overwritten while it is read.
    two_forms = isinstance(made, Clamp | Prepared)
    inplace = made.inplace if two_forms and len(set(inputs)) == len(inputs) else None
    return Node(
        name=layer.name,
        type=found.type,
        inputs=inputs,
        outputs=outputs,
        run=_runner(made.run if two_forms else made, len(outputs)),
        run_inplace=_runner(inplace, len(outputs)) if inplace else None,
        owns_result=not found.view,
        skippable=clamped,
    )


def _runner(function: Callable[..., Any], count: int) -> Callable[..., tuple[Any, ...]]:
    def run(*values: Any) -> tuple[Any, ...]:
        result = function(*values)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != count:
            raise ValueError(f"the file names {count} output(s), the layer gives {len(results)}; convert again")
        return results

    return run


def _outputs(reader: _Reader, network: Any, description: Any) -> dict[str, str]:
    """Find the value of each output of the model."""
    aliases: dict[str, str] = {}
    labels, probabilities = "", ""
    if "labelProbabilityLayerName" in network.DESCRIPTOR.fields_by_name:
        labels, probabilities = _classifier(reader, network)
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


def _classifier(reader: _Reader, network: Any) -> tuple[str, str]:
    """Add the node from probabilities to label and dictionary, and return the names of those two."""
    labels = read_labels(network, reader.path)
    # Without a name the probabilities are what the last layer gives.
    blob = network.labelProbabilityLayerName or next((b for x in reversed(network.layers) for b in x.output), "")
    if not reader.written[blob]:
        raise CoreMLError(f"{reader.path}: the probabilities, `{blob}`, are given by no layer; convert again")
    names = (f"{blob} (label)", f"{blob} (by label)")
    outputs = (Value(names[0], "string"), Value(names[1], "dict"))
    reader.nodes.append(Node(names[0], "classify", (reader.current[blob],), outputs, classify(labels)))
    return names
