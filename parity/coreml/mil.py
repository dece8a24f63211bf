"""ML Program -> Graph: read the messages of MIL.proto and bind every operation to its kernel."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from parity.coreml.dtypes import CARRIERS, carry, settle
from parity.coreml.mil_values import Constant, Weights, read_constant, read_type
from parity.coreml.program import Graph, Node, Value
from parity.coreml.registry import Kernel, find_operation
from parity.errors import CoreMLError, UnsupportedOperationsError

_OPSETS: Mapping[str, str] = {
    "CoreML5": "iOS15",
    "CoreML6": "iOS16",
    "CoreML7": "iOS17",
    "CoreML8": "iOS18",
    "CoreML9": "iOS26",
}


@dataclass
class _Reader:
    """Carry what reading one function needs: where errors are, the weights, the operations that lack a kernel."""

    where: str
    opset: str
    weights: Weights
    missing: dict[str, list[str]] = field(default_factory=dict)


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
    reader = _Reader(path, _OPSETS[function.opset], Weights(path, weights_dir))
    graph = _read_block(reader, function.block_specializations[function.opset], _values(reader, function.inputs))
    if reader.missing:
        raise UnsupportedOperationsError(path, reader.missing)
    return graph


def _values(reader: _Reader, named: Any) -> tuple[Value, ...]:
    return tuple(Value(n.name, *read_type(n.type, f"{reader.where}: `{n.name}`")) for n in named)


def _read_block(reader: _Reader, block: Any, inputs: tuple[Value, ...]) -> Graph:
    constants: dict[str, Any] = {}
    nodes: list[Node] = []
    for operation in block.operations:
        outputs = _values(reader, operation.outputs)
        name = outputs[0].name if outputs else operation.type
        if operation.type == "const":
            constants[name] = read_constant(operation.attributes["val"], reader.weights, name)
            continue
        kernel = find_operation(operation.type, reader.opset)
        if kernel is None:
            reader.missing.setdefault(operation.type, []).append(name)
        else:
            nodes.append(_bind(reader, operation, kernel, outputs, constants))
    # Most constants went into their kernels' arguments; what is left is handed over at run time.
    used = {name for node in nodes for name in node.inputs} | set(block.outputs)
    carried = {name: _as_tensor(value) for name, value in constants.items() if name in used}
    return Graph(inputs, tuple(block.outputs), tuple(nodes), carried)


def _bind(
    reader: _Reader, operation: Any, kernel: Kernel, outputs: tuple[Value, ...], constants: dict[str, Any]
) -> Node:
    """Make a Node: constants go into the kernel's arguments now, the rest becomes the node's inputs."""
    name = outputs[0].name if outputs else operation.type
    where = f"{reader.where}: operation `{name}` ({operation.type})"
    unknown = sorted(set(operation.inputs) - set(kernel.parameters))
    absent = sorted(kernel.required - set(operation.inputs))
    if unknown or absent:
        found = f"unknown {', '.join(unknown)}" if unknown else f"absent {', '.join(absent)}"
        raise CoreMLError(f"{where}: {found}; {kernel.since} defines {', '.join(kernel.parameters)}")

    fixed: dict[str, Any] = {"outputs": outputs} if kernel.wants_outputs else {}
    running: list[_Running] = []
    # In the kernel's order, so that what may be overwritten, its first parameter, is the node's first input.
    for parameter in (p for p in kernel.parameters if p in operation.inputs):
        bindings = operation.inputs[parameter].arguments
        convert, many = _converter(kernel.parameters[parameter])
        if not many and len(bindings) != 1:
            raise CoreMLError(f"{where}: `{parameter}` takes one value, the file gives {len(bindings)}")
        known = [_known(reader, binding, constants, name) for binding in bindings]
        if any(value is _UNKNOWN for value in known):
            names = [b.name or f"{name}.{parameter}.{i}" for i, b in enumerate(bindings)]
            # A literal among values that are computed gets a name, and reaches the kernel as they do.
            constants |= {n: k for n, b, k in zip(names, bindings, known, strict=True) if not b.name}
            running.append(_Running(parameter, convert, many, tuple(names)))
            continue
        try:
            fixed[parameter] = [_as_tensor(v) for v in known] if many else convert(known[0])
        except (TypeError, ValueError) as error:
            raise CoreMLError(f"{where}: `{parameter}`: {error}") from error

    def runner(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        return _runner(partial(function, **fixed), tuple(running), outputs, exact=kernel.exact)

    first_runs = bool(running) and running[0].parameter == next(iter(kernel.parameters))
    return Node(
        name=name,
        type=operation.type,
        inputs=tuple(n for r in running for n in r.names),
        outputs=outputs,
        run=runner(kernel.function),
        run_inplace=runner(kernel.inplace) if kernel.inplace and first_runs else None,
        owns_result=not kernel.view,
    )


@dataclass(frozen=True)
class _Running:
    """Say how an argument that is known only when the program runs reaches its kernel."""

    parameter: str
    convert: Callable[[Any], Any]
    many: bool
    names: tuple[str, ...]


def _runner(
    function: Callable[..., Any], running: tuple[_Running, ...], outputs: tuple[Value, ...], *, exact: bool
) -> Callable[..., tuple[Any, ...]]:
    """Make the function that a Node runs: name the arguments, convert the few that are no tensors, settle."""
    # A computed fp32 is itself, and an exact result needs no rounding: most nodes have nothing to settle.
    settled = tuple(
        v.dtype if v.dtype in CARRIERS and not (v.dtype == "fp32" or (exact and v.dtype == "fp16")) else None
        for v in outputs
    )

    def run(*values: Any) -> tuple[Any, ...]:
        arguments: dict[str, Any] = {}
        at = 0
        for r in running:
            if r.many:
                arguments[r.parameter] = list(values[at : at + len(r.names)])
            else:
                arguments[r.parameter] = r.convert(values[at])
            at += len(r.names)
        result = function(**arguments)
        results = result if isinstance(result, tuple) else (result,)
        # classify answers a label, which is an int64 by its declaration and no tensor.
        return tuple(
            settle(value, dtype) if dtype is not None and isinstance(value, torch.Tensor) else value
            for value, dtype in zip(results, settled, strict=True)
        )

    return run


_UNKNOWN = object()


def _known(reader: _Reader, binding: Any, constants: Mapping[str, Any], name: str) -> Any:
    if binding.WhichOneof("binding") == "value":
        return read_constant(binding.value, reader.weights, name)
    return constants.get(binding.name, _UNKNOWN)


def _as_tensor(value: Any) -> Any:
    return carry(value.array, value.dtype) if isinstance(value, Constant) else value


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Constant):
        return list(value.array.reshape(-1).tolist())
    if isinstance(value, torch.Tensor):
        return list(value.reshape(-1).tolist())
    return list(value) if isinstance(value, tuple | list) else [value]


def _one(value: Any) -> Any:
    flat = _flat(value)
    if len(flat) != 1:
        raise ValueError(f"one value expected, found {len(flat)}")
    return flat[0]


_CONVERTERS: Mapping[Any, Callable[[Any], Any]] = {
    torch.Tensor: _as_tensor,
    Any: _as_tensor,
    int: lambda value: int(_one(value)),
    float: lambda value: float(_one(value)),
    bool: lambda value: bool(_one(value)),
    str: lambda value: str(_one(value)),
    tuple[int, ...]: lambda value: tuple(int(v) for v in _flat(value)),
    tuple[float, ...]: lambda value: tuple(float(v) for v in _flat(value)),
    tuple[bool, ...]: lambda value: tuple(bool(v) for v in _flat(value)),
    tuple[str, ...]: lambda value: tuple(str(v) for v in _flat(value)),
}


def _converter(annotation: Any) -> tuple[Callable[[Any], Any], bool]:
    """Find how a parameter is handed to its kernel, and whether it takes several values (like concat's)."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if annotation == list[torch.Tensor]:
        return _as_tensor, True
    return _CONVERTERS[annotation], False
