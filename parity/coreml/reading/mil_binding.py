"""Operations of an ML Program -> nodes: bind each argument of the file to a parameter of the operation's kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import ref

import torch

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import CARRIERS, carry, settle
from parity.coreml.program import Form, Node, NodeRun, Value
from parity.coreml.reading.blobs import release
from parity.coreml.reading.mil_arguments import as_tensor, converter
from parity.coreml.reading.mil_types import check_result_types, type_name
from parity.coreml.reading.mil_values import Constant, Weights, read_constant
from parity.coreml.registry import Kernel
from parity.coreml.running.blocks import Block, captured_by, with_blocks
from parity.coreml.shapes import fits, name_shapes


@dataclass
class Reader:
    """Carry what reading one function needs: where errors are, the weights, the operations that lack a kernel.

    retyped: declared types are not compared with those that operations give. forms: nodes keep their Form.
    tensors: the constants that became tensors, by identity, as long as both live; several operations and
        blocks may want one.
    """

    where: str
    opset: str
    weights: Weights
    retyped: bool = False
    forms: bool = False
    missing: dict[str, list[str]] = field(default_factory=dict)
    tensors: dict[int, tuple[ref[Constant], ref[torch.Tensor]]] = field(default_factory=dict)

    def tensor(self, value: Any) -> Any:
        """Make the tensor of a constant, once; what is no Constant is itself."""
        if not isinstance(value, Constant):
            return value
        constant, kept = self.tensors.get(id(value), (None, None))
        tensor = kept() if kept and constant and constant() is value else None
        if tensor is None:
            tensor = carry(value.array, value.dtype)
            release(value.array)
            self.tensors[id(value)] = (ref(value), ref(tensor))
        return tensor


@dataclass(frozen=True)
class Declared:
    """Hold an operation of the file, with the values that it declares as its outputs.

    where: how errors name it.
    """

    operation: Any
    outputs: tuple[Value, ...]
    where: str

    @property
    def name(self) -> str:
        """Name the operation by its first output."""
        return self.outputs[0].name if self.outputs else str(self.operation.type)


@dataclass(frozen=True)
class Scope:
    """Hold what an operation may read, by name: the constants that are known, and the types of all values."""

    constants: dict[str, Any]
    types: Mapping[str, str]


def bind(reader: Reader, declared: Declared, kernel: Kernel, scope: Scope, blocks: list[Block]) -> Node:
    """Make a Node: constants go into the kernel's arguments now, the rest becomes the node's inputs."""
    operation, outputs, where, name = declared.operation, declared.outputs, declared.where, declared.name
    arguments = _arguments(operation, kernel)
    unknown = sorted(set(arguments) - set(kernel.parameters))
    absent = sorted(kernel.required - set(arguments))
    if unknown or absent:
        mismatch = f"unknown {', '.join(unknown)}" if unknown else f"absent {', '.join(absent)}"
        raise CoreMLError(f"{where}: {mismatch}; {kernel.since} defines {', '.join(kernel.parameters)}")
    if len(blocks) != (2 if kernel.wants_blocks else 0):
        raise CoreMLError(f"{where}: has {len(blocks)} block(s) inside; the file is damaged, convert again")

    fixed: dict[str, Any] = {"outputs": outputs} if kernel.wants_outputs else {}
    running: list[_Running] = []
    # In the kernel's order, so that what may be overwritten, its first parameter, is the node's first input.
    for parameter in (p for p in kernel.parameters if p in arguments):
        bindings = arguments[parameter]
        convert, many = converter(kernel.parameters[parameter])
        if not many and len(bindings) != 1:
            raise CoreMLError(f"{where}: `{parameter}` takes one value, the file gives {len(bindings)}")
        known = [_known(reader, binding, scope.constants, name) for binding in bindings]
        if any(value is _UNKNOWN for value in known):
            names = [named or f"{name}.{parameter}.{i}" for i, (named, _) in enumerate(bindings)]
            # A literal among values that are computed gets a name, and reaches the kernel as they do.
            literals = {n: k for n, (named, _), k in zip(names, bindings, known, strict=True) if not named}
            scope.constants.update(literals)
            running.append(_Running(parameter, convert, many, tuple(names)))
            continue
        try:
            if many:
                fixed[parameter] = [reader.tensor(value) for value in known]
            else:
                fixed[parameter] = reader.tensor(known[0]) if convert is as_tensor else convert(known[0])
        except (TypeError, ValueError) as error:
            raise CoreMLError(f"{where}: `{parameter}`: {error}") from error

    if not blocks and not reader.retyped:
        _check_types(declared, kernel, arguments, fixed, scope.types)
    operands = tuple(n for r in running for n in r.names)

    def runner(
        function: Callable[..., Any], settler: Callable[..., Any] = settle, *, exact: bool = kernel.exact
    ) -> NodeRun:
        return _runner(function, tuple(running), outputs, settler, exact=exact)

    def runners(function: Callable[..., Any]) -> dict[str, Any]:
        rounds = [v.dtype for v in outputs] == ["fp16"] and not (kernel.exact or kernel.view or blocks)
        return {"run": runner(function), "unrounded": runner(function, exact=True) if rounds else None}

    first_runs = bool(running) and running[0].parameter == next(iter(kernel.parameters))
    prepared = kernel.prepare(**fixed) if kernel.prepare and first_runs and len(running) == 1 else None
    padded = getattr(prepared, "padded", None)
    node = Node(
        name=name,
        type=operation.type,
        inputs=(*operands, *captured_by(blocks)),
        outputs=outputs,
        **runners(prepared or partial(kernel.function, **fixed)),
        run_inplace=runner(partial(kernel.inplace, **fixed)) if kernel.inplace and first_runs else None,
        owns_result=not kernel.view,
        reads_numbers=any(r.convert is not as_tensor for r in running),
        zeros=getattr(prepared, "zeros", None),
        padded=(lambda node, zeros: replace(node, **runners(padded(zeros)))) if padded else None,
        gain=getattr(prepared, "gain", None),
        role=operation.type,
        form=Form(kernel.function, fixed, tuple(r.parameter for r in running), kernel.prepare, runner)
        if reader.forms and not blocks
        else None,
    )
    return replace(node, run=with_blocks(node.run, blocks, len(operands))) if blocks else node


def _check_types(
    declared: Declared,
    kernel: Kernel,
    arguments: Mapping[str, list[tuple[str, Any]]],
    fixed: Mapping[str, Any],
    types: Mapping[str, str],
) -> None:
    operation, where = declared.operation, declared.where
    read: dict[str, str] = {}
    for parameter in (p for p in kernel.parameters if arguments.get(p)):
        named, literal = arguments[parameter][0]
        kind = types.get(named) if literal is None else type_name(literal.type, where)
        if kind is not None:
            read[parameter] = kind
    outputs = [(output.name, type_name(output.type, where)) for output in operation.outputs]
    check_result_types(operation.type, read, fixed, outputs, where)


def _arguments(operation: Any, kernel: Kernel) -> dict[str, list[tuple[str, Any]]]:
    """Collect an operation's arguments by parameter: the name of a value, or `` and a literal."""
    arguments = {
        parameter: [(b.name, b.value if b.WhichOneof("binding") == "value" else None) for b in argument.arguments]
        for parameter, argument in operation.inputs.items()
    }
    # Up to iOS17 the operations on compressed weights have attributes where all others have inputs.
    literals = (parameter for parameter in kernel.parameters if parameter in operation.attributes)
    return arguments | {parameter: [("", operation.attributes[parameter])] for parameter in literals}


