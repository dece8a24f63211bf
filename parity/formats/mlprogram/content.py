"""What is in an ML Program: its operations with their settings, and the parts that its digest is taken of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml.reading.files import open_model
from parity.coreml.reading.mil_values import Constant, Weights, read_constant
from parity.formats.coreml.content import content_of
from parity.formats.facts import Content
from parity.formats.listing import Operation, as_text

if TYPE_CHECKING:
    from conversion import Artifact

# Longer lists of whole numbers are weights.
_MOST_CHOSEN = 256


def operations(artifact: Artifact) -> Iterator[Operation]:
    """List the operations of all functions in the order of the file, without constants."""
    model = open_model(artifact.path)
    weights = Weights(model.name, model.weights_dir)
    for function in model.specification.mlProgram.functions.values():
        yield from _block(weights, function.block_specializations[function.opset], {})


def _block(weights: Weights, block: Any, constants: dict[str, str | np.ndarray]) -> Iterator[Operation]:
    for operation in block.operations:
        name = operation.outputs[0].name if operation.outputs else operation.type
        values = {
            key: _value(weights, value, f"{name}.{key}")
            for key, value in operation.attributes.items()
            if key != "name"
        }
        if operation.type == "const":
            constants[name] = values["val"]
            continue
        inputs: list[str] = []
        for key, argument in operation.inputs.items():
            for place, binding in enumerate(argument.arguments):
                where = key if len(argument.arguments) == 1 else f"{key}[{place}]"
                if binding.WhichOneof("binding") == "value":
                    values[where] = _value(weights, binding.value, f"{name}.{where}")
                elif binding.name in constants:
                    values[where] = constants[binding.name]
                else:
                    inputs.append(binding.name)
        outputs = tuple(output.name for output in operation.outputs)
        yield Operation(operation.type, name, values, tuple(inputs), outputs)
        for inner in operation.blocks:
            yield from _block(weights, inner, constants)


def _value(weights: Weights, value: Any, name: str) -> str | np.ndarray:
    """Read a constant: text where somebody chose it (a stride, a mode), numbers where somebody learned them."""
    constant = read_constant(value, weights, name)
    if not isinstance(constant, Constant):
        return as_text(list(constant) if isinstance(constant, tuple) else constant)
    # Nobody chose so many whole numbers either: they are what a compressed weight is made of.
    if constant.array.ndim and (constant.array.dtype.kind == "f" or constant.array.size > _MOST_CHOSEN):
        return constant.array
    return as_text(constant.array.tolist())


def content(path: Path) -> Content:
    """Read what facts and digest are taken from, without the notes of converters."""
    model = open_model(path)
    functions = model.specification.mlProgram.functions.values()
    blocks = [block for function in functions for block in function.block_specializations.values()]
    opsets = sorted({function.opset for function in functions})
    return content_of(model, f", {' and '.join(opsets)}", Counter(_types(blocks)))


def _types(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        for operation in block.operations:
            if operation.type != "const":
                yield operation.type
            yield from _types(operation.blocks)
