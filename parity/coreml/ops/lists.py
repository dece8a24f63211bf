"""Lists of tensors. Source: coremltools' MIL definitions, family control_flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from parity.coreml.dtypes import CARRIERS
from parity.coreml.registry import op


@dataclass(frozen=True)
class TensorList:
    """Hold a list of tensors of one shape; what was never written is zero.

    shape: None stands for a size that is known only when an element is written.
    dynamic: a write beyond the end makes the list longer.
    """

    length: int
    shape: tuple[int | None, ...]
    dtype: str
    dynamic: bool
    written: Mapping[int, torch.Tensor]

    def read(self, index: int) -> torch.Tensor:
        """Return the element at this index."""
        if not 0 <= index < self.length:
            raise ValueError(f"index {index} into a list of {self.length} element(s)")
        if index in self.written:
            return self.written[index]
        like = next(iter(self.written.values()), None)
        shape = [1 if size is None else size for size in self.shape] if like is None else like.shape
        return torch.zeros(shape, dtype=CARRIERS[self.dtype])

    def write(self, elements: Mapping[int, torch.Tensor]) -> TensorList:
        """Return the list with these elements by index."""
        if not elements:
            return self
        last = max(elements)
        if min(elements) < 0 or (last >= self.length and not self.dynamic):
            raise ValueError(
                f"index {last if last >= self.length else min(elements)} into a list of {self.length} element(s)"
                + ("" if self.dynamic else ", which cannot grow")
            )
        return replace(self, length=max(self.length, last + 1), written={**self.written, **elements})


@op("make_list")
def make_list(
    *, init_length: int = 1, dynamic_length: bool = True, elem_shape: list[Any], dtype: str = "fp32"
) -> TensorList:
    """Make a list of init_length zeros; a text in elem_shape stands for a size that only an element tells."""
    shape = tuple(None if isinstance(size, str) else int(size) for size in elem_shape)
    if init_length < 0 or dtype not in CARRIERS:
        raise ValueError(f"a list of {init_length} element(s) of the type {dtype}")
    return TensorList(init_length, shape, dtype, dynamic_length, {})


@op("list_length")
def list_length(ls: Any) -> torch.Tensor:
    """Count the elements."""
    return torch.tensor(ls.length, dtype=torch.int32)


@op("list_read", exact=True, view=True)
def list_read(ls: Any, index: int) -> torch.Tensor:
    """Take the element at this index."""
    element: torch.Tensor = ls.read(index)
    return element


@op("list_write", view=True)
def list_write(ls: Any, index: int, value: torch.Tensor) -> TensorList:
    """Put an element at this index; beyond the end a list grows, where it may."""
    written: TensorList = ls.write({index: value})
    return written


@op("list_gather", exact=True)
def list_gather(ls: Any, indices: tuple[int, ...]) -> torch.Tensor:
    """Stack the elements at these indices along a new first axis."""
    # Of no elements at all torch would not know the shape.
    return torch.stack([ls.read(index) for index in indices or (0,)])[: len(indices)]


@op("list_scatter", view=True)
def list_scatter(ls: Any, indices: tuple[int, ...], value: torch.Tensor) -> TensorList:
    """Put value's slices along its first axis at these indices; of equal indices the last wins."""
    written: TensorList = ls.write(dict(zip(indices, value.unbind(0), strict=True)))
    return written
