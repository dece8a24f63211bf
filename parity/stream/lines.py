"""What a cases file holds: a header, then one JSON line for each image in the order of the list, batch by batch.

The last line of each batch also has what the batch's answers tell of the reference's variety
(parity/core/tally.py), one entry for each model, and the same of those images that spot checks see. Behind all
images comes a line for each artefact that fails, once somebody looked why.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conversion.task import CLASS_PROBABILITIES, PROBABILITIES, OutputSpec
from parity.core.gate import Gate
from parity.core.results import FINITE, Case, Count, Diagnosis, Divergence, Environment, Subject, Verdict
from parity.core.schemas import written_schema
from parity.core.variety import Bounds
from parity.metrics.classification.variety import ClassVariety
from parity.stream.job import Shard
from parity.suite.suite import KnownIssueEntry

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = "parity-cases/1"


@dataclass(frozen=True)
class HeadModel:
    """Name a model, with the digest of its weights and its labels in the order of the columns.

    at_once: how many images go into PyTorch together. truth: the labels that images are said to show are all this
    model's. code: the digest of all code and values that it reaches besides its weights. output, kind: the name of
    its output, and what its numbers are.
    """

    name: str
    weights: str
    labels: tuple[str, ...]
    at_once: int
    truth: bool
    code: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    output: str = CLASS_PROBABILITIES
    kind: str = PROBABILITIES

    @property
    def spec(self) -> OutputSpec:
        """Return what its output is."""
        return OutputSpec(self.output, self.kind, self.labels)


@dataclass(frozen=True)
class HeadLeg:
    """Name a model by a route on a backend, and what it is judged by.

    digest: of the artefact. at_once: how many images go into it together.
    spots: how many images it sees, evenly spaced over the whole list; 0 stands for all.
    verdict: of a leg that does not run, with its reason; None where every line has a case for it.
    cost: what its precision costs PyTorch itself, where that was measured. remarks: what strikes about the file.
    contract: what is left to the app; empty where nothing is.
    compressed: which compressed weights are among that cost.
    measured_on: how many images that cost was measured on, where images beyond the tolerance are looked at again by
        what it costs on each of them; else 0.
    """

    model: str
    route: str
    backend: str
    artifact: str
    precision: str
    digest: str = ""
    at_once: int = 1
    tolerance: float | None = None
    tolerance_reason: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    spots: int = 0
    cost: float | None = None
    remarks: tuple[str, ...] = ()
    contract: str = ""
    compressed: str = ""
    measured_on: int = 0

    def sees(self, place: int, images: int) -> bool:
        """Say whether the image at a place among `images` is one that this leg sees."""
        if not self.spots or images <= self.spots:
            return True
        # The spots are at number * images // spots.
        number = -(-place * self.spots // images)
        return number < self.spots and number * images // self.spots == place

    def subject(self, verdict: Verdict) -> Subject:
        """Make the subject that reports this leg."""
        return Subject(
            self.model,
            self.route,
            self.artifact,
            self.backend,
            self.precision,
            verdict,
            self.reason,
            tolerance_reason=self.tolerance_reason,
            remarks=self.remarks,
        )


@dataclass(frozen=True)
class Header:
    """Say what a cases file was made from; another run has another header.

    images, digest: the number of images in the list, of all shards, and the list's digest. truth: where it is from.
    truth_digest: of what the images show.
    threads: of PyTorch, whose sums are split among them: with others the last bits of an answer are others.
    known_issues, partial: of the suite, as parity.known_issues takes them. gate: how much accuracy may be lost.
    """

    environment: Environment
    models: tuple[HeadModel, ...]
    legs: tuple[HeadLeg, ...]
    images: Count
    digest: str
    truth: str
    batch: int
    threads: int
    shard: Shard
    known_issues: tuple[KnownIssueEntry, ...] = ()
    partial: bool = False
    truth_digest: str = ""
    gate: Gate | None = None
    schema: Literal["parity-cases/1"] = "parity-cases/1"
    __pydantic_config__ = FINITE

    @property
    def batches(self) -> range:
        """List the numbers of the batches of this shard."""
        return self.shard.batches(-(-self.images // self.batch))

    @property
    def running(self) -> tuple[HeadLeg, ...]:
        """List the legs that have cases, in the order in which every line has them."""
        return tuple(leg for leg in self.legs if leg.verdict is None)

    def seeing(self, place: int) -> list[int]:
        """List the running legs, by number, that see the image at a place: those that its line has cases of."""
        return [number for number, leg in enumerate(self.running) if leg.sees(place, self.images)]

    def places(self, number: int) -> range:
        """List the places of a batch's images in the list."""
        return range(number * self.batch, min((number + 1) * self.batch, self.images))

    def to_json(self) -> bytes:
        """Write the first line."""
        return header_adapter().dump_json(self) + b"\n"


