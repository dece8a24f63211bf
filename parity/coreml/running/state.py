"""State that a model keeps between predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import CARRIERS, NUMPY, carry, settle, uncarry
from parity.coreml.program import Value


@dataclass
class Cell:
    """Hold one state's tensor. It is replaced by a write, never changed: what was read before stays as it was."""

    declared: Value
    tensor: torch.Tensor

    def write(self, value: torch.Tensor) -> None:
        """Replace the tensor by a copy of another."""
        if value.shape != self.tensor.shape:
            raise ValueError(
                f"the state `{self.declared.name}` has the shape {tuple(self.tensor.shape)}, the value "
                f"{tuple(value.shape)}"
            )
        settled = settle(value, self.declared.dtype)
        # The value may be the caller's own memory.
        self.tensor = settled.clone() if settled is value else settled


@dataclass(frozen=True)
class State:
    """Hold the states of a model by name; all zero at first, changed by each prediction that takes it."""

    model: str
    cells: Mapping[str, Cell]

    def declares(self, value: Value) -> bool:
        """Say whether this state has a cell of such a name, type and shape."""
        return value.name in self.cells and self.cells[value.name].declared == value

    def read_state(self, name: str) -> np.ndarray:
        """Return a state's value; one of fp16 as float32, as macOS does."""
        cell = self._cell(name)
        dtype = "fp32" if cell.declared.dtype == "fp16" else cell.declared.dtype
        return uncarry(cell.tensor, dtype).copy()

    def write_state(self, name: str, value: Any) -> None:
        """Give a state a value: an array of its shape."""
        cell = self._cell(name)
        try:
            with np.errstate(all="ignore"):
                array = np.asarray(value).astype(NUMPY[cell.declared.dtype])
            cell.write(carry(array, cell.declared.dtype))
        except (TypeError, ValueError) as error:
            raise CoreMLError(f"{self.model}: writing the state `{name}`: {error}") from error

    def _cell(self, name: str) -> Cell:
        if name not in self.cells:
            raise CoreMLError(f"{self.model}: no state `{name}`; the model has {', '.join(self.cells)}")
        return self.cells[name]


def make_cells(declared: tuple[Value, ...], model: str) -> State:
    """Make the state of a model, zero everywhere. declared: its states."""
    cells: dict[str, Cell] = {}
    for value in declared:
        sizes = [size for size in value.shape if isinstance(size, int)]
        if len(sizes) != len(value.shape) or value.dtype not in CARRIERS:
            raise CoreMLError(f"{model}: the state `{value.name}` has no fixed shape and type; convert again")
        cells[value.name] = Cell(value, torch.zeros(sizes, dtype=CARRIERS[value.dtype]))
    return State(model, cells)
