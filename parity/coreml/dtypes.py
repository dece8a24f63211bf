"""Core ML's number types, and the torch tensors that carry them.

A value of a program is carried by a tensor of a type that torch computes in quickly and exactly: fp16 by float32
whose every element is an fp16 number, small integers by int32. `settle` brings a result back to its declared
type; it is the one place where fp16 rounds, overflows to infinity and underflows to zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

CARRIERS: Mapping[str, torch.dtype] = {
    "fp16": torch.float32,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bool": torch.bool,
    "int4": torch.int32,
    "int8": torch.int32,
    "int16": torch.int32,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint1": torch.int32,
    "uint2": torch.int32,
    "uint3": torch.int32,
    "uint4": torch.int32,
    "uint6": torch.int32,
    "uint8": torch.int32,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
}

NUMPY: Mapping[str, np.dtype[np.generic]] = {
    "fp16": np.dtype(np.float16),
    "fp32": np.dtype(np.float32),
    "fp64": np.dtype(np.float64),
    "bool": np.dtype(np.bool_),
    "int4": np.dtype(np.int8),
    **{f"int{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": np.dtype("uint8") for bits in (1, 2, 3, 4, 6)},
    **{f"uint{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}

_WRAPPED_BITS = {
    **{f"uint{bits}": bits for bits in (1, 2, 3, 4, 6, 8, 16, 32)},
    **{f"int{bits}": bits for bits in (4, 8, 16)},
}


def settle(value: torch.Tensor, dtype: str) -> torch.Tensor:
    """Bring a computed tensor to its declared type: round fp16 to nearest even, wrap small integers."""
    if dtype == "fp16" and value.dtype is torch.float64:
        # torch goes through float32, and what is rounded twice may miss the nearest number; NumPy rounds once.
        with np.errstate(over="ignore"):
            return torch.from_numpy(value.numpy().astype(np.float16).astype(np.float32))
    if dtype == "fp16":
        return value.to(torch.float16).to(torch.float32)
    carrier = CARRIERS[dtype]
    if value.dtype is not carrier:
        value = value.to(carrier)
    bits = _WRAPPED_BITS.get(dtype)
    if bits is None:
        return value
    wrapped = value & ((1 << bits) - 1)
    if dtype.startswith("u"):
        return wrapped
    return torch.where(wrapped >= 1 << (bits - 1), wrapped - (1 << bits), wrapped)


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Take `count` numbers of so many bits out of bytes, from the lowest bit of the first byte up; as uint8.

    bits: a divisor of 24, which every width is that Core ML packs. Too few bytes give fewer numbers.
    """
    whole = packed.astype(np.uint8, copy=False).reshape(-1)
    available = min(count, whole.size * 8 // bits)
    # Three bytes hold a whole number of numbers of any such width.
    triples = np.pad(whole, (0, -whole.size % 3)).reshape(-1, 3).astype(np.uint32)
    joined = (triples << np.array([0, 8, 16], np.uint32)).sum(1, dtype=np.uint32)
    numbers = (joined[:, None] >> np.arange(0, 24, bits, dtype=np.uint32)) & np.uint32((1 << bits) - 1)
    result: np.ndarray = numbers.astype(np.uint8).reshape(-1)[:available]
    return result


def carry(array: np.ndarray, dtype: str) -> torch.Tensor:
    """Make the carrier tensor of a NumPy array that holds values of `dtype`."""
    # A copy where the array is a read-only view of the weight file: torch wants memory that it may write.
    contiguous = np.ascontiguousarray(array)
    if contiguous.dtype in (np.uint16, np.uint32, np.uint64):
        contiguous = contiguous.astype(np.int64)
    elif not contiguous.flags.writeable:
        contiguous = contiguous.copy()
    return torch.from_numpy(contiguous).reshape(array.shape).to(CARRIERS[dtype])


def uncarry(value: torch.Tensor, dtype: str) -> np.ndarray:
    """Make the NumPy array of the declared type from its carrier."""
    return value.detach().contiguous().numpy().astype(NUMPY[dtype], copy=False)
