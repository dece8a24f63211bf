"""Types, constants and weights of an ML Program, as MIL.proto writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parity.coreml.blobs import BlobFile, open_blobs
from parity.coreml.dtypes import NUMPY, unpack
from parity.errors import CoreMLError

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
    if value.WhichOneof("value") == "immediateValue" and value.immediateValue.WhichOneof("value") == "list":
        return tuple(_scalar(read_constant(item, weights, name)) for item in value.immediateValue.list.values)
    dtype, shape = read_type(value.type, where)
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
        values = getattr(tensor, kind).values if kind else ()
        if dtype == "string":
            return tuple(values) if shape else "".join(values)
        packed = kind == "bytes"
        flat = (
            _unpack(np.frombuffer(bytes(values), np.uint8), dtype, count)
            if packed
            else np.array(values, NUMPY[dtype])
        )
    if flat.size != count:
        raise CoreMLError(f"{where} has {flat.size} value(s) for the shape {list(sizes)}; convert again")
    return Constant(flat.reshape(sizes), dtype)


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
