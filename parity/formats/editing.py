"""Change a copy of an artefact: faults are undone by it, and put in by it.

Operations and values are called as `parity.formats.graph` calls them. Each format makes its changes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from parity.formats import find_format

if TYPE_CHECKING:
    from conversion import Artifact


@dataclass(frozen=True)
class Halves:
    """Hold what computes in 16 bits: casts: operation -> type; stored: the types of weights."""

    casts: Mapping[str, str] = field(default_factory=dict)
    stored: tuple[str, ...] = ()


class Edits(Protocol):
    """What a format's edit module has; content: an ONNX ModelProto or a Core ML specification, changed in place."""

    def read(self, artifact: Artifact, /) -> Any:
        """Read the content of a file."""

    def save(self, artifact: Artifact, content: Any, path: Path, /) -> None:
        """Write a content, with all else that is in the artefact's file."""

    def replace_input(
        self, content: Any, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float], /
    ) -> None:
        """Give the operations `readers` image * scale + bias, per channel (RGB), in the place of `value`."""

    def set_weight(self, content: Any, operation: str, place: str, array: np.ndarray, /) -> None:
        """Give an operation other weights at a place; whoever else reads the old ones keeps them."""

    def set_attribute(self, content: Any, operation: str, name: str, setting: Any, /) -> None:
        """Give an operation another setting; None takes it away."""

    def set_labels(self, content: Any, labels: Sequence[str], /) -> None:
        """Give a classifier other labels."""

    def labels(self, content: Any, /) -> Sequence[str] | None:
        """Return the labels in the order of the probabilities; None where there are none."""

    def set_output(self, content: Any, was: str, value: str, /) -> None:
        """Give `value` as the probabilities in the place of `was`."""

    def bypass(self, content: Any, operation: str, /) -> None:
        """Take an operation out: who read its result reads its first input instead."""

    def repeat(self, content: Any, operation: str, /) -> None:
        """Do an operation twice, one after the other."""

    def set_softmax_axis(self, content: Any, operation: str, axis: int, /) -> None:
        """Take a softmax over another axis."""

    def swap_channels(self, content: Any, /) -> None:
        """Let the network read blue where red was."""

    def fix_shape(self, content: Any, shape: Sequence[int], /) -> None:
        """Bake a shape [N, 3, H, W] in, right behind the image."""

    def declares_bgr(self, content: Any, /) -> bool:
        """Say whether the file declares an image of blue, green, red."""

    def declare_rgb(self, content: Any, /) -> None:
        """Declare the image to be of red, green, blue."""

    def strange_input_type(self, content: Any, /) -> str:
        """Name the type of an input that takes no pixels of the type that they have; empty where it takes them."""

    def take_floats(self, content: Any, /) -> None:
        """Let such an input take floats."""

    def take_channels_first(self, content: Any, /) -> None:
        """Let an input with its channels last take [N, 3, H, W]."""

    def training_norms(self, content: Any, /) -> list[str]:
        """Name the norms that are switched to training."""

    def stop_training(self, content: Any, /) -> None:
        """Switch what is in training to evaluation."""

    def halves(self, content: Any, /) -> Halves:
        """Find what can be widened to 32 bits."""

    def widen(self, content: Any, /) -> None:
        """Give all that has 16 bits 32: weights, constants, casts, inputs and outputs."""


@dataclass(frozen=True)
class Editable:
    """Hold what a file holds, to be changed in place: an ONNX ModelProto or a Core ML specification.

    named: the labels that were set last, if any were; a file that gives an array is read by those of its note.
    """

    format: str
    content: Any
    named: list[str] = field(default_factory=list)

    @property
    def verbs(self) -> Edits:
        """What the format can do to its content."""
        return find_format(self.format).edit

    def replace_input(
        self, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
    ) -> None:
        """Give the operations `readers` image * scale + bias, per channel (RGB), in the place of `value`."""
        self.verbs.replace_input(self.content, value, readers, scale, bias)

    def set_weight(self, operation: str, place: str, array: np.ndarray) -> None:
        """Give an operation other weights at a place; whoever else reads the old ones keeps them."""
        self.verbs.set_weight(self.content, operation, place, array)

    def set_attribute(self, operation: str, name: str, setting: Any) -> None:
        """Give an operation another setting; None takes it away."""
        self.verbs.set_attribute(self.content, operation, name, setting)

    def set_labels(self, labels: Sequence[str]) -> None:
        """Give a classifier other labels."""
        self.verbs.set_labels(self.content, labels)
        self.named[:] = labels

    def set_output(self, was: str, value: str) -> None:
        """Give `value` as the probabilities in the place of `was`."""
        self.verbs.set_output(self.content, was, value)

    def bypass(self, operation: str) -> None:
        """Take an operation out: who read its result reads its first input instead."""
        self.verbs.bypass(self.content, operation)

    def repeat(self, operation: str) -> None:
        """Do an operation twice, one after the other."""
        self.verbs.repeat(self.content, operation)

    def swap_channels(self) -> None:
        """Let the network read blue where red was."""
        self.verbs.swap_channels(self.content)

    def labels(self) -> tuple[str, ...] | None:
        """Return the labels in the order of the probabilities; None where the format has none."""
        names = self.verbs.labels(self.content)
        return None if names is None else tuple(str(name) for name in names)


Edit = Callable[[Editable], None]


def open_editable(artifact: Artifact) -> Editable:
    """Read a file to change what it holds."""
    return Editable(artifact.format, find_format(artifact.format).edit.read(artifact))


def edited(artifact: Artifact, edits: Sequence[Edit], directory: Path) -> Artifact:
    """Write a copy of an artefact with changes into a new directory."""
    editable = open_editable(artifact)
    for edit in edits:
        edit(editable)
    path = directory / artifact.path.name
    editable.verbs.save(artifact, editable.content, path)
    provenance = artifact.provenance
    if provenance and editable.named:
        provenance = replace(provenance, labels=tuple(editable.named))
    return replace(artifact, path=path, intermediate=None, provenance=provenance)


def settings(changes: Mapping[str, Mapping[str, Any]]) -> Edit:
    """Make the edit of several settings: operation -> name -> setting."""

    def edit(model: Editable) -> None:
        for operation, wanted in changes.items():
            for name, setting in wanted.items():
                model.set_attribute(operation, name, setting)

    return edit
