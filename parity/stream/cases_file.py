"""The cases file: a header, then one JSON line for each image in the order of the list, batch by batch.

The last line of each batch also has what the batch's answers tell of the reference's variety
(parity/core/tally.py), one entry for each model, and the same of those images that spot checks see. Behind all
images comes a line for each artefact that fails, once somebody looked why.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conversion.files.regular_files import why_no_file
from parity.core.errors import ParityError
from parity.core.file_kinds import schema_of, tell_kind
from parity.core.results import FINITE, Case, Count, Diagnosis, Divergence, Environment, Subject, Verdict
from parity.metrics.classification.variety import ClassVariety
from parity.stream.job import Shard, cases_beside
from parity.stream.soundness import LineCheck, header_trouble
from parity.suite.suite import KnownIssueEntry

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = "parity-cases/1"
# How a line that explains a failure begins, and how much of a line an error shows.
_EXPLAINED, _SHOWN = b'{"explained":', 40


@dataclass(frozen=True)
class HeadModel:
    """Name a model, with the digest of its weights and its labels in the order of the columns.

    at_once: how many images go into PyTorch together. truth: the labels that images are said to show are all this
    model's. code: the digest of all code and values that it reaches besides its weights.
    """

    name: str
    weights: str
    labels: tuple[str, ...]
    at_once: int
    truth: bool
    code: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeadLeg:
    """Name a model by a route on a backend, and what it is judged by.

    digest: of the artefact. at_once: how many images go into it together.
    spots: how many images it sees, evenly spaced over the whole list; 0 stands for all.
    verdict: of a leg that does not run, with its reason; None where every line has a case for it.
    cost: what its precision costs PyTorch itself, where that was measured. remarks: what strikes about the file.
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
    known_issues, partial: of the suite, as parity.known_issues takes them.
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
        return _header_adapter().dump_json(self) + b"\n"


@dataclass(frozen=True)
class PackedVariety:
    """Write a Variety; low and high: the bytes of float32, or of float64 where the model answers so, as base64."""

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


def pack(variety: ClassVariety, dtype: np.dtype[Any]) -> PackedVariety:
    """Write a Variety of answers of this type, exactly."""
    low, high = (
        base64.b64encode(bound.astype(dtype.newbyteorder("<")).tobytes()).decode("ascii")
        for bound in (variety.low, variety.high)
    )
    return PackedVariety(variety.images, variety.flat, variety.classes, low, high)


def unpack(packed: PackedVariety, classes: int) -> ClassVariety:
    """Read what `pack` wrote; what it cannot have written is a ValueError."""
    raw = [base64.b64decode(bound, validate=True) for bound in (packed.low, packed.high)]
    if {len(bound) / classes for bound in raw} not in ({4}, {8}):
        raise ValueError(f"the bounds are not of {classes} classes")
    low, high = (np.frombuffer(bound, f"<f{len(bound) // classes}").astype(np.float64) for bound in raw)
    if not np.isfinite([low, high]).all():
        raise ValueError("a bound is not finite")
    return ClassVariety(packed.images, packed.flat, packed.classes, low, high)


def to_line(line: Line) -> bytes:
    """Write the line of an image."""
    return _line_adapter().dump_json(line) + b"\n"


def to_explained_line(explained: Explained) -> bytes:
    """Write the line of an artefact that was explained."""
    return _explained_adapter().dump_json(explained) + b"\n"


def read_header(path: Path) -> Header:
    """Read the header of a cases file."""
    if why := why_no_file(path):
        raise ParityError(f"{path}: {tell_kind(path) or why}")
    try:
        with path.open("rb") as file:
            return parse_header(path, file.readline())
    except OSError as error:
        raise ParityError(f"{path}: cannot be read ({error.strerror})") from error


