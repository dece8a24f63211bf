"""One view of an artefact's computation, whatever its format: operations in order, values by name, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.backends import pick_output
from parity.backends.outputs import WANTED
from parity.coreml import Evaluator
from parity.coreml.layers.weights import read_weights
from parity.coreml.reading.files import ModelFile, open_model
from parity.coreml.reading.mil import read_constants
from parity.formats import attributes

if TYPE_CHECKING:
    from conversion import Artifact

# What exporters put between a weight and its reader; worked out here where its inputs are constants.
_FOLDED = frozenset(
    (
        *(
            "Identity",
            "Transpose",
            "Reshape",
            "Unsqueeze",
            "Squeeze",
            "Flatten",
            "Expand",
            "Concat",
            "Gather",
            "Slice",
        ),
        *("Cast", "DequantizeLinear", "Mul", "Add", "Sub", "Div", "Sqrt", "Neg", "Reciprocal"),
    )
)


@dataclass(frozen=True)
class Operation:
    """Hold one operation of an artefact.

    inputs, outputs: the values that it reads and gives; constants are not among its inputs.
    attributes: its settings as text. weights: by the place at which it reads them, fp16 and compressed ones as the
    float32 numbers that they stand for. sources: the same places -> the names of those constants in the file.
    """

    index: int
    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]
    weights: Mapping[str, np.ndarray]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Graph:
    """Hold the operations in the order of the file. input: the image; output: the value with the probabilities."""

    format: str
    operations: tuple[Operation, ...]
    input: str
    output: str

    def producers(self) -> dict[str, Operation]:
        """Return the operation that gives each value."""
        return {name: operation for operation in self.operations for name in operation.outputs}

    def consumers(self) -> dict[str, list[Operation]]:
        """Return the operations that read each value."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                found.setdefault(name, []).append(operation)
        return found


def read_graph(artifact: Artifact) -> Graph:
    """Read an artefact; one that cannot be read is a ParityError or a ConversionError."""
    if artifact.format == "onnx":
        return _onnx(artifact)
    evaluator = Evaluator(artifact.path)
    model = open_model(artifact.path)
    if artifact.format == "mlprogram":
        return _coreml(artifact, evaluator, dict(_program_weights(model)))
    network = getattr(model.specification, str(model.specification.WhichOneof("Type")))
    return _coreml(artifact, evaluator, {layer.name: (_layer_weights(layer), {}) for layer in network.layers})


def dynamic_values(graph: Graph) -> list[str]:
    """List the values that depend on the image, in order."""
    found = {graph.input: None}
    for operation in graph.operations:
        if any(name in found for name in operation.inputs):
            found |= dict.fromkeys(operation.outputs)
    return list(found)


def _coreml(
    artifact: Artifact,
    evaluator: Evaluator,
    weights: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, str]]],
) -> Graph:
    planned = evaluator.graph
    settings = {operation.name: operation for operation in attributes.operations(artifact)}
    operations: list[Operation] = []
    named = next((n for n in (artifact.output, WANTED) if n in planned.outputs), planned.outputs[0])
    output = planned.aliases.get(named, named)
    for node in planned.nodes:
        if node.type == "classify":
            output = node.inputs[0]
            continue
        known = settings.get(node.name)
        told = {k: v for k, v in known.attributes.items() if isinstance(v, str)} if known else {}
        held, sources = weights.get(node.name, ({}, {}))
        inputs = tuple(name for name in node.inputs if name not in planned.constants)
        outputs = tuple(value.name for value in node.outputs)
        operations.append(Operation(len(operations), node.name, node.type, inputs, outputs, told, held, sources))
    return Graph(artifact.format, tuple(operations), planned.inputs[0].name, output)


def _program_weights(model: ModelFile) -> Iterator[tuple[str, tuple[dict[str, np.ndarray], dict[str, str]]]]:
    constants = read_constants(model.specification, model.name, model.weights_dir)
    program = model.specification
    function = program.mlProgram.functions[program.description.defaultFunctionName or "main"]
    for operation in function.block_specializations[function.opset].operations:
        if not operation.outputs:
            continue
        weights: dict[str, np.ndarray] = {}
        sources: dict[str, str] = {}
        for place, argument in operation.inputs.items():
            for binding in argument.arguments:
                array = constants.get(binding.name)
                if binding.name and array is not None and array.dtype.kind == "f":
                    weights[place], sources[place] = array.astype(np.float32), binding.name
        yield operation.outputs[0].name, (weights, sources)


def _layer_weights(layer: Any) -> dict[str, np.ndarray]:
    """Read the weights of a NeuralNetwork layer, by their fields."""
    kind = layer.WhichOneof("layer")
    if kind is None:
        return {}
    params = getattr(layer, kind)
    found: dict[str, np.ndarray] = {}
    for field, value in params.ListFields():
        if getattr(field.message_type, "name", "") != "WeightParams":
            continue
        shape = _layer_shape(kind, params, field.name)
        axes = (1,) if kind == "convolution" and params.isDeconvolution else (0,)
        try:
            found[field.name] = read_weights(value, shape or (len(value.floatValue),), field.name, axes).numpy()
        except ValueError:
            continue  # of a layer whose shapes are not known here: the audit does without
    return found


def _layer_shape(kind: str, params: Any, name: str) -> tuple[int, ...]:
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


def _onnx(artifact: Artifact) -> Graph:
    import onnx

    listed = list(attributes.operations(artifact))
    model = onnx.load(str(artifact.path))
    constants = onnx_constants(model)
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
                attributes={k: v for k, v in one.attributes.items() if isinstance(v, str)},
                weights={
                    place: constants[name].astype(np.float32)
                    for place, name in places.items()
                    if constants[name].dtype.kind == "f"
                },
                sources=places,
            )
        )
    outputs = {value.name: _sizes(value) for value in model.graph.output}
    image = next(value.name for value in model.graph.input if value.name not in constants)
    return Graph("onnx", tuple(operations), image, pick_output(outputs, artifact, "classLabelProbs"))


def onnx_constants(model: Any) -> dict[str, np.ndarray]:
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
        elif node.op_type in _FOLDED and node.input and all(name in constants for name in node.input if name):
            constants.update(_worked_out(model, node, constants))
    return constants


def _worked_out(model: Any, node: Any, constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one node on constants; one that onnx.reference does not know gives nothing."""
    from onnx.reference import ReferenceEvaluator

    feeds = {name: constants[name] for name in node.input if name}
    if node.op_type == "DequantizeLinear":
        return {node.output[0]: _dequantised(node, list(feeds.values()))}
    try:
        found = ReferenceEvaluator(_alone(model, node)).run(None, feeds)
    except Exception:  # onnx's own, NumPy's: without this weight the rest can be read all the same
        return {}
    return dict(zip(node.output, found, strict=True))


def _dequantised(node: Any, given: Sequence[np.ndarray]) -> np.ndarray:
    """Widen quantised numbers; onnx.reference does so from opset 19 on alone."""
    numbers, scale = given[0].astype(np.float32), given[1]
    zero = given[2].astype(np.float32) if len(given) > 2 else np.zeros_like(scale)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [-1 if place == axis % numbers.ndim else 1 for place in range(numbers.ndim)] if scale.size > 1 else []
    widened: np.ndarray = (numbers - zero.reshape(shape)) * scale.reshape(shape)
    return widened


def _alone(model: Any, node: Any) -> Any:
    import onnx

    inputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _sizes(value: Any) -> tuple[int | None, ...]:
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)
