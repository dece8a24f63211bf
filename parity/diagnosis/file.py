"""What a candidate's file holds, read when it is first asked for, and once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from conversion.errors import ConversionError
from parity.core.errors import ParityError
from parity.core.refusals import EXPECTED, refusals
from parity.formats import format_of
from parity.formats.editing import Editable, open_editable
from parity.formats.graph import Graph, read_graph
from parity.formats.trace import Trace, open_trace

if TYPE_CHECKING:
    import numpy as np

    from conversion import Artifact


@dataclass(frozen=True)
class File:
    """Hold one file: what it says of itself, and its values for an image."""

    artifact: Artifact

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The labels in the file, in the order of its outputs; None where it has none.

        Whole numbers are what the contract says that they stand for. A file that gives an array has them in the
        note of where it comes from.
        """
        if self.artifact.contract.names:
            return self.artifact.contract.names
        provenance = self.artifact.provenance
        return self._own_labels or (provenance.labels or None if provenance else None)

    @property
    def has_dictionary(self) -> bool:
        """Whether it gives a probability by each label, and no array."""
        return self._own_labels is not None

    @cached_property
    def _own_labels(self) -> tuple[str, ...] | None:
        if not format_of(self.artifact).HAS_LABELS:  # they stand in the note
            return None
        try:
            return self.editable.labels()
        except EXPECTED:  # a damaged file: others say so
            return None

    @cached_property
    def editable(self) -> Editable:
        """What the file holds, to read."""
        return open_editable(self.artifact)

    @cached_property
    def graph(self) -> Graph | None:
        """The file's operations; None where they cannot be read."""
        try:
            return read_graph(self.artifact)
        except (ParityError, ConversionError, StopIteration):
            return None

    @cached_property
    def _trace(self) -> Trace | None:
        try:
            return open_trace(self.artifact)
        except (ParityError, ConversionError, StopIteration):
            return None

    def values(self, pixels: np.ndarray) -> dict[str, np.ndarray] | None:
        """Trace one image, uint8 [H, W, 3], through the file; None where it cannot be traced."""
        if self._trace is None:
            return None
        try:
            with refusals("the runtime that shows the values inside"):
                return self._trace(pixels)
        except EXPECTED:
            return None
