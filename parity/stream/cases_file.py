"""The cases file, read: every line is checked, and what cannot be true is one line that names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from conversion.files.regular_files import why_no_file
from parity.core.errors import ParityError
from parity.core.file_kinds import schema_of, tell_kind
from parity.stream.cases_file_soundness import LineCheck, header_trouble
from parity.stream.job import cases_beside
from parity.stream.lines import SCHEMA, Explained, Header, Line, explained_adapter, header_adapter, line_adapter

# How a line that explains a failure begins, and how much of a line an error shows.
_EXPLAINED, _SHOWN = b'{"explained":', 40


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
        header = header_adapter().validate_json(line)
    except ValidationError as error:
        kind = tell_kind(path, "parity-cases")
        if schema_of(path) == "parity-run":
            beside = cases_beside(path)
            kind += f"; give its cases, {beside}" if beside.is_file() else "; this run has no cases file beside it"
        if kind:
            raise ParityError(f"{path}: {kind}; a cases file is what `parity run --images` writes") from error
        raise ParityError(
            f"{path}: not a cases file of schema {SCHEMA}; `parity run --images` writes one"
        ) from error
    for trouble in header_trouble(header):
        raise ParityError(f"{path}:1: contradicts itself: {trouble}; run anew")
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
        line = line_adapter().validate_json(text)
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
            explained = explained_adapter().validate_json(text)
        except ValidationError:
            return
        if not text.endswith(b"\n") or not all(0 <= one.leg < len(header.legs) for one in explained.explained):
            return
        yield explained


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
