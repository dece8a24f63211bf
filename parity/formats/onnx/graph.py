"""The nodes of an ONNX file as operations of a graph, with what is constant worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.formats.compression import blocks_of, spread
from parity.formats.graph import Graph, Operation
from parity.formats.onnx.content import operations as listed_operations
from parity.formats.onnx.description import sizes_of
from parity.formats.outputs import pick_output, wanted_output

if TYPE_CHECKING:
    from conversion import Artifact

# What gives something else each time, or runs a graph of its own; all else is worked out of constants.
_NOT_FOLDED = frozenset(
    (
        *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"),
        *("If", "Loop", "Scan", "SequenceMap"),
    )
)


def read_graph(artifact: Artifact) -> Graph:
    """Read the operations that depend on the image."""
    import onnx

    listed = list(listed_operations(artifact))
    model = onnx.load(str(artifact.path))
    constants = constants_of(model)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    operations: list[Operation] = []
    for one in listed:
        if all(name in constants for name in one.outputs):
            continue
        places = {f"input[{i}]": name for i, name in enumerate(one.inputs) if name in constants}
        operations.append(
            Operation(
                index=len(operations),
                name=one.name,
                type=one.type,
                inputs=tuple(name for name in one.inputs if name and name not in constants),
                outputs=tuple(name for name in one.outputs if name),
                attributes=_default_axis(one.type, opset)
                | {k: v for k, v in one.attributes.items() if isinstance(v, str)},
                weights={
                    place: constants[name].astype(np.float32)
                    for place, name in places.items()
                    if constants[name].dtype.kind == "f"
                },
                sources=places,
            )
        )
    outputs = {value.name: sizes_of(value) for value in model.graph.output}
    image = next(value.name for value in model.graph.input if value.name not in constants)
    return Graph(artifact.format, tuple(operations), image, pick_output(outputs, artifact, wanted_output(artifact)))


def _default_axis(kind: str, opset: int) -> dict[str, str]:
    """Return the axis that an operation has where the file names none: another one from opset to opset."""
    import onnx

    if not onnx.defs.has(kind):
        return {}
    try:
        attributes = onnx.defs.get_schema(kind, opset).attributes
    except onnx.defs.SchemaError:  # newer than the opset that the file claims
        return {}
    default = attributes["axis"].default_value if "axis" in attributes else None
    return {"axis": str(default.i)} if default is not None and default.name == "axis" else {}


def reshape_targets(content: Any, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Read the constants by which operations reshape: operation -> shape."""
    constants = constants_of(content)
    return {
        operation.name: tuple(int(size) for size in constants[operation.sources["input[1]"]].reshape(-1))
        for operation in graph.operations
        if operation.type == "Reshape" and "input[1]" in operation.sources
    }


def constants_of(model: Any) -> dict[str, np.ndarray]:
    """Return what a model knows before it runs: initializers, constants, and what is worked out of these alone."""
    import onnx

    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
                elif attribute.name.startswith("value_") and "string" not in attribute.name:
                    kind = np.float32 if "float" in attribute.name else np.int64
                    constants[node.output[0]] = np.array(onnx.helper.get_attribute_value(attribute), kind)
        elif (
            node.op_type not in _NOT_FOLDED and node.input and all(name in constants for name in node.input if name)
        ):
            constants.update(_worked_out(model, node, constants))
    return constants


def _worked_out(model: Any, node: Any, constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one node on constants; one that onnx.reference does not know gives nothing."""
    from onnx.reference import ReferenceEvaluator

    feeds = {name: constants[name] for name in node.input if name}
    if node.op_type == "DequantizeLinear":
        return {node.output[0]: _dequantised(node, list(feeds.values()))}
    try:
        results = ReferenceEvaluator(_alone(model, node)).run(None, feeds)
    except Exception:  # onnx's own, NumPy's: without this weight the rest can be read all the same
        return {}
    return dict(zip(node.output, results, strict=True))


def _dequantised(node: Any, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Widen quantised numbers; onnx.reference does so from opset 19 on alone."""
    numbers, scale = arrays[0].astype(np.float32), arrays[1]
    zero = arrays[2].astype(np.float32) if len(arrays) > 2 else np.zeros_like(scale)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    zero, scale = (spread(blocks_of(array, numbers.shape, axis), numbers.shape) for array in (zero, scale))
    widened: np.ndarray = ((numbers - zero) * scale).astype(arrays[1].dtype)
    return widened


def _alone(model: Any, node: Any) -> Any:
    import onnx

    inputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
