"""What a family of mutations is given, and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from parity.backends.reference import Reference
from parity.core.faults import known
from parity.formats.editing import Edit, open_editable
from parity.formats.graph import Graph, Operation, read_graph

if TYPE_CHECKING:
    from PIL.Image import Image

    from conversion import Artifact

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sample:
    """Hold images: as the model sees them, uint8 [N, H, W, 3], and as they were before that."""

    names: tuple[str, ...]
    pixels: np.ndarray
    pictures: tuple[Image, ...]


@dataclass(frozen=True)
class Mutant:
    """Hold one fault that was put in: an edit of the file, or a change of the pixels that it gets.

    fault: its name in the catalogue. told: what was done. place: which of several places of the file it is in, by
    words that mean the same in every file of the model. remedies: kinds of probes, or settings, that may show it,
    the best first. converter: a converter that made it would make it in fp16 and fp32 alike.
    absent: why the fault cannot be put in; there is neither an edit nor a change then.
    """

    fault: str
    told: str = ""
    place: str = ""
    remedies: tuple[str, ...] = ()
    converter: bool = False
    edit: Edit | None = None
    pixels: Callable[[Sample], np.ndarray] | None = None
    absent: str = ""

    def __post_init__(self) -> None:
        known(self.fault)


@dataclass(frozen=True)
class Original:
    """Hold the artefact that is mutated, with the model that it was made from.

    batches: whether the suite wants more than one image to go in at once.
    """

    artifact: Artifact
    reference: Reference
    batches: bool = False

    @cached_property
    def graph(self) -> Graph:
        """The operations of the file."""
        return read_graph(self.artifact)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The labels in the file."""
        return open_editable(self.artifact).labels()

    @cached_property
    def kernels(self) -> list[tuple[Operation, str]]:
        """The operations that multiply with learnt weights, and where each reads them; not the normalisation."""
        return [
            (operation, place)
            for operation in self.graph.operations
            for place, array in operation.weights.items()
            if array.ndim >= 2 and min(array.size, array.shape[0]) > 1 and array.size > 3 and operation.inputs
        ]

    @cached_property
    def behind(self) -> list[Operation]:
        """The operations that take part in the answer, from the image on."""
        needed = {self.graph.output}
        operations = []
        for operation in reversed(self.graph.operations):
            if needed & set(operation.outputs):
                needed |= set(operation.inputs)
                operations.append(operation)
        return operations[::-1]


def none(fault: str, why: str) -> Iterator[Mutant]:
    """Say that a fault has no place in an artefact."""
    yield Mutant(fault, absent=why)


def spread(items: Sequence[_Item]) -> Iterator[tuple[str, _Item]]:
    """Choose the first, the middle and the last, each once."""
    places = {len(items) // 2: "middle", len(items) - 1: "last", 0: "first"} if items else {}
    for index, word in sorted(places.items()):
        yield word, items[index]


def converters(mutants: Iterator[Mutant]) -> Iterator[Mutant]:
    """Mark mutants as what a converter would do at any precision."""
    for mutant in mutants:
        yield replace(mutant, converter=True)