@dataclass(frozen=True)
class _Running:
    """Say how an argument that is known only when the program runs reaches its kernel."""

    parameter: str
    convert: Callable[[Any], Any]
    many: bool
    names: tuple[str, ...]


def _runner(
    function: Callable[..., Any],
    running: tuple[_Running, ...],
    outputs: tuple[Value, ...],
    settler: Callable[..., Any],
    *,
    exact: bool,
) -> NodeRun:
    """Make the function that a Node runs: name the arguments, convert the few that are no tensors, settle.

    settler: brings a result to its declared type, as `settle` does. exact: a float result holds only numbers of the
    declared type already, so that it need not be rounded.
    """
    settlers = tuple(_settler(v.dtype, settler, exact=exact) for v in outputs)
    check = _shape_check(outputs)

    def run(*values: Any, **blocks: Any) -> tuple[Any, ...]:
        arguments = blocks
        at = 0
        for r in running:
            if r.many:
                arguments[r.parameter] = list(values[at : at + len(r.names)])
            else:
                arguments[r.parameter] = r.convert(values[at])
            at += len(r.names)
        result = function(**arguments)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(settlers):
            raise ValueError(f"the file names {len(settlers)} output(s), the operation gives {len(results)}")
        check(results)
        # classify answers a label, which is an int64 by its declaration and no tensor.
        return tuple(
            [
                bring(value) if bring is not None and isinstance(value, torch.Tensor) else value
                for value, bring in zip(results, settlers, strict=True)
            ]
        )

    return run


def _shape_check(outputs: tuple[Value, ...]) -> Callable[[tuple[Any, ...]], None]:
    """Make what raises a ValueError for a result of another shape than is declared."""
    shapes = tuple(v.shape if v.dtype in CARRIERS else None for v in outputs)
    fixed = tuple((i, shape) for i, shape in enumerate(shapes) if shape is not None and None not in shape)
    # A single open size is also how a file says that not even the number of axes is known.
    open_ended = tuple((i, s) for i, s in enumerate(shapes) if s is not None and None in s and s != (None,))

    def check(results: tuple[Any, ...]) -> None:
        for i, shape in fixed:
            if getattr(results[i], "shape", shape) != shape:
                raise ValueError(_misshapen(results[i], outputs[i]))
        for i, shape in open_ended:
            if isinstance(results[i], torch.Tensor) and not fits(results[i].shape, shape):
                raise ValueError(_misshapen(results[i], outputs[i]))

    return check


def _settler(
    dtype: str, settler: Callable[..., Any], *, exact: bool
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Make the function that brings a result to its declared type; None for what is no tensor."""
    if dtype not in CARRIERS:
        return None
    if not exact or dtype != "fp16":
        return partial(settler, dtype=dtype)
    # Exact speaks of numbers, not of what carries them: a cast's bool or int32 is still to become a float.
    carrier = CARRIERS[dtype]
    return lambda value: value if value.dtype is carrier else settler(value, dtype)


def _misshapen(result: torch.Tensor, declared: Value) -> str:
    return (
        f"`{declared.name}` comes out as {tuple(result.shape)}, the file declares {name_shapes([declared.shape])}; "
        "the file is damaged, convert again"
    )


_UNKNOWN = object()


def _known(reader: Reader, binding: tuple[str, Any], constants: Mapping[str, Any], name: str) -> Any:
    named, literal = binding
    if not named and literal is None:
        raise ValueError("an argument has neither a name nor a value")
    return constants.get(named, _UNKNOWN) if literal is None else read_constant(literal, reader.weights, name)