def parse_header(path: Path, line: bytes) -> Header:
    """Read the first line of a cases file."""
    from pydantic import ValidationError

    try:
        header = _header_adapter().validate_json(line)
    except ValidationError as error:
        told = tell_kind(path, "parity-cases")
        if schema_of(path) == "parity-run":
            beside = cases_beside(path)
            told += f"; give its cases, {beside}" if beside.is_file() else "; this run has no cases file beside it"
        if told:
            raise ParityError(f"{path}: {told}; a cases file is what `parity run --images` writes") from error
        raise ParityError(
            f"{path}: not a cases file of schema {SCHEMA}; `parity run --images` writes one"
        ) from error
    for told in header_trouble(header):
        raise ParityError(f"{path}:1: contradicts itself: {told}; run anew")
    return header


def read_lines(path: Path, header: Header, raw: Iterable[bytes]) -> Iterator[Line]:
    """Read the lines behind the header, judged as they are now; they must be those of all batches of the shard."""
    texts, check, first = iter(raw), LineCheck(header), 2
    for batch in header.batches:
        lines = list(_read_batch(path, header, texts, batch, first))
        yield from check.batch(path, first, lines)
        first += len(lines)
    check.end(path)


def _read_batch(path: Path, header: Header, texts: Iterator[bytes], batch: int, first: int) -> Iterator[Line]:
    for number, place in enumerate(header.places(batch), start=first):
        text = next(texts, b"")
        if not text.endswith(b"\n"):
            raise ParityError(
                f"{path}:{number}: not finished: {number - 2} images are done; start the same `parity run` again"
            )
        yield parse_line(path, number, header, text, place)


def parse_line(path: Path, number: int, header: Header, text: bytes, place: int) -> Line:
    """Read the line of an image. number: of the line in the file, from 1; place: of the image in the list."""
    from pydantic import ValidationError

    try:
        line = _line_adapter().validate_json(text)
    except ValidationError as error:
        raise ParityError(f"{path}:{number}: damaged: {error.errors()[0]['msg']}; run anew") from error
    if line.index != place:
        raise ParityError(f"{path}:{number}: image {line.index} stands where {place} should; run anew")
    return line


def read_explained(header: Header, raw: Iterable[bytes]) -> Iterator[Explained]:
    """Read the lines behind those of all images, up to one that is not whole.

    What is behind that is not explained: the run was stopped while it wrote.
    """
    from pydantic import ValidationError

    for text in raw:
        try:
            found = _explained_adapter().validate_json(text)
        except ValidationError:
            return
        if not text.endswith(b"\n") or not all(0 <= one.leg < len(header.legs) for one in found.explained):
            return
        yield found


def read_rest(path: Path, header: Header, raw: Iterable[bytes]) -> Iterator[Explained]:
    """Read the lines behind those of all images: what explains failures, and nothing else.

    The last line may be torn, where the run was stopped while it wrote: it has no end, and begins as such a line
    does, or is the zeros that a machine leaves which lost its power. Any other line that cannot be read is a
    ParityError.
    """
    images = sum(len(header.places(batch)) for batch in header.batches)
    for number, text in enumerate(raw, start=2 + images):
        whole = next(read_explained(header, [text]), None)
        if whole is not None:
            yield whole
        elif text.endswith(b"\n") or not _is_torn(text):
            shown = repr(text[:_SHOWN].decode("utf-8", "replace").rstrip("\n"))
            raise ParityError(
                f"{path}:{number}: damaged: {shown} stands behind the last image, and no run writes that; delete "
                "the line, or run anew"
            )


def _is_torn(text: bytes) -> bool:
    return not text.strip(b"\0") or text.startswith(_EXPLAINED) or _EXPLAINED.startswith(text)


@cache
def _header_adapter() -> TypeAdapter[Header]:
    from pydantic import TypeAdapter

    return TypeAdapter(Header)


@cache
def _line_adapter() -> TypeAdapter[Line]:
    from pydantic import TypeAdapter

    return TypeAdapter(Line)


@cache
def _explained_adapter() -> TypeAdapter[Explained]:
    from pydantic import TypeAdapter

    return TypeAdapter(Explained)
