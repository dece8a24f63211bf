"""The layers of a NeuralNetwork -> nodes: name every value, prepare every layer's kernel, make networks blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity.core.errors import CoreMLError
from parity.coreml.layers.clamp import Clamp
from parity.coreml.program import Graph, Node, Value
from parity.coreml.reading.nn_blocks import LEAVE, UNWRITTEN, networks, reads, writes
from parity.coreml.reading.nn_nodes import layer_node, make_kernel, runner
from parity.coreml.registry import Layer, find_layer
from parity.coreml.running.blocks import captured_by, make_block, with_blocks


@dataclass
class Reader:
    """Carry what reading one network needs: the nodes so far, and which value a blob's name stands for now.

    inputs: the model's inputs.
    reads: how often each blob is read in the whole model, as an output of the model too.
    remaining: how often each blob is still to be written here; written: how often it has been.
    scope: empty for the model's own network; tells the values of a network inside a layer from those around it.
    current: blob -> value, of those that a layer may read now; entry: the same at the start of an iteration.
    clamps: the values that are a Clamp of another value, with that value's name.
    """

    path: str
    inputs: frozenset[str]
    reads: Counter[str]
    remaining: Counter[str]
    missing: dict[str, list[str]]
    scope: str = ""
    current: dict[str, str] = field(default_factory=dict)
    entry: dict[str, str] = field(default_factory=dict)
    constants: dict[str, None] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)
    nodes: list[Node] = field(default_factory=list)
    clamps: dict[str, tuple[Clamp, str]] = field(default_factory=dict)

    def value(self, blob: str) -> str:
        """Name the value of a blob; of one that is not written yet, that of the iteration before."""
        return self.current.get(blob, self.entry.get(blob, UNWRITTEN))

    def graph(self, inputs: tuple[Value, ...], outputs: Sequence[str], aliases: Mapping[str, str]) -> Graph:
        """Make the graph of the nodes. aliases: output -> value."""
        used = {name for node in self.nodes for name in node.inputs} | set(aliases.values())
        constants = self.constants | ({UNWRITTEN: None} if UNWRITTEN in used else {})
        return Graph(inputs, tuple(outputs), tuple(self.nodes), constants, aliases)


def count_writes(layers: Sequence[Any]) -> Counter[str]:
    """Count the layers that write each blob, directly or inside."""
    return Counter(blob for layer in layers for blob in writes([layer]))


def read_layers(reader: Reader, layers: Sequence[Any]) -> None:
    """Add the nodes of these layers."""
    for index, layer in enumerate(layers):
        kind = layer.WhichOneof("layer") or "of an unknown type"
        where = f"{reader.path}: layer `{layer.name}` ({kind})"
        _read_layer(reader, layer, kind, where)
        rest = layers[index + 1 :]
        if rest and LEAVE in writes([layer]):
            _read_rest(reader, rest, layer.name, where)
            return


def _read_layer(reader: Reader, layer: Any, kind: str, where: str) -> None:
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
    registered = find_layer(kind)
    if kind == "branch" and registered:
        _read_branch(reader, layer, registered, where)
    elif kind == "loop" and registered:
        _read_loop(reader, layer, registered, where)
    else:
        inputs = tuple(reader.current[blob] for blob in layer.input)
        outputs = tuple(
            Value(_define(reader, blob, kind, where), "fp32") for blob in _written(reader, layer, where)
        )
        if registered is None:
            reader.missing.setdefault(kind, []).append(layer.name)
        else:
            reader.nodes.append(layer_node(layer, registered, inputs, outputs, reader.clamps, where))


def _written(reader: Reader, layer: Any, where: str) -> Sequence[str]:
    if layer.WhichOneof("layer") not in ("loopBreak", "loopContinue"):
        return list(layer.output)
    if LEAVE not in reader.current:
        raise CoreMLError(f"{where}: stands outside the body of a loop; the file is damaged, convert again")
    return [LEAVE]


def _define(reader: Reader, blob: str, kind: str, where: str) -> str:
    """Name the value that a layer gives a blob: as the blob, unless a later layer or an input has that name."""
    if blob in reader.current and kind not in ("copy", "branch", "loop", "loopBreak", "loopContinue"):
        raise CoreMLError(
            f"{where}: the output `{blob}` is given before, and only a copy layer may give it again; "
            "the file is damaged, convert again"
        )
    reader.remaining[blob] -= 1
    reader.written[blob] += 1
    overwritten = reader.remaining[blob] > 0 or blob in reader.inputs
    if reader.scope:
        reader.current[blob] = f"{blob} ({reader.written[blob]} in {reader.scope})"
    else:
        reader.current[blob] = f"{blob} ({reader.written[blob]})" if overwritten else blob
    return reader.current[blob]


def _inside(reader: Reader, name: str, layers: Sequence[Any], current: Mapping[str, str]) -> Reader:
    return Reader(
        path=reader.path,
        inputs=reader.inputs,
        reads=reader.reads,
        remaining=count_writes(layers),
        missing=reader.missing,
        scope=f"{reader.scope}/{name}",
        current=dict(current),
        entry=reader.entry,
    )


def _read_branch(reader: Reader, layer: Any, registered: Layer, where: str) -> None:
    if len(layer.input) != 1 or layer.output:
        raise CoreMLError(f"{where}: takes one input, the condition, and no outputs; convert again")
    sides = [network.layers for network in networks(layer)]
    children = [_inside(reader, f"{layer.name}.{i}", side, reader.current) for i, side in enumerate(sides)]
    for child, side in zip(children, sides, strict=True):
        read_layers(child, side)
    inside = reads(sides[0]) + reads(sides[1])
    gives = [
        blob
        for blob in writes([layer])
        if blob in reader.current
        # A blob that only one side writes cannot be seen after the branch.
        or (reader.reads[blob] > inside[blob] and all(blob in child.current for child in children))
    ]
    run = make_kernel(layer, registered, where)
    condition = reader.current[layer.input[0]]
    node = _BlockNode(layer.name, "branch", (condition,), where)
    _add(reader, node, run, [_side(child, gives) for child in children], gives)


def _read_rest(reader: Reader, layers: Sequence[Any], name: str, where: str) -> None:
    """Read what follows a layer that may leave the iteration: a block that runs where it did not."""
    rest = _inside(reader, f"{name}.rest", layers, reader.current)
    read_layers(rest, layers)
    inside = reads(layers)
    gives = [blob for blob in writes(layers) if blob in reader.current or reader.reads[blob] > inside[blob]]
    skipped = _inside(reader, f"{name}.skipped", (), reader.current)

    def run(left: Any, *, blocks: Sequence[Callable[..., Any]]) -> Any:
        return blocks[left is not None]()

    graphs = [_side(rest, gives), _side(skipped, gives)]
    _add(reader, _BlockNode(f"after {name}", "branch", (reader.current[LEAVE],), where), run, graphs, gives)


def _side(child: Reader, gives: Sequence[str]) -> Graph:
    return child.graph((), gives, {blob: child.value(blob) for blob in gives})


def _read_loop(reader: Reader, layer: Any, registered: Layer, where: str) -> None:
    condition, body = (network.layers for network in networks(layer))
    tested, done = writes(condition), writes(body)
    done.pop(LEAVE, None)
    flag = layer.loop.conditionVar
    if len(layer.input) > 1 or layer.output:
        raise CoreMLError(f"{where}: takes at most one input, the number of iterations, and no outputs")
    if flag not in tested and (flag or condition):
        raise CoreMLError(f"{where}: its condition `{flag}` is given by no layer of its condition network")
    inside = reads(condition) + reads(body)
    # Beside a condition, a blob that only the body writes cannot be seen after the loop.
    lasting = tested if condition else done
    variables = [
        blob
        for blob in tested | done
        if blob in reader.current
        or (blob in lasting and reader.reads[blob] > inside[blob])
        or (blob in tested and inside[blob])
    ]
    entry = {blob: f"{blob} (in {reader.scope}/{layer.name})" for blob in variables}
    inputs = tuple(Value(entry[blob], "fp32") for blob in variables)
    outer = {blob: value for blob, value in reader.current.items() if blob != LEAVE}
    seen = outer | {blob: entry[blob] for blob in variables if blob in outer}
    test = _inside(reader, f"{layer.name}.condition", condition, seen)
    seen |= {blob: entry[blob] for blob in variables if blob in tested}
    turn = _inside(reader, f"{layer.name}.body", body, seen | {LEAVE: LEAVE})
    turn.constants[LEAVE] = None
    for child, layers in ((test, condition), (turn, body)):
        child.entry = entry
        read_layers(child, layers)
    # A loop without a condition never asks for its flag.
    graphs = [_turn(test, inputs, flag or UNWRITTEN, variables), _turn(turn, inputs, LEAVE, variables)]
    operands = (*(reader.current[blob] for blob in layer.input), *(reader.value(blob) for blob in variables))
    node = _BlockNode(layer.name, "loop", operands, where)
    _add(reader, node, make_kernel(layer, registered, where), graphs, variables)


def _turn(child: Reader, inputs: tuple[Value, ...], first: str, variables: Sequence[str]) -> Graph:
    gives = (first, *variables)
    return child.graph(inputs, gives, {blob: child.value(blob) for blob in gives})


@dataclass(frozen=True)
class _BlockNode:
    """Name the node of a layer with blocks, and what it reads itself; where: how errors name the layer."""

    name: str
    type: str
    operands: tuple[str, ...]
    where: str


def _add(
    reader: Reader, node: _BlockNode, run: Callable[..., Any], graphs: Sequence[Graph], gives: Sequence[str]
) -> None:
    """Add a node with blocks; it gives a value to each of the blobs `gives`."""
    outputs = tuple(Value(_define(reader, blob, node.type, node.where), "fp32") for blob in gives)
    if reader.missing:
        return  # without its kernels a block cannot be planned, and reading goes on to name them all
    blocks = [make_block(graph, reader.path) for graph in graphs]
    inputs = (*node.operands, *captured_by(blocks))
    function = runner(with_blocks(run, blocks, len(node.operands)), len(outputs))
    reader.nodes.append(Node(node.name, node.type, inputs, outputs, function, owns_result=False))
