"""Change a copy of an artefact: the means by which a suspected fault is undone.

Operations and values are called as `parity.diagnosis.graph` calls them. One module per format makes the changes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.files.packages import read_package

if TYPE_CHECKING:
    from conversion import Artifact


@dataclass(frozen=True)
class Editable:
    """Hold what a file holds, to be changed in place: an ONNX ModelProto or a Core ML specification."""

    format: str
    content: Any

    @property
    def _kind(self) -> ModuleType:
        from parity.diagnosis import edit_network, edit_onnx, edit_program

        return {"onnx": edit_onnx, "mlprogram": edit_program, "neuralnetwork": edit_network}[self.format]

    def replace_input(
        self, value: str, readers: Sequence[str], scale: Sequence[float], bias: Sequence[float]
    ) -> None:
        """Give the operations `readers` image * scale + bias, per channel (RGB), in the place of `value`."""
        self._kind.replace_input(self.content, value, readers, scale, bias)

    def set_weight(self, operation: str, place: str, array: np.ndarray) -> None:
        """Give an operation other weights at a place; whoever else reads the old ones keeps them."""
        self._kind.set_weight(self.content, operation, place, array)

    def set_attribute(self, operation: str, name: str, setting: Any) -> None:
        """Give an operation another setting; None takes it away."""
        self._kind.set_attribute(self.content, operation, name, setting)

    def set_labels(self, labels: Sequence[str]) -> None:
        """Give a classifier other labels."""
        self._kind.set_labels(self.content, labels)

    def set_output(self, was: str, value: str) -> None:
        """Give `value` as the probabilities where `was` was given."""
        self._kind.set_output(self.content, was, value)

    def bypass(self, operation: str) -> None:
        """Take an operation out: who read its result reads its first input instead."""
        self._kind.bypass(self.content, operation)

    def labels(self) -> tuple[str, ...] | None:
        """Return the labels in the order of the probabilities; None where the format has none."""
        found = self._kind.labels(self.content)
        return None if found is None else tuple(str(label) for label in found)


Edit = Callable[[Editable], None]


def open_editable(artifact: Artifact) -> Editable:
    """Read a file to change what it holds."""
    if artifact.format == "onnx":
        import onnx

        return Editable("onnx", onnx.load(str(artifact.path)))
    from parity.coreml.reading.files import open_model

    return Editable(artifact.format, open_model(artifact.path).specification)


def edited(artifact: Artifact, edits: Sequence[Edit], directory: Path) -> Artifact:
    """Write a copy of an artefact with changes into a new directory."""
    editable = open_editable(artifact)
    for edit in edits:
        edit(editable)
    path = directory / artifact.path.name
    if artifact.format == "onnx":
        import onnx

        onnx.save(editable.content, str(path), save_as_external_data=_is_large(editable.content))
    elif artifact.path.is_dir():
        # The weights are only read: a link will do where the file system has them.
        shutil.copytree(artifact.path, path, copy_function=_link)
        file = read_package(path).model
        file.unlink()
        file.write_bytes(editable.content.SerializeToString())
    else:
        path.write_bytes(editable.content.SerializeToString())
    return replace(artifact, path=path, intermediate=None)


def settings(changes: Mapping[str, Mapping[str, Any]]) -> Edit:
    """Make the edit of several settings: operation -> name -> setting."""

    def edit(model: Editable) -> None:
        for operation, wanted in changes.items():
            for name, setting in wanted.items():
                model.set_attribute(operation, name, setting)

    return edit


def _is_large(model: Any) -> bool:
    return int(model.ByteSize()) > 2**31 - 1


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
