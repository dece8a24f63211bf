"""FORMATS: what depends on the format of a converted file; one package each, all with the names of `Format`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from conversion import Artifact
    from parity.formats.app import AppCode
    from parity.formats.compression import CompressedWeight
    from parity.formats.description import DeclaredInput
    from parity.formats.editing import Edits
    from parity.formats.facts import Content
    from parity.formats.graph import Graph
    from parity.formats.listing import Operation
    from parity.formats.outputs import Shape
    from parity.formats.trace import Answer, Trace, TraceWith
    from parity.formats.translation import Translation


class Format(Protocol):
    """What a format's package has.

    HAS_LABELS: a file can hold labels, and gives its answers by them. HAS_IMAGE_TYPE: an input can be declared an
    image, with colours. HAS_NAMED_AXES: the converter opens axes by the names of inputs.
    HAS_COMPUTE_PRECISION: the converter chooses for each operation whether it computes in fp16 or fp32.
    HAS_TRAINING_SWITCHES: operations can be left in training mode.
    RUNTIME_REWRITES: the runtime rewrites the graph, and can be asked not to. RUNTIME_PACKAGES: Python's packages
    whose version decides how a file is read and run.
    RUNTIME: where a file runs, for people. RANK_OF_ITS_OWN: of arrays whose axes the format itself adds; 0: none.
    EXPORTER_FAULT, VERSION_FAULT: what two files differ by that two exporters, or one in two versions, wrote.
    """

    HAS_LABELS: bool
    HAS_IMAGE_TYPE: bool
    HAS_NAMED_AXES: bool
    HAS_COMPUTE_PRECISION: bool
    HAS_TRAINING_SWITCHES: bool
    RUNTIME_REWRITES: bool
    RUNTIME_PACKAGES: tuple[str, ...]
    RUNTIME: str
    RANK_OF_ITS_OWN: int
    EXPORTER_FAULT: str
    VERSION_FAULT: str

    @property
    def edit(self) -> Edits:
        """How files are read, changed and saved."""

    @property
    def app(self) -> AppCode:
        """Lines of an app that run a file."""

    @property
    def settings(self) -> Translation:
        """PyTorch's arguments in the format's names."""

    def declared_input(self, artifact: Artifact, /) -> DeclaredInput:
        """Read what the file says of its image."""

    def read_outputs(self, artifact: Artifact, /) -> tuple[str, dict[str, Shape]]:
        """Read the declared output of probabilities, empty without one, and all that may hold them."""

    def numbered_classes(self, artifact: Artifact, /) -> list[int] | None:
        """Read class labels that are whole numbers; None where they are texts, or the format has none."""

    def vision_told(self, artifact: Artifact, /) -> str:
        """Say what Apple's Vision misses in a file; empty where nothing."""

    def operations(self, artifact: Artifact, /) -> Iterator[Operation]:
        """List the operations in the order of the file, without constants."""

    def content(self, path: Path, /) -> Content:
        """Read what facts and digest are taken from."""

    def read_graph(self, artifact: Artifact, /) -> Graph:
        """Read the operations with their weights."""

    def compressed_weights(self, artifact: Artifact, /) -> tuple[CompressedWeight, ...]:
        """Read which weights are compressed, and how."""

    def open_trace(self, artifact: Artifact, optimised: bool, /) -> Trace:
        """Open a file to see the values inside."""

    def open_with_values(self, artifact: Artifact, names: Sequence[str], /) -> Answer:
        """Open a file to answer with other values in the place of these names."""

    def open_trace_with_values(self, artifact: Artifact, names: Sequence[str], /) -> TraceWith:
        """Open a file to see the values inside with others in the place of these names."""

    def reshape_targets(self, content: Any, graph: Graph, /) -> dict[str, tuple[int, ...]]:
        """Read the constants by which operations reshape the images: operation -> shape."""


if TYPE_CHECKING:
    from parity.formats import coreai, mlprogram, neuralnetwork, onnx

    # So that the type checker compares each package with the protocol.
    _PACKAGES: tuple[Format, ...] = (onnx, mlprogram, neuralnetwork, coreai)

# The order is that of reports and tables.
FORMATS: Mapping[str, str] = {
    "onnx": "parity.formats.onnx",
    "mlprogram": "parity.formats.mlprogram",
    "neuralnetwork": "parity.formats.neuralnetwork",
    "coreai": "parity.formats.coreai",
}


def find_format(name: str) -> Format:
    """Import a format's package."""
    return cast(Format, importlib.import_module(FORMATS[name]))


def format_of(artifact: Artifact) -> Format:
    """Import the package of an artefact's format."""
    return find_format(artifact.format)
