"""Have images changed since they were compared? Not where their files' status is the same; else content tells.

A journal has the digest of every image that was compared. To read a million files again only to find that nothing
happened would take as long as a good part of the run, so their status then is kept among the artefacts. It may go
at any time: then all that was compared is read once more.

The status is size, inode, and the times of the last change of content and of status; the last cannot be set back.
It does not tell of a change by somebody who restores the other time, on a file system that does not keep this one
(FAT, some network shares) or while the system's clock was set back: remove `stamps/` below the artefacts there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from parity.core.errors import ParityError
from parity.stream.listing import ImageList, shown

# Bytes of an image's digest.
DIGEST = 16
_ENTRY = 8 + DIGEST
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
    cases: Path, artifacts: Path, images: ImageList, places: Sequence[int], contents: bytes
) -> None:
    """Refuse to go on where an image changed that was compared.

    cases: the journal. places: of the images that it has. contents: their digests, one after the other.
    """
    kept = _read(artifacts, cases)
    changed = (
        place
        for number, place in enumerate(places)
        if _entry(images, place, (content := _digest(contents, number))) != kept[number * _ENTRY :][:_ENTRY]
        and content_digest(images.path(place)) != content
    )
    names = [shown(images[place]) for place in islice(changed, _NAMED + 1)]
    if names:
        listed = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
        raise ParityError(
            f"{cases}: {listed}: changed since compared, by content; put back what was there, or --fresh compares "
            "all images anew"
        )


@contextmanager
def keep_stamps(
    cases: Path, artifacts: Path, images: ImageList, places: Sequence[int], contents: bytes
) -> Iterator[Callable[[Sequence[int], Sequence[bytes]], None]]:
    """Keep the status of images that were checked, and of others as they are compared, batch by batch.

    Gives what to call with the places and digests of a batch's images.
    """
    path = _file_of(artifacts, cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    # What a full disk does not take is read once more, if the run gets so far.
    with path.open("wb", buffering=0) as file:
        with suppress(OSError):
            file.write(b"".join(_entry(images, p, _digest(contents, number)) for number, p in enumerate(places)))

        def keep(places: Sequence[int], contents: Sequence[bytes]) -> None:
            with suppress(OSError):
                file.write(b"".join(_entry(images, *pair) for pair in zip(places, contents, strict=True)))

        yield keep


def forget(artifacts: Path, cases: Path) -> None:
    """Remove what is kept of a journal that is gone."""
    _file_of(artifacts, cases).unlink(missing_ok=True)


def _file_of(artifacts: Path, cases: Path) -> Path:
    return artifacts / "stamps" / hashlib.sha256(os.fsencode(cases.resolve())).hexdigest()[:16]


def _digest(contents: bytes, number: int) -> bytes:
    return contents[number * DIGEST : (number + 1) * DIGEST]


def _entry(images: ImageList, place: int, content: bytes) -> bytes:
    """Tie an image's status to what it held then, so that no other journal of that name takes it for its own."""
    return images.stamps[place].to_bytes(8, "little") + content


def _read(artifacts: Path, cases: Path) -> memoryview:
    try:
        return memoryview(_file_of(artifacts, cases).read_bytes())
    except OSError:
        return memoryview(b"")
