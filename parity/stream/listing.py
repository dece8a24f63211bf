"""The images of a directory, by name: a million of them must fit, so they are one text and not a list."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conversion.files.suffixes import IMAGE_SUFFIXES
from parity.core.errors import ParityError


@dataclass(frozen=True)
class ImageList:
    """Name the image files below a directory, relative to it, in the order in which they are run.

    text: all names, one after the other; ends: where each ends in it.
    digest: SHA-256 of all names and sizes, which a journal of other images does not have.
    stamps: of each file's status, which is another once the file was written to; empty where nobody asked.
    """

    directory: Path
    text: bytes
    ends: array[int]
    digest: str
    stamps: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.text[start : self.ends[index]])

    def path(self, index: int) -> str:
        """Return where an image is."""
        return str(self.directory / self[index])


def list_images(directory: Path) -> ImageList:
    """Find the image files below a directory: by suffix, hidden ones excepted, sorted part by part of their paths.

    Links are followed. A file that cannot be read is listed all the same: it has to be reported.
    """
    if not directory.is_dir():
        raise ParityError(f"{directory}: no such directory of images")
    text, ends, stamps, digest = bytearray(), array("Q"), array("Q"), hashlib.sha256()
    status = directory.stat()
    for name, file in _files(str(directory), "", frozenset({(status.st_dev, status.st_ino)})):
        encoded = os.fsencode(name)
        text += encoded
        ends.append(len(text))
        stamps.append(_stamp(file))
        size = file.st_size if file is not None else -1
        digest.update(b"%s\0%d\n" % (encoded, size))
    if not ends:
        raise ParityError(f"{directory}: holds no images, in no directory below it ({' '.join(IMAGE_SUFFIXES)})")
    return ImageList(directory, bytes(text), ends, digest.hexdigest(), stamps)


def shown(name: str) -> str:
    """Write a file's name as text; one that is not UTF-8 must still fit into JSON."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stamp(status: os.stat_result | None) -> int:
    """Write what changes when a file is written to, or another is put in its place, as 64 bits.

    The time of the last change of the status cannot be set back, as that of the content can.
    """
    if status is None:
        return 0
    content = b"%d %d %d %d" % (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _files(
    directory: str, inside: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Give the names and status of images.

    above: the directories above this one, which a link may lead back to.
    """
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - a million Path objects are too many
    except OSError as error:
        raise ParityError(
            f"{directory}: the directory cannot be read ({error.strerror}), and what is in it must not be left "
            "out; change its permissions, or move it away"
        ) from error
    for name in names:
        if name.startswith("."):
            continue
        path = os.path.join(directory, name)  # noqa: PTH118 - as above
        try:
            status = os.stat(path)  # noqa: PTH116 - as above
        except OSError:  # a link to nowhere: reading it will say so
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            itself = (status.st_dev, status.st_ino)
            if itself not in above:
                yield from _files(path, f"{inside}{name}/", above | {itself})
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - as above
            yield f"{inside}{name}", status
