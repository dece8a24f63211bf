"""What the search for the place of a fault comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from parity.formats.graph import Operation

# In the place of a module's path: the normalisation and the head that conversion puts around the module.
WRAPPER = "(wrapper)"

# How two values differ, the most telling first.
Kind = Literal[
    "non-finite",
    "shape",
    "missing operation",
    "extra operation",
    "scale",
    "offset",
    "border only",
    "shift",
    "channel permutation",
    "per-channel affine",
    "per-channel offset",
    "per-channel scale",
    "mirrored",
    "reordered",
    "rounded",
    "saturation",
    "broadband",
]


@dataclass(frozen=True)
class Difference:
    """Say how a value differs from the one that PyTorch computes from the same inputs.

    message: the same as a sentence's part. figures: numbers by name: `relative` is the root mean square of the
    difference as a share of the value's own; `channels` those that are affected; the others go with their kind.
    """

    kind: Kind
    message: str
    figures: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Located:
    """Name an operation of an artefact whose inputs agree with PyTorch and whose output does not.

    index, of: its place among the artefact's operations. value: the output in question.
    module: the path of the PyTorch module that it stands for: empty for the classifier itself, or WRAPPER.
    source: the aten operation; empty where PyTorch has none. sources: all modules that it does at once, fused.
    group: the artefact's operations that together do what PyTorch does in one; among them it is the first that is
    not sound. images: the numbers of those on which it shows. number: of the value of PyTorch's that it should be.
    head: what conversion puts behind the module.
    """

    operation: str
    type: str
    index: int
    of: int
    value: str
    module: str
    source: str
    difference: Difference
    sources: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    images: tuple[int, ...] = ()
    number: int = -1
    head: str = "softmax"

    @property
    def kind(self) -> Kind:
        """How the output differs."""
        return self.difference.kind

    @property
    def message(self) -> str:
        """Say where it is and what is different, in one line."""
        if self.type == "input":
            return f"the input `{self.operation}`: {self.difference.message}"
        module = place(self.module, self.head)
        relation = "is behind" if self.kind == "extra operation" else "is"
        stands_for = f", which {relation} {self.source} of {module}" if self.source else ""
        where = f"operation {self.index + 1} of {self.of}, `{self.operation}` ({self.type}){stands_for}"
        return f"{where}: {self.difference.message}"


def place(module: str, head: str = "softmax") -> str:
    """Name a module for people. head: what conversion puts behind it."""
    if module == WRAPPER:
        return f"the wrapper (normalisation and {head})"
    return f"`{module}`" if module else "the classifier's own forward"


WeightKind = Literal[
    "shared by mistake",
    "batch-norm mean and variance swapped",
    "batch-norm epsilon lost",
    "batch norm folded without its bias",
    "batch-norm statistics not loaded",
    "rows permuted",
    "columns permuted",
    "transposed",
    "scaled",
    "quantised",
    "rounded to fp16",
    "zeroed",
    "non-finite",
    "not loaded",
    "other numbers",
]


@dataclass(frozen=True)
class Origin:
    """Say which of PyTorch's own numbers a weight is made of.

    parameter: the name in the state dictionary of the deployed module; empty where there is none of its own.
    order: for each number of the artefact's array, row by row, its place in the parameter. factor: by which a
    folded batch norm multiplies the parameter, laid out to be multiplied with it; None: by nothing.
    """

    parameter: str
    order: np.ndarray
    factor: np.ndarray | None = None


@dataclass(frozen=True)
class ExpectedWeight:
    """Say what one weight of an artefact should be.

    module: where it comes from. array: in the artefact's layout. mistakes: name -> what the mistake makes of it.
    factor: by which a folded batch norm multiplied it, in that layout; None: by nothing.
    axes: what each of its axes stands for.
    """

    operation: Operation
    place: str
    module: str
    array: np.ndarray
    mistakes: Mapping[str, np.ndarray]
    origin: Origin | None = None
    factor: np.ndarray | None = None
    axes: tuple[str, ...] = ()

    @property
    def constant(self) -> str:
        """The name of the constant in the file; empty where it has none."""
        return self.operation.sources.get(self.place, "")


@dataclass(frozen=True)
class WeightFinding:
    """Say what is wrong with a weight of an artefact.

    operation: its reader; place: where it reads it (`weight`, `input[1]`); weight: the constant's name in the file,
    or the layer's and the field's. module: the path of the PyTorch module. message: a sentence's part.
    repaired: what it should be, in its shape. snr_db: of the weight against what it should be.
    distinct: how many different numbers it holds. harmless: no fault by itself, but what the precision costs.
    compressed: the file says that it is compressed, and that is all that is to be said of it here.
    """

    operation: str
    type: str
    place: str
    weight: str
    module: str
    kind: WeightKind
    message: str
    repaired: np.ndarray
    snr_db: float
    distinct: int
    harmless: bool = False
    compressed: bool = False
