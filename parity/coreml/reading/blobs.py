"""The weight file of an ML Program: a header, then aligned blobs that each say their type and size.

Source: MILBlob/Blob/StorageFormat.hpp and BlobDataType.hpp in the coremltools repository.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.core.errors import CoreMLError

_SENTINEL = 0xDEADBEEF
_METADATA = struct.Struct("<IIQQQ")  # sentinel, type, size in bytes, offset of the data, padding in bits
_VERSION = 2
# BlobDataType's number of each type of ML Programs, and the bytes of one element; 1 where several share a byte.
_TYPES: Mapping[str, tuple[int, int]] = {
    "fp16": (1, 2),
    "fp32": (2, 4),
    "uint8": (3, 1),
    "int8": (4, 1),
    "int16": (6, 2),
    "uint16": (7, 2),
    "int4": (8, 1),
    "uint1": (9, 1),
    "uint2": (10, 1),
    "uint4": (11, 1),
    "uint3": (12, 1),
    "uint6": (13, 1),
    "int32": (14, 4),
    "uint32": (15, 4),
}


@dataclass(frozen=True)
class BlobFile:
    """Hold a weight file, mapped into memory rather than read."""

    path: Path
    memory: np.ndarray

    def read(self, offset: int, dtype: str, where: str) -> np.ndarray:
        """Return the bytes of the blob whose metadata stands at `offset`, as a read-only uint8 view.

        dtype: what the program says the blob holds; a blob that says otherwise of itself is an error.
        """
        if dtype not in _TYPES:
            raise CoreMLError(
                f"{self.path}: {where} is of the type {dtype}, which no version of Core ML keeps in a weight file; "
                f"it keeps {', '.join(_TYPES)}: convert again"
            )
        number, itemsize = _TYPES[dtype]
        if offset < 0 or offset + _METADATA.size > len(self.memory):
            raise CoreMLError(
                f"{self.path}: {where} stands at offset {offset}, past the end of the file "
                f"({len(self.memory)} bytes); the file is truncated, copy or convert the package again"
            )
        sentinel, kind, size, start, _ = _METADATA.unpack_from(self.memory.data, offset)
        if sentinel != _SENTINEL:
            raise CoreMLError(
                f"{self.path}: no blob stands at offset {offset}, where {where} should be; "
                "the weight file does not belong to this model, or is damaged: convert again"
            )
        if kind != number:
            held = [name for name, (other, _) in _TYPES.items() if other == kind]
            raise CoreMLError(
                f"{self.path}: {where} should be {dtype}, but the blob at offset {offset} says that it holds "
                f"{held[0] if held else f'numbers of the unknown type {kind}'}; the weight file does not belong to "
                "this model, or is damaged: convert again"
            )
        if start + size > len(self.memory) or size % itemsize:
            raise CoreMLError(
                f"{self.path}: {where} should have {size} bytes from offset {start}, but the file has "
                f"{len(self.memory)} bytes; the file is truncated, copy or convert the package again"
            )
        return self.memory[start : start + size]


def release(array: np.ndarray) -> None:
    """Let go of the pages of a weight file that an array looks at: the system reads them again if need be.

    What became a tensor is not in memory twice then.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        start = array.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
        page = start - start % mmap.PAGESIZE
        owner.madvise(mmap.MADV_DONTNEED, page, start + array.nbytes - page)


def open_blobs(path: Path) -> BlobFile:
    """Map a weight file into memory; a missing or foreign file is a CoreMLError."""
    if not path.is_file():
        raise CoreMLError(
            f"{path}: the weight file is missing; copy the whole .mlpackage directory, or convert again"
        )
    if path.stat().st_size < 64:
        raise CoreMLError(f"{path}: the weight file is truncated ({path.stat().st_size} bytes); convert again")
    memory = np.memmap(path, dtype=np.uint8, mode="r")
    _, version = struct.unpack_from("<II", memory.data, 0)
    if version != _VERSION:
        raise CoreMLError(f"{path}: weight file version {version}; the evaluator reads version {_VERSION}")
    return BlobFile(path, memory)
