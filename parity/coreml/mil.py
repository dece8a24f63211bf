"""ML Program -> Graph: read the messages of MIL.proto and bind every operation to its kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.coreml.blocks import make_block
from parity.coreml.guard import Guard, declared_too_large
from parity.coreml.mil_binding import Reader, bind
from parity.coreml.mil_values import Weights, read_constant, read_type
from parity.coreml.program import Graph, Node, Value
from parity.coreml.registry import find_operation
from parity.errors import CoreMLError, UnsupportedOperationsError

_OPSETS: Mapping[str, str] = {
    "CoreML5": "iOS15",
    "CoreML6": "iOS16",
    "CoreML7": "iOS17",
    "CoreML8": "iOS18",
    "CoreML9": "iOS26",
}


def read_function(specification: Any, path: str, weights_dir: Path | None, function_name: str | None) -> Graph:
    """Read one function of a model of type mlProgram.

    specification: the whole model (Model_pb2.Model).
    function_name: None stands for the model's default function.
    """
    functions = specification.mlProgram.functions
    wanted = function_name or specification.description.defaultFunctionName or "main"
    if wanted not in functions:
        raise CoreMLError(f"{path}: no function `{wanted}`; the file has {', '.join(sorted(functions)) or 'none'}")
    function = functions[wanted]
    if function.opset not in _OPSETS or function.opset not in function.block_specializations:
        raise CoreMLError(
            f"{path}: function `{wanted}` is written for the unknown opset `{function.opset}`; "
            f"the evaluator knows {', '.join(_OPSETS)}"
        )
    reader = Reader(path, _OPSETS[function.opset], Weights(path, weights_dir))
    graph = _read_block(
        reader, function.block_specializations[function.opset], _values(reader, function.inputs), {}
    )
    if reader.missing:
        raise UnsupportedOperationsError(path, reader.missing)
    return graph


def read_constants(specification: Any, path: str, weights_dir: Path | None) -> dict[str, np.ndarray]:
    """Read the numbers that a program's default function holds by name; compressed ones as what they stand for."""
    function = specification.mlProgram.functions[specification.description.defaultFunctionName or "main"]
    reader = Reader(path, _OPSETS[function.opset], Weights(path, weights_dir))
    constants: dict[str, Any] = {}
    for operation in function.block_specializations[function.opset].operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            outputs = _values(reader, operation.outputs)
            _read_operation(reader, operation, outputs, constants, [], f"{path}: `{outputs[0].name}`")
    arrays = ((name, getattr(value, "array", value)) for name, value in constants.items())
    return {name: np.asarray(array) for name, array in arrays if isinstance(array, np.ndarray | torch.Tensor)}


def _values(reader: Reader, named: Any) -> tuple[Value, ...]:
    return tuple(
        Value(n.name, *read_type(n.type, f"{reader.where}: `{n.name}`"), state=n.type.HasField("stateType"))
        for n in named
    )


def _read_block(reader: Reader, block: Any, inputs: tuple[Value, ...], outer: Mapping[str, Any]) -> Graph:
    """Read a function's block, or one inside an operation.

    outer: the constants that are known around the block.
    """
    constants = {name: value for name, value in outer.items() if name not in {value.name for value in inputs}}
    nodes: list[Node] = []
    for operation in block.operations:
        outputs = _values(reader, operation.outputs)
        name = outputs[0].name if outputs else operation.type
        where = f"{reader.where}: operation `{name}` ({operation.type})"
        try:
            _read_operation(reader, operation, outputs, constants, nodes, where)
        except CoreMLError:
            raise
        except Exception as error:  # whatever a damaged file leads to: an absent field, a size that is none
            text = f"{error} is unknown" if isinstance(error, KeyError) else str(error) or type(error).__name__
            raise CoreMLError(f"{where} cannot be read: {text}; the file is damaged, convert again") from error
    # Most constants went into their kernels' arguments; what is left is handed over at run time.
    used = {name for node in nodes for name in node.inputs} | set(block.outputs)
    carried = {name: reader.tensor(value) for name, value in constants.items() if name in used}
    return Graph(inputs, tuple(block.outputs), tuple(nodes), carried)


def _read_operation(
    reader: Reader,
    operation: Any,
    outputs: tuple[Value, ...],
    constants: dict[str, Any],
    nodes: list[Node],
    where: str,
) -> None:
    name = outputs[0].name if outputs else operation.type
    for value in outputs:
        if told := declared_too_large(value):
            raise CoreMLError(f"{where}: {told}")
    if operation.type == "const":
        constants[name] = read_constant(operation.attributes["val"], reader.weights, name)
        return
    if operation.type == "custom_layer":
        code = read_constant(operation.attributes["class_name"], reader.weights, name)
        raise CoreMLError(
            f"{where}: its code, the class `{code}`, is part of an app and not of the file; "
            "convert again without custom operations"
        )
    kernel = find_operation(operation.type, reader.opset)
    blocks = [_read_block(reader, b, _values(reader, b.inputs), constants) for b in operation.blocks]
    if kernel is None:
        reader.missing.setdefault(operation.type, []).append(name)
    elif not reader.missing:  # without its kernels nothing can be planned, and reading goes on to name them all
        planned = [make_block(block, reader.where) for block in blocks]
        node = bind(reader, operation, kernel, outputs, constants, planned, where)
        if kernel.constant and not node.inputs:
            constants |= _work_out(node)
        else:
            nodes.append(node)


def _work_out(node: Node) -> dict[str, Any]:
    """Run a node that has no inputs, for constants by name."""
    with Guard():
        results = node.run()
    return {value.name: result for value, result in zip(node.outputs, results, strict=True)}
