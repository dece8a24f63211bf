"""A random program as plain data, and what coremltools' Builder makes of it: types, a file, folded constants."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.coreml import Evaluator
from parity.coreml.reading.mil import read_constants

ct = import_coremltools()
with chatter_to():
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.backend.mil.load import load
    from coremltools.converters.mil.mil import Function, types
    from coremltools.converters.mil.mil import Program as MilProgram
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

OPSETS = ("iOS15", "iOS16", "iOS17", "iOS18")
NUMPY: Mapping[str, Any] = {"fp16": np.float16, "fp32": np.float32, "bool": np.bool_} | {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32)
}
TYPES = {np.dtype(number): name for name, number in NUMPY.items()}


@dataclass(frozen=True)
class Ref:
    """Name a value of the program: an input, or an output of an earlier operation."""

    name: str


@dataclass(frozen=True)
class Step:
    """Hold one operation: its type, its arguments by Apple's names, and the names and types of its outputs.

    arguments: Refs; constants (arrays and NumPy scalars of the types in the file, tuples, strings); lists of these.
    defaults: what the Builder fills in.
    """

    type: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refs(self) -> list[str]:
        """The names of the values that it reads."""
        flat = [v for value in self.arguments.values() for v in (value if isinstance(value, list) else [value])]
        return [value.name for value in flat if isinstance(value, Ref)]

    def full(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments, with values in the place of the names."""
        return {**self.defaults, **self.given(values)}

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Put values in the place of the names."""
        return {
            name: [_given(v, values) for v in value] if isinstance(value, list) else _given(value, values)
            for name, value in self.arguments.items()
        }


def _given(value: Any, values: Mapping[str, Any]) -> Any:
    return values[value.name] if isinstance(value, Ref) else value


@dataclass(frozen=True)
class Program:
    """Hold a program with the inputs that it is run on; `outputs` are the values that nothing reads."""

    opset: str
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """Hold the evaluator of a program, the program as text in MIL, and what is worked out when it is read."""

    text: str
    evaluator: Evaluator
    constants: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _InMemory:
    """Hold a specification in the form in which the evaluator takes a coremltools model."""

    specification: Any
    weights_dir: str

    def get_spec(self) -> Any:
        """Return the specification."""
        return self.specification


def defined(kind: str, opset: str) -> Any:
    """Return coremltools' definition of an operation in an opset; None where it has none."""
    versions = SSAOpRegistry.core_ops.get(kind, {})
    known = [v for v in versions if v.value <= getattr(ct.target, opset).value]
    return versions[max(known, key=lambda v: v.value)] if known else None


def dtypes(kind: str, opset: str, parameter: str) -> tuple[str, tuple[str, ...]]:
    """Return the types that a parameter may have, and the name that it shares with others of the same type."""
    definition = defined(kind, opset)
    declared = definition.input_spec.input_types[parameter]
    if not hasattr(declared, "type_domain_id"):  # of `identity`, which takes whatever there is
        return parameter, ("fp16", "fp32", "int32", "bool")
    shared = declared.type_domain_id or parameter
    domain = definition.type_domains[declared.type_domain_id] if declared.type_domain_id else declared.type_domain
    names = (types.builtin_to_string(t) for t in domain)
    return shared, tuple(name for name in names if name in NUMPY)


@contextmanager
def _function(opset: str, **inputs: Any) -> Any:
    """Open a function to which operations can be added."""
    with chatter_to(), np.errstate(all="ignore"), Function(inputs, getattr(ct.target, opset)) as function:
        yield function


def _placeholder(array: np.ndarray) -> Any:
    return Builder.placeholder(array.shape, dtype=types.numpy_type_to_builtin_type(array.dtype))


def _add(step: Step, variables: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    results = getattr(Builder, step.type)(**step.given(variables), name=name)
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def infer(
    step: Step, opset: str, values: Mapping[str, np.ndarray]
) -> tuple[Mapping[str, Any], tuple[tuple[str, Any], ...]]:
    """Return what the Builder fills in, and each output's type and shape, as coremltools infers them."""
    with _function(opset, **{name: _placeholder(values[name]) for name in step.refs}) as function:
        results = _add(step, function.inputs, "result")
        inferred = tuple((types.builtin_to_string(v.dtype), v.shape) for v in results)
        return _defaults(step, results[0].op), inferred


def fold(step: Step, opset: str, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, ...]:
    """Let coremltools itself work the operation out on constants; None for each output that it does not."""
    with _function(opset) as _:
        # Copies: thresholded_relu writes its answer over the constant.
        constants = {name: Builder.const(val=values[name].copy(), name=name) for name in set(step.refs)}
        results = _add(step, constants, "result")
        return tuple(None if v.val is None else np.asarray(v.val) for v in results)


def open_program(program: Program) -> Opened:
    """Write the program as coremltools writes it, without a pass over it, and read it with the evaluator."""
    inputs = {name: _placeholder(array) for name, array in program.inputs.items()}
    with _function(program.opset, **inputs) as function:
        variables = dict(function.inputs)
        for step in program.steps:
            results = _add(step, variables, step.outputs[0] if len(step.outputs) == 1 else step.outputs[0][:-2])
            for result in results:
                # As if it came from an input: else the next one is folded here, and folding has faults of its own.
                result._sym_val = None
            variables |= dict(zip(step.outputs, results, strict=True))
        function.set_outputs([variables[name] for name in program.outputs])
    mil = MilProgram()
    mil.add_function("main", function)
    with tempfile.TemporaryDirectory() as weights, chatter_to():
        specification = load(mil, weights, specification_version=getattr(ct.target, program.opset).value)
        constants = read_constants(specification, "program", Path(weights))
        return Opened(str(mil), Evaluator(_InMemory(specification, weights)), constants)


def _defaults(step: Step, operation: Any) -> dict[str, Any]:
    """Return the constants that the Builder fills in."""
    absent = {n: v for n, v in operation.inputs.items() if n not in step.arguments and v is not None}
    values = {n: v.val for n, v in absent.items() if not isinstance(v, tuple | list)}
    return {n: value for n, value in values.items() if value is not None}
