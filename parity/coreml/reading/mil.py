"""ML Program -> Graph: read the messages of MIL.proto and bind every operation to its kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.core.errors import CoreMLError, UnsupportedOperationsError
from parity.coreml.program import Graph, Node, Value
from parity.coreml.reading.mil_binding import Declared, Reader, Scope, bind
from parity.coreml.reading.mil_types import check_block_types, check_constant_type, type_name
from parity.coreml.reading.mil_values import Weights, read_constant, read_type
from parity.coreml.registry import find_operation
from parity.coreml.running.blocks import make_block
from parity.coreml.running.guard import Guard, declared_too_large

_OPSETS: Mapping[str, str] = {
    "CoreML5": "iOS15",
    "CoreML6": "iOS16",
    "CoreML7": "iOS17",
    "CoreML8": "iOS18",
    "CoreML9": "iOS26",
}


def read_function(
    specification: Any,
    path: str,
    weights_dir: Path | None,
    function_name: str | None,
    *,
    retyped: bool = False,
    forms: bool = False,
) -> Graph:
    """Read one function of a model of type mlProgram.

    specification: the whole model (Model_pb2.Model).
    function_name: None stands for the model's default function. retyped: operations may declare other types than
        they give, and are computed in these. forms: nodes keep what their operations are computed by.
    """
    functions = specification.mlProgram.functions
    wanted = function_name or _default_name(specification)
    if wanted not in functions:
        raise CoreMLError(f"{path}: no function `{wanted}`; the file has {', '.join(sorted(functions)) or 'none'}")
    function = functions[wanted]
    if function.opset not in _OPSETS or function.opset not in function.block_specializations:
        raise CoreMLError(
            f"{path}: function `{wanted}` is written for the unknown opset `{function.opset}`; "
            f"the evaluator knows {', '.join(_OPSETS)}"
        )
    reader = Reader(path, _OPSETS[function.opset], Weights(path, weights_dir), retyped, forms)
    types = _types(reader, function.inputs)
    inputs = _values(reader, function.inputs)
    graph = _read_block(reader, function.block_specializations[function.opset], inputs, {}, types)
    if reader.missing:
        raise UnsupportedOperationsError(path, reader.missing)
    return graph


def default_function(specification: Any) -> Any:
    """Find the function of a program that runs where nobody names one."""
    return specification.mlProgram.functions[_default_name(specification)]


def _default_name(specification: Any) -> str:
    return str(specification.description.defaultFunctionName or "main")


def read_constants(specification: Any, path: str, weights_dir: Path | None) -> dict[str, np.ndarray]:
    """Read the numbers that a program's default function holds by name; compressed ones as what they stand for."""
    function = default_function(specification)
    reader = Reader(path, _OPSETS[function.opset], Weights(path, weights_dir))
    constants: dict[str, Any] = {}
    types: dict[str, str] = {}
    for operation in function.block_specializations[function.opset].operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            outputs = _values(reader, operation.outputs)
            declared = Declared(operation, outputs, f"{path}: `{outputs[0].name}`")
            _read_operation(reader, declared, Scope(constants, types), [])
            types |= _types(reader, operation.outputs)
    arrays = ((name, getattr(value, "array", value)) for name, value in constants.items())
    return {name: np.asarray(array) for name, array in arrays if isinstance(array, np.ndarray | torch.Tensor)}


def _values(reader: Reader, named: Any) -> tuple[Value, ...]:
    return tuple(
        Value(n.name, *read_type(n.type, f"{reader.where}: `{n.name}`"), state=n.type.HasField("stateType"))
        for n in named
    )


def _types(reader: Reader, named: Any) -> dict[str, str]:
    return {n.name: type_name(n.type, f"{reader.where}: `{n.name}`") for n in named}


def _read_block(
    reader: Reader, block: Any, inputs: tuple[Value, ...], outer: Mapping[str, Any], types: dict[str, str]
) -> Graph:
    """Read a function's block, or one inside an operation.

    outer: the constants that are known around the block. types: those of all values around it and of its inputs, by
    name; those of its own values are added.
    """
    names = {value.name for value in inputs}
    constants = {name: value for name, value in outer.items() if name not in {value.name for value in inputs}}
    nodes: list[Node] = []
    for operation in block.operations:
        outputs = _values(reader, operation.outputs)
        name = outputs[0].name if outputs else operation.type
        where = f"{reader.where}: operation `{name}` ({operation.type})"
        try:
            for value in outputs:
                if value.name in names:
                    raise CoreMLError(
                        f"{where}: the value `{value.name}` is defined twice; the file is damaged, convert again"
                    )
                names.add(value.name)
            _read_operation(reader, Declared(operation, outputs, where), Scope(constants, types), nodes)
            types |= _types(reader, operation.outputs)
        except CoreMLError:
            raise
        except Exception as error:  # whatever a damaged file leads to: an absent field, a size that is none
            text = f"{error} is unknown" if isinstance(error, KeyError) else str(error) or type(error).__name__
            raise CoreMLError(f"{where} cannot be read: {text}; the file is damaged, convert again") from error
    # Most constants went into their kernels' arguments; what is left is handed over at run time.
    used = {name for node in nodes for name in node.inputs} | set(block.outputs)
    carried = {name: reader.tensor(value) for name, value in constants.items() if name in used}
    return Graph(inputs, tuple(block.outputs), tuple(nodes), carried)


def _read_operation(reader: Reader, declared: Declared, scope: Scope, nodes: list[Node]) -> None:
    """Read an operation: it becomes a constant of the scope, or one more node."""
    operation, where, name = declared.operation, declared.where, declared.name
    constants, types = scope.constants, scope.types
    for value in declared.outputs:
        if excess := declared_too_large(value):
            raise CoreMLError(f"{where}: {excess}")
    if operation.type == "const":
        constants[name] = read_constant(operation.attributes["val"], reader.weights, name)
        check_constant_type(operation.outputs, operation.attributes["val"], where)
        return
    if operation.type == "custom_layer":
        code = read_constant(operation.attributes["class_name"], reader.weights, name)
        raise CoreMLError(
            f"{where}: its code, the class `{code}`, is part of an app and not of the file; "
            "convert again without custom operations"
        )
    kernel = find_operation(operation.type, reader.opset)
    inside = [{**types, **_types(reader, b.inputs)} for b in operation.blocks]
    blocks = [
        _read_block(reader, block, _values(reader, block.inputs), constants, known)
        for block, known in zip(operation.blocks, inside, strict=True)
    ]
    if kernel is None:
        reader.missing.setdefault(operation.type, []).append(name)
    elif not reader.missing:  # without its kernels nothing can be planned, and reading goes on to name them all
        planned = [make_block(block, reader.where) for block in blocks]
        if blocks and not reader.retyped:
            giving = [[known.get(n) for n in block.outputs] for block, known in zip(blocks, inside, strict=True)]
            check_block_types(operation.type, giving, list(_types(reader, operation.outputs).items()), where)
        node = bind(reader, declared, kernel, scope, planned)
        if kernel.constant and not node.inputs:
            constants.update(_work_out(node))
        else:
            nodes.append(node)


def _work_out(node: Node) -> dict[str, Any]:
    """Run a node that has no inputs, for constants by name."""
    with Guard():
        results = node.run()
    return {value.name: result for value, result in zip(node.outputs, results, strict=True)}
