"""Tiny ML Programs for tests: write operations with coremltools' Builder, convert, run; or call a kernel alone."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conversion.guards.quiet import chatter_to, import_coremltools
from parity.coreml import Evaluator
from parity.coreml.registry import find_operation
from tests.coreml.networks import check_nodes

ct = import_coremltools()
with chatter_to():
    from coremltools.converters.mil import Builder as Builder
    from coremltools.converters.mil.mil import types

Body = Callable[..., Any]
_TYPES = {"f": types.fp32, "i": types.int32}


def convert(
    body: Body,
    *shapes: tuple[int, ...] | np.ndarray,
    precision: str = "fp32",
    target: str = "iOS15",
    passes: str | None = None,
) -> Any:
    """Convert a function of coremltools variables, one per shape.

    shapes: of fp32 inputs; an array stands for its shape and type.
    precision: what the program computes floats in, fp32 or fp16; its boundary is fp32.
    passes: `empty` keeps the operations as they are written; what coremltools does by itself where absent.
    """
    examples = [_native(np.zeros(s, np.float32) if isinstance(s, tuple) else s) for s in shapes]
    specs = [Builder.TensorSpec(shape=e.shape, dtype=_TYPES[e.dtype.kind]) for e in examples]
    opset = getattr(ct.target, target)
    # coremltools collects garbage in each conversion: half a second over all that torch and pytest hold.
    gc.freeze()
    try:
        with chatter_to():
            program = Builder.program(input_specs=specs, opset_version=opset)(_named(body, len(specs)))
            return ct.convert(
                program,
                convert_to="mlprogram",
                minimum_deployment_target=opset,
                compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
                skip_model_load=True,
                pass_pipeline=_pipeline(passes, precision),
            )
    finally:
        gc.unfreeze()


def _pipeline(passes: str | None, precision: str) -> Any:
    if passes is None:
        return None
    pipeline = ct.PassPipeline.EMPTY
    if precision == "fp16":
        pipeline.append_pass("common::add_fp16_cast")
    return pipeline


def evaluator(body: Body, *shapes: tuple[int, ...] | np.ndarray, **options: str) -> Evaluator:
    """Convert a function as `convert` does, and plan it."""
    return Evaluator(convert(body, *shapes, **options))


def run(body: Body, *arrays: Any, precision: str = "fp32", target: str = "iOS15") -> list[np.ndarray]:
    """Convert and run a function of variables that have the shapes and types of these arrays.

    Checks node by node what each promises to the planner, and that what is declared fp16 holds fp16 numbers.
    """
    values = [_native(array) for array in arrays]
    model = evaluator(body, *values, precision=precision, target=target)
    fed = {feature.name: v for feature, v in zip(model.description.input, values, strict=True)}
    answers = model.predict(fed)
    check_nodes(model, fed)
    _check_types(model, fed)
    return [answers[feature.name] for feature in model.description.output]


@dataclass(frozen=True)
class Edited:
    """Hold a changed specification as the evaluator takes it from coremltools."""

    specification: Any
    weights_dir: Any = None

    def get_spec(self) -> Any:
        return self.specification


def edited(model: Any, change: Callable[[Any], None]) -> Edited:
    """Return a coremltools model after a change to the operations of its main function."""
    specification = model.get_spec()
    function = specification.mlProgram.functions["main"]
    change(function.block_specializations[function.opset].operations)
    return Edited(specification, model.weights_dir)


def _check_types(model: Evaluator, fed: dict[str, np.ndarray]) -> None:
    """Check that a value of the type fp16 is an fp16 number, also where its operation calls itself exact."""
    declared = {value.name: value.dtype for node in model._runnable.plan.graph.nodes for value in node.outputs}
    for name, value in model.trace(fed).items():
        if declared[name] == "fp16":
            np.testing.assert_array_equal(value, value.astype(np.float16), f"{name} is no fp16 number")


def folded(body: Body, *arrays: Any, target: str = "iOS15") -> list[np.ndarray]:
    """Let coremltools itself work the operations out, as it does with constants (its `value_inference`)."""
    answers: list[Any] = []

    def constant(x: Any) -> Any:
        result = body(*[_native(array) for array in arrays])
        answers.extend(result if isinstance(result, tuple | list) else [result])
        return x

    with chatter_to():
        specs = [Builder.TensorSpec(shape=(1,))]
        Builder.program(input_specs=specs, opset_version=getattr(ct.target, target))(constant)
    assert all(answer.val is not None for answer in answers), "coremltools does not fold this operation"
    return [np.asarray(answer.val) for answer in answers]


def compare_with_folded(
    body: Body, *arrays: Any, rtol: float = 0.0, atol: float = 0.0, target: str = "iOS15"
) -> None:
    """Compare a program's answers with those that coremltools works out; in fp16 only what `run` checks."""
    for found, wanted in zip(run(body, *arrays, target=target), folded(body, *arrays, target=target), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)
    run(body, *arrays, precision="fp16", target=target)


def call(kind: str, opset: str = "iOS18", **arguments: Any) -> Any:
    """Call an operation's kernel with arrays for tensors, and return arrays for tensors.

    Checks what the kernel promises to the planner: it leaves its inputs alone, and gives memory of its own.
    """
    kernel = find_operation(kind, opset)
    assert kernel is not None, f"no kernel for {kind}"
    given = {name: _tensors(value) for name, value in arguments.items()}
    result = kernel.function(**given)
    for name, value in arguments.items():
        np.testing.assert_equal(_arrays(given[name]), value, f"{kind} changed its input {name}")
    if not kernel.view:
        inputs = {t.untyped_storage().data_ptr() for t in _flat(tuple(given.values()))}
        assert not inputs & {t.untyped_storage().data_ptr() for t in _flat(result)}, (
            f"{kind} returns an input's memory"
        )
    return _arrays(result)


def call_inplace(kind: str, opset: str = "iOS18", **arguments: Any) -> Any:
    """Call the variant of the kernel that may overwrite its first argument."""
    kernel = find_operation(kind, opset)
    assert kernel is not None, f"no kernel for {kind}"
    assert kernel.inplace is not None, f"{kind} has no variant in place"
    return _arrays(kernel.inplace(**{name: _tensors(value) for name, value in arguments.items()}))


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _flat(item)]
    return [value] if isinstance(value, torch.Tensor) and value.numel() else []


def _tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [_tensors(item) for item in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_arrays(item) for item in value)
    return value.numpy() if isinstance(value, torch.Tensor) else value


def _native(array: Any) -> np.ndarray:
    """Make an array of the types that ML Programs have at their boundary, and bool."""
    value = np.asarray(array)
    return value if value.dtype == bool else value.astype(np.int32 if value.dtype.kind in "iu" else np.float32)


def _named(body: Body, count: int) -> Body:
    """Give the function one named parameter per input: Builder takes the inputs' names from the signature."""
    forms: dict[int, Body] = {
        1: lambda x: body(x),
        2: lambda x, y: body(x, y),
        3: lambda x, y, z: body(x, y, z),
        4: lambda x, y, z, w: body(x, y, z, w),
    }
    return forms[count]
