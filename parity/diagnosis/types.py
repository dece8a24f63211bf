"""What the search for where a fault lies found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

# In the place of a module's path: the normalisation and the softmax that conversion puts around the classifier.
WRAPPER = "(wrapper)"

# In which way two values differ, the most telling first.
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
    "saturation",
    "broadband",
]


@dataclass(frozen=True)
class Difference:
    """Say in which way a value differs from the one that PyTorch computes from the same inputs.

    told: the same as a sentence's part. figures: numbers by name: `relative` is the root mean square of the
    difference as a share of the value's own; `channels` those that are affected; the others go with their kind.
    """

    kind: Kind
    told: str
    figures: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Located:
    """Name an operation of an artefact whose inputs agree with PyTorch and whose output does not.

    index, of: its place among the artefact's operations. value: the output in question.
    module: the path of the PyTorch module that it stands for: empty for the classifier itself, or WRAPPER.
    source: the aten operation; empty where PyTorch has none. sources: all modules that it does at once, fused.
    group: the artefact's operations that together do what PyTorch does in one; among them it is the first that is
    not sound. images: the numbers of those on which it shows. number: of the value of PyTorch's that it should be.
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

    @property
    def kind(self) -> Kind:
        """In which way the output differs."""
        return self.difference.kind

    @property
    def told(self) -> str:
        """Say where it is and what is different, in one line."""
        if self.type == "input":
            return f"the input `{self.operation}`: {self.difference.told}"
        module = place(self.module)
        stands_for = f", which is {self.source} of {module}" if self.source else ""
        where = f"operation {self.index + 1} of {self.of}, `{self.operation}` ({self.type}){stands_for}"
        return f"{where}: {self.difference.told}"


def place(module: str) -> str:
    """Name a module for people."""
    if module == WRAPPER:
        return "the wrapper (normalisation and softmax)"
    return f"`{module}`" if module else "the classifier's own forward"


WeightKind = Literal[
    "shared by mistake",
    "batch-norm mean and variance swapped",
    "batch-norm epsilon lost",
    "batch norm folded without its bias",
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
class WeightFinding:
    """Say what is wrong with a weight of an artefact.

    operation: its reader; place: where it reads it (`weight`, `input[1]`); weight: the constant's name in the file,
    or the layer's and the field's. module: the path of the PyTorch module. repaired: what it should be, in its
    shape. snr_db: of the weight against what it should be. distinct: how many different numbers it holds.
    harmless: no fault by itself, but what the precision costs.
    """

    operation: str
    type: str
    place: str
    weight: str
    module: str
    kind: WeightKind
    told: str
    repaired: np.ndarray
    snr_db: float
    distinct: int
    harmless: bool = False
