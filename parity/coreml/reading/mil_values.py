"""Types, constants and weights of an ML Program, as MIL.proto writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import NUMPY, unpack
from parity.coreml.reading.blobs import BlobFile, open_blobs

# MIL.proto's enumeration DataType, by number.
_DTYPES: Mapping[int, str] = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
# In which fields of TensorValue a tensor of a type may stand; bytes for those that are not here.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "bool": ("bools",),
    "string": ("strings",),
    "fp32": ("floats",),
    "fp64": ("doubles",),
    "int16": ("ints", "bytes"),
    "uint16": ("ints", "bytes"),
    "int32": ("ints",),
    "uint32": ("ints", "bytes"),
    "int64": ("longInts",),
    "uint64": ("longInts",),
}
_BITS: Mapping[str, int] = {"int4": 4, "uint4": 4, "uint6": 6, "uint3": 3, "uint2": 2, "uint1": 1}


@dataclass(frozen=True)
class Constant:
    """Hold an array of the file with the type that the file declares for it."""

    array: np.ndarray
    dtype: str


@dataclass
class Weights:
    """Hold the weight files of one package, each opened when it is first read.

    directory: None where only a specification was given, without its package.
    """

    where: str
    directory: Path | None
    files: dict[str, BlobFile] = field(default_factory=dict)

    def read(self, file_name: str, offset: int, dtype: str, name: str) -> np.ndarray:
        """Return the bytes of the weight `name`; see BlobFile.read."""
        if self.directory is None:
            raise CoreMLError(
                f"{self.where}: `{name}` stands in a weight file, but only the specification was given; "
                "give the path of the .mlpackage"
            )
        # The file says `@model_path/weights/weight.bin`; what counts is the name within the weights directory.
        base = file_name.split("/")[-1]
        if base not in self.files:
            self.files[base] = open_blobs(self.directory / base)
        return self.files[base].read(offset, dtype, f"`{name}`")


def read_type(value_type: Any, where: str) -> tuple[str, tuple[int | None, ...]]:
    """Read a ValueType as (dtype, shape); what is no tensor has its kind (`list`, `dict`, ...) for a dtype."""
    kind = value_type.WhichOneof("type")
    if kind == "stateType":
        return read_type(value_type.stateType.wrappedType, where)
    if kind != "tensorType":
        return {"dictionaryType": "dict", "listType": "list"}.get(kind, "tuple"), ()
    tensor = value_type.tensorType
    if tensor.dataType not in _DTYPES:
        raise CoreMLError(f"{where}: unknown number type {tensor.dataType}; known are {sorted(_DTYPES)}")
    shape = tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions
    )
    return _DTYPES[tensor.dataType], shape


def read_constant(value: Any, weights: Weights, name: str) -> Any:
    """Read a constant: a `Constant`, or plain Python values for texts and lists."""
    where = f"{weights.where}: the constant `{name}`"
    dtype, shape = read_type(value.type, where)
    listed = value.WhichOneof("value") == "immediateValue" and value.immediateValue.WhichOneof("value") == "list"
    if listed != (dtype == "list"):
        raise CoreMLError(
            f"{where} is declared {dtype}, and holds {'a list' if listed else 'a tensor'}; convert again"
        )
    if listed:
        return _read_list(value, weights, name, where)
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) != len(shape):
        raise CoreMLError(f"{where} has no fixed shape; convert again")
    count = int(np.prod(sizes))
    if value.WhichOneof("value") == "blobFileValue":
        raw = weights.read(value.blobFileValue.fileName, int(value.blobFileValue.offset), dtype, name)
        flat = _unpack(raw, dtype, count)
    else:
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind and kind not in _FIELDS.get(dtype, ("bytes",)):
            raise CoreMLError(f"{where} is declared {dtype}, and holds {kind}; convert again")
        values: Any = getattr(tensor, kind).values if kind else ()
        if dtype == "string":
            if len(values) != count:
                raise CoreMLError(f"{where} has {len(values)} text(s) for the shape {list(sizes)}; convert again")
            return tuple(values) if shape else values[0]
        packed = kind == "bytes"
        flat = (
            _unpack(np.frombuffer(bytes(values), np.uint8), dtype, count)
            if packed
            else np.array(values, NUMPY[dtype])
        )
    if flat.size != count:
        raise CoreMLError(f"{where} has {flat.size} value(s) for the shape {list(sizes)}; convert again")
    return Constant(flat.reshape(sizes), dtype)


def _read_list(value: Any, weights: Weights, name: str, where: str) -> tuple[Any, ...]:
    items, declared = value.immediateValue.list.values, value.type.listType
    length = declared.length
    if length.WhichOneof("dimension") == "constant" and length.constant.size != len(items):
        raise CoreMLError(
            f"{where} is declared a list of {length.constant.size}, and holds {len(items)} value(s); convert again"
        )
    wanted = read_type(declared.type, where)
    others = [held for held in (read_type(item.type, where) for item in items) if held != wanted]
    if others:
        raise CoreMLError(
            f"{where} is declared a list of {wanted[0]} {list(wanted[1])}, and holds {others[0][0]} "
            f"{list(others[0][1])}; convert again"
        )
    return tuple(_scalar(read_constant(item, weights, name)) for item in items)


def _scalar(value: Any) -> Any:
    return value.array.reshape(-1)[0].item() if isinstance(value, Constant) else value


def _unpack(raw: np.ndarray, dtype: str, count: int) -> np.ndarray:
    """Turn bytes into numbers; types below a byte are packed from the lowest bit up."""
    bits = _BITS.get(dtype)
    if bits is None:
        return raw.view(NUMPY[dtype])
    numbers = unpack(raw, bits, count).astype(NUMPY[dtype])
    if dtype.startswith("int"):
        numbers -= (numbers >> (bits - 1)) << bits
    return numbers
