"""PyTorch's arguments in the settings of a format: what each of the three says in its own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from parity.formats.graph import Operation

# Name -> value; None stands for a setting that must be absent.
Settings = dict[str, Any]
# Top, bottom, left, right.
Sides = tuple[int, int, int, int]


@dataclass(frozen=True)
class Convolution:
    """Hold what a convolution of PyTorch's was called with."""

    stride: list[int]
    dilation: list[int]
    groups: int
    sides: Sides


@dataclass(frozen=True)
class Pooling:
    """Hold what a pool of PyTorch's was called with; include: whether padding counts in an average."""

    average: bool
    kernel: list[int]
    stride: list[int]
    sides: Sides
    ceil: bool
    include: bool


@dataclass(frozen=True)
class Resize:
    """Hold what a resize of PyTorch's was called with; smooth: with antialiasing."""

    cubic: bool
    smooth: bool
    align_corners: bool


class Translation(Protocol):
    """What a format's settings module has; each returns what an operation of the file must say."""

    def convolution(self, operation: Operation, wanted: Convolution, /) -> Settings:
        """Translate a convolution."""

    def pooling(self, operation: Operation, wanted: Pooling, /) -> Settings:
        """Translate a pool."""

    def norm(self, operation: Operation, eps: float, /) -> Settings:
        """Translate a norm in evaluation mode."""

    def leaky_relu(self, operation: Operation, slope: float, /) -> Settings:
        """Translate a leaky ReLU."""

    def elu(self, operation: Operation, alpha: float, /) -> Settings:
        """Translate an ELU."""

    def gelu(self, operation: Operation, approximate: str, /) -> Settings:
        """Translate a GELU; approximate: `none` or `tanh`."""

    def clip(self, operation: Operation, low: float, high: float, /) -> Settings:
        """Translate a hardtanh."""

    def padding(self, operation: Operation, mode: str, /) -> Settings:
        """Translate what surrounds an image; mode: `constant`, `reflect` or `replicate`."""

    def resize(self, operation: Operation, wanted: Resize, /) -> Settings:
        """Translate an upsampling."""

    def epsilon_name(self, operation: Operation, /) -> str:
        """Name a norm's setting of epsilon."""

    def own_padding(self, operation: Operation, /) -> Sides | None:
        """Read what a convolution or a pool itself puts around the image; None where its size decides that."""


def unless_default(operation: Operation, wanted: Mapping[str, tuple[Any, Any]]) -> Settings:
    """Leave out what the file does not say where its silence means what is wanted."""
    return {n: value for n, (value, default) in wanted.items() if n in operation.attributes or value != default}


def whole_numbers(text: str) -> list[int]:
    """Read a list of whole numbers out of a setting."""
    return [int(word) for word in text.strip("[]() ").replace(",", " ").split()]
