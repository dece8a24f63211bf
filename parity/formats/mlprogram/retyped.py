"""An ML Program in other arithmetic than its file declares: in memory, for the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.coreml import Evaluator
from parity.coreml.reading.files import ModelFile, open_model
from parity.coreml.reading.mil import default_function

_STRING, _HALF, _SINGLE = 2, 10, 11  # MIL.proto: DataType.STRING, FLOAT16, FLOAT32


@dataclass(frozen=True)
class InMemory:
    """Hold a changed specification beside the weights of its file, in the form that the evaluator opens."""

    specification: Any
    weights_dir: str | None
    package_path: str
    retyped: bool = True

    def get_spec(self) -> Any:
        """Return the specification."""
        return self.specification


def evaluator_in(model: ModelFile, in_fp16: Callable[[str], bool]) -> Evaluator:
    """Make an evaluator that rounds the operations of these names to fp16 and computes the others in fp32.

    in_fp16: takes the name of an operation's first output. Constants keep what the file holds of them.
    """
    specification = type(model.specification)()
    specification.CopyFrom(model.specification)
    for operation in _operations(specification):
        if operation.type == "const" or operation.type.startswith("constexpr_") or not operation.outputs:
            continue
        kind = _HALF if in_fp16(operation.outputs[0].name) else _SINGLE
        for output in operation.outputs:
            if output.type.tensorType.dataType in (_HALF, _SINGLE):
                output.type.tensorType.dataType = kind
    function = default_function(specification)
    _round_what_fp16_reads(function.block_specializations[function.opset])
    weights = str(model.weights_dir) if model.weights_dir else None
    return Evaluator(InMemory(specification, weights, model.name))


def _round_what_fp16_reads(block: Any) -> None:
    """Put casts between what is computed in fp32 and what reads it in fp16, as coremltools does."""
    single: dict[str, Any] = {}
    half: set[str] = set()
    ordered: list[Any] = []
    for operation in block.operations:
        plain = operation.type == "const" or operation.type.startswith("constexpr_") or not operation.outputs
        if not plain and operation.outputs[0].type.tensorType.dataType == _HALF:
            for argument in operation.inputs.values():
                for binding in argument.arguments:
                    if binding.name not in single:
                        continue
                    rounded = f"{binding.name} in fp16"
                    if rounded not in half:
                        ordered.append(_cast(type(operation)(), single[binding.name], rounded))
                        half.add(rounded)
                    binding.name = rounded
        ordered.append(operation)
        if not plain:
            single |= {o.name: o for o in operation.outputs if o.type.tensorType.dataType == _SINGLE}
    copies = [type(operation).FromString(operation.SerializeToString()) for operation in ordered]
    del block.operations[:]
    block.operations.extend(copies)


def _cast(operation: Any, value: Any, name: str) -> Any:
    operation.type = "cast"
    operation.inputs["x"].arguments.add().name = value.name
    kind = operation.inputs["dtype"].arguments.add().value
    kind.type.tensorType.dataType = _STRING
    kind.immediateValue.tensor.strings.values.append("fp16")
    output = operation.outputs.add()
    output.CopyFrom(value)
    output.name = name
    output.type.tensorType.dataType = _HALF
    return operation


def evaluator_in_fp32(path: Path) -> Evaluator:
    """Make an evaluator of an ML Program that rounds nothing but what the file holds rounded."""
    return evaluator_in(open_model(path), lambda name: False)


def _operations(specification: Any) -> Iterator[Any]:
    blocks = [f.block_specializations[f.opset] for f in specification.mlProgram.functions.values()]
    while blocks:
        for operation in blocks.pop().operations:
            yield operation
            blocks += operation.blocks
