"""The compressed weights of an ML Program. Source: coremltools' MIL definitions of the operations constexpr_*."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.coreml.reading.files import open_model
from parity.coreml.reading.mil import default_function, read_constants
from parity.coreml.reading.mil_values import Constant, Weights, read_constant, read_type
from parity.formats.compression import CompressedWeight, Kind, blocks_of, granularity

if TYPE_CHECKING:
    from conversion import Artifact

# It changes the type of every number alike, which is no compression.
_CAST = "constexpr_cast"


@dataclass(frozen=True)
class _Program:
    """Hold the constants by name, their types, and the operations that make the compressed ones."""

    constants: Mapping[str, np.ndarray]
    types: Mapping[str, tuple[str, tuple[int, ...]]]
    makers: Mapping[str, Any]
    weights: Weights

    def read(self, operation: Any, place: str) -> tuple[str, np.ndarray | None, str]:
        """Read an argument: its name where it has one, its numbers, and their type; None where it is absent."""
        name = ""
        if place in operation.inputs:
            binding = operation.inputs[place].arguments[0]
            if binding.WhichOneof("binding") == "name":
                name = binding.name
                return name, self.constants.get(name), self.types[name][0]
            value = binding.value
        elif place in operation.attributes:
            value = operation.attributes[place]
        else:
            return "", None, ""
        constant = read_constant(value, self.weights, place)
        return (name, constant.array, constant.dtype) if isinstance(constant, Constant) else ("", None, "")


def compressed_weights(artifact: Artifact) -> tuple[CompressedWeight, ...]:
    """Read which weights of the default function are compressed, and how, in the order of the file."""
    model = open_model(artifact.path)
    function = default_function(model.specification)
    operations = function.block_specializations[function.opset].operations
    makers = {
        output.name: operation
        for operation in operations
        if operation.type.startswith("constexpr_") and operation.type != _CAST
        for output in operation.outputs
    }
    if not makers:
        return ()
    where = str(artifact.path)
    types = {
        output.name: _fixed(read_type(output.type, where))
        for operation in operations
        if operation.type == "const" or any(output.name in makers for output in operation.outputs)
        for output in operation.outputs
    }
    constants = read_constants(model.specification, model.name, model.weights_dir)
    program = _Program(constants, types, makers, Weights(model.name, model.weights_dir))
    # What another of these operations reads is a part of the weight that this one makes.
    parts = {
        binding.name
        for operation in makers.values()
        for argument in operation.inputs.values()
        for binding in argument.arguments
    }
    ends = [o for o in operations if any(v.name in makers for v in o.outputs)]
    return tuple(
        _weight(program, operation.outputs[0].name)
        for operation in ends
        if not any(output.name in parts for output in operation.outputs)
    )


def _fixed(declared: tuple[str, tuple[int | None, ...]]) -> tuple[str, tuple[int, ...]]:
    return declared[0], tuple(size or 0 for size in declared[1])


def _weight(program: _Program, name: str) -> CompressedWeight:
    shape = program.types[name][1]
    parts = _parts(program, program.makers[name], shape)
    sparse, table = "kept" in parts, "codebook" in parts
    inner = table or "levels" in parts
    kind: Kind = "joint" if sparse and inner else "sparse" if sparse else "palette" if table else "linear"
    blocks = parts["codebook"].shape[:-2] if table else getattr(parts.get("scale"), "shape", ())
    return CompressedWeight(
        name=name,
        kind=kind,
        granularity=granularity(blocks, shape),
        shape=shape,
        **{"bits": 0, **parts},
    )


def _parts(program: _Program, operation: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Read the grid that an operation and those before it come to, as fields of CompressedWeight."""
    kind = operation.type
    if "lut" in kind:
        _, table, _ = program.read(operation, "lut")
        _, vectors, _ = program.read(operation, "vector_axis")
        if table is None:
            return {}
        if table.ndim == 1:  # before iOS18: one table of single numbers
            table = table.reshape(*(1,) * len(shape), -1, 1)
        along = None if vectors is None else int(vectors) % len(shape)
        bits = max((table.shape[-2] - 1).bit_length(), 1)
        return {"codebook": table.astype(np.float64), "vector_axis": along, "bits": bits}
    if kind == "constexpr_sparse_to_dense":
        name, numbers, _ = program.read(operation, "nonzero_data")
        inner = _parts(program, program.makers[name], shape) if name in program.makers else {}
        return {**inner, "kept": 0 if numbers is None else int(numbers.size)}
    place = next(p for p in ("quantized_data", "nonzero_data", "data") if _has(operation, p))
    name, _, dtype = program.read(operation, place)
    inner = _parts(program, program.makers[name], shape) if name in program.makers else _whole_numbers(dtype)
    _, scale, _ = program.read(operation, "scale")
    _, zero, _ = program.read(operation, "zero_point")
    zero = program.read(operation, "offset")[1] if zero is None else zero
    _, channels, _ = program.read(operation, "axis")
    axis = None if channels is None else int(channels)
    scales = {"scale": scale, "zero": zero}
    return {**inner, **{k: blocks_of(v, shape, axis) for k, v in scales.items() if v is not None}}


def _has(operation: Any, place: str) -> bool:
    return place in operation.inputs or place in operation.attributes


def _whole_numbers(dtype: str) -> dict[str, Any]:
    """Read the range of a type of whole numbers; of floats there is none."""
    bits = dtype.removeprefix("u").removeprefix("int")
    if not bits.isdigit():
        return {}
    count = int(bits)
    low, high = (0, 2**count - 1) if dtype.startswith("u") else (-(2 ** (count - 1)), 2 ** (count - 1) - 1)
    return {"levels": (low, high), "bits": count}
