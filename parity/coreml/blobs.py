"""The weight file of an ML Program: a header, then aligned blobs that each say their type and size.

Source: MILBlob/Blob/StorageFormat.hpp and BlobDataType.hpp in the coremltools repository.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.errors import CoreMLError

_SENTINEL = 0xDEADBEEF
_METADATA = struct.Struct("<IIQQQ")  # sentinel, type, size in bytes, offset of the data, padding in bits
_VERSION = 2


@dataclass(frozen=True)
class BlobFile:
    """Hold a weight file, mapped into memory rather than read."""

    path: Path
    memory: np.ndarray

    def read(self, offset: int, itemsize: int, where: str) -> np.ndarray:
        """Return the bytes of the blob whose metadata stands at `offset`, as a read-only uint8 view.

        itemsize: bytes of one element; a size that it does not divide is an error. 1 for types below a byte.
        """
        if offset < 0 or offset + _METADATA.size > len(self.memory):
            raise CoreMLError(
                f"{self.path}: {where} stands at offset {offset}, past the end of the file "
                f"({len(self.memory)} bytes); the file is truncated, copy or convert the package again"
            )
        sentinel, _, size, start, _ = _METADATA.unpack_from(self.memory.data, offset)
        if sentinel != _SENTINEL:
            raise CoreMLError(
                f"{self.path}: no blob stands at offset {offset}, where {where} should be; "
                "the weight file does not belong to this model, or is damaged: convert again"
            )
        if start + size > len(self.memory) or size % itemsize:
            raise CoreMLError(
                f"{self.path}: {where} should have {size} bytes from offset {start}, but the file has "
                f"{len(self.memory)} bytes; the file is truncated, copy or convert the package again"
            )
        return self.memory[start : start + size]


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
