"""In which form a kernel wants its arguments, by the annotations of its parameters."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import torch

from parity.coreml.dtypes import carry
from parity.coreml.reading.mil_values import Constant


def as_tensor(value: Any) -> Any:
    """Make the tensor of a constant; what is no Constant is itself."""
    return carry(value.array, value.dtype) if isinstance(value, Constant) else value


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Constant):
        return list(value.array.reshape(-1).tolist())
    if isinstance(value, torch.Tensor):
        return list(value.reshape(-1).tolist())
    return list(value) if isinstance(value, tuple | list) else [value]


def _one(value: Any) -> Any:
    flat = _flat(value)
    if len(flat) != 1:
        raise ValueError(f"one value expected, found {len(flat)}")
    return flat[0]


_CONVERTERS: Mapping[Any, Callable[[Any], Any]] = {
    torch.Tensor: as_tensor,
    Any: as_tensor,
    int: lambda value: int(_one(value)),
    float: lambda value: float(_one(value)),
    bool: lambda value: bool(_one(value)),
    str: lambda value: str(_one(value)),
    tuple[int, ...]: lambda value: tuple(int(v) for v in _flat(value)),
    tuple[float, ...]: lambda value: tuple(float(v) for v in _flat(value)),
    tuple[bool, ...]: lambda value: tuple(bool(v) for v in _flat(value)),
    tuple[str, ...]: lambda value: tuple(str(v) for v in _flat(value)),
}


def converter(annotation: Any) -> tuple[Callable[[Any], Any], bool]:
    """Find how a parameter is handed to its kernel, and whether it takes several values (like concat's)."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if annotation in (list[torch.Tensor], list[Any]):
        return as_tensor, True
    return _CONVERTERS[annotation], False
