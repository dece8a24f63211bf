"""Have images changed since they were compared? Not where their files' status is the same; else content tells.

A journal has the digest of every image that was compared. To read a million files again only to find that nothing
happened would take as long as a good part of the run, so their status at the last start is kept among artefacts. It
may go at any time: then all that was compared is read once more.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from parity.errors import ParityError
from parity.stream.listing import ImageList, shown

# Bytes of an image's digest.
DIGEST = 16
_NAMED = 3


def content_digest(path: str) -> bytes:
    """Return the digest of a file's bytes; zeros where it cannot be read, or is no file but a pipe, say."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - once for each of a million images
            return bytes(DIGEST)
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).digest()
    except OSError:
        return bytes(DIGEST)


def check_unchanged(
    cases: Path, artifacts: Path, images: ImageList, places: Sequence[int], contents: Iterable[bytes]
) -> None:
    """Refuse to go on where an image changed that was compared, and keep the status of all for the next start.

    cases: the journal. places: of the images that it has, contents: their digests; none where it has none.
    """
    file = _file_of(artifacts, cases)
    before, now = _read(file, cases, images), images.stamps
    changed = (
        place
        for place, content in zip(places, contents, strict=True)
        if (before is None or before[place] != now[place]) and content_digest(images.path(place)) != content
    )
    names = [shown(images[place]) for place in islice(changed, _NAMED + 1)]
    if names:
        listed = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
        raise ParityError(
            f"{cases}: {listed}: changed since compared, by content; put back what was there, or --fresh compares "
            "all images anew"
        )
    if len(now):
        _write(file, cases, images)


def forget(artifacts: Path, cases: Path) -> None:
    """Remove what is kept of a journal that is gone."""
    _file_of(artifacts, cases).unlink(missing_ok=True)


def places_of(batches: Iterable[range]) -> Iterator[int]:
    """List the places of the images of some batches."""
    return (place for batch in batches for place in batch)


def _file_of(artifacts: Path, cases: Path) -> Path:
    return artifacts / "stamps" / hashlib.sha256(os.fsencode(cases.resolve())).hexdigest()[:16]


def _head(cases: Path, images: ImageList) -> bytes:
    """Tell this journal from another one that was put in its place."""
    status = cases.stat()
    return hashlib.sha256(f"{status.st_dev} {status.st_ino} {images.digest}".encode()).digest()


def _read(file: Path, cases: Path, images: ImageList) -> array[int] | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head = _head(cases, images)
    if content[: len(head)] != head or len(content) != len(head) + 8 * len(images.stamps):
        return None
    return array("Q", content[len(head) :])


def _write(file: Path, cases: Path, images: ImageList) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        partial.write_bytes(_head(cases, images) + images.stamps.tobytes())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