@dataclass(frozen=True)
class PackedVariety:
    """Write a Variety; low and high: the bytes of float32, or of float64 where the model answers so, as base64.

    flat, classes: of a model that gives an image one label.
    """

    images: int
    flat: bool
    classes: tuple[int, ...]
    low: str
    high: str


@dataclass(frozen=True)
class Line:
    """Hold what is known of one image: a case for each running leg that sees it, or why it could not be read.

    varieties: of the batch that ends here, for each model; spots: of those of its images that spot checks see.
    content: the digest of the file, in hexadecimal.
    """

    index: Count
    image: str
    truth: str | None = None
    unreadable: str = ""
    cases: tuple[Case, ...] = ()
    varieties: tuple[PackedVariety, ...] = ()
    spots: tuple[PackedVariety, ...] = ()
    content: str = ""
    __pydantic_config__ = FINITE


@dataclass(frozen=True)
class LegExplained:
    """Say why a leg fails, as a Subject does.

    leg: its place among the header's legs. images: how many the causes were looked for on.
    """

    leg: int
    images: int
    guilty_hop: str = ""
    diagnoses: tuple[Diagnosis, ...] = ()
    hops: tuple[str, ...] = ()
    first_divergence: Divergence | None = None
    unexplained: str = ""


@dataclass(frozen=True)
class Explained:
    """Say why an artefact fails, on each of its backends where it does."""

    explained: tuple[LegExplained, ...]


def pack(variety: ClassVariety | Bounds, dtype: np.dtype[Any]) -> PackedVariety:
    """Write a Variety of answers of this type, exactly."""
    low, high = (
        base64.b64encode(bound.astype(dtype.newbyteorder("<")).tobytes()).decode("ascii")
        for bound in (variety.low, variety.high)
    )
    if isinstance(variety, Bounds):
        return PackedVariety(variety.images, False, (), low, high)
    return PackedVariety(variety.images, variety.flat, variety.classes, low, high)


def unpack(packed: PackedVariety, model: HeadModel) -> ClassVariety | Bounds:
    """Read what `pack` wrote of a model's answers; what it cannot have written is a ValueError."""
    classes = len(model.labels)
    raw = [base64.b64decode(bound, validate=True) for bound in (packed.low, packed.high)]
    if {len(bound) / classes for bound in raw} not in ({4}, {8}):
        raise ValueError(f"the bounds are not of {classes} classes")
    low, high = (np.frombuffer(bound, f"<f{len(bound) // classes}").astype(np.float64) for bound in raw)
    if not np.isfinite([low, high]).all():
        raise ValueError("a bound is not finite")
    if model.kind == PROBABILITIES:
        return ClassVariety(packed.images, packed.flat, packed.classes, low, high)
    if packed.flat or packed.classes:
        raise ValueError(f"there are classes, and the numbers are {model.kind}")
    return Bounds(packed.images, low, high)


def to_line(line: Line) -> bytes:
    """Write the line of an image."""
    return line_adapter().dump_json(line) + b"\n"


def to_explained_line(explained: Explained) -> bytes:
    """Write the line of an artefact that was explained."""
    return explained_adapter().dump_json(explained) + b"\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of each line of a cases file (committed as parity/schemas/cases.schema.json)."""
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(Header | Line | Explained)
    return written_schema(adapter, "coreml-parity cases, a line")


@cache
def header_adapter() -> TypeAdapter[Header]:
    """Return what reads and writes a header."""
    from pydantic import TypeAdapter

    return TypeAdapter(Header)


@cache
def line_adapter() -> TypeAdapter[Line]:
    """Return what reads and writes the line of an image."""
    from pydantic import TypeAdapter

    return TypeAdapter(Line)


@cache
def explained_adapter() -> TypeAdapter[Explained]:
    """Return what reads and writes the line of an explanation."""
    from pydantic import TypeAdapter

    return TypeAdapter(Explained)
