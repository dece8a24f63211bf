"""The images of a directory, by name: a million of them must fit, so they are one text and not a list."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conversion.suffixes import IMAGE_SUFFIXES
from parity.errors import ParityError


@dataclass(frozen=True)
class ImageList:
    """Name the image files below a directory, relative to it, in the order in which they are run.

    text: all names, one after the other; ends: where each ends in it.
    digest: SHA-256 of all names and sizes, which a journal of other images does not have.
    """

    directory: Path
    text: bytes
    ends: array[int]
    digest: str

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

    Links are followed. A file that cannot be read is listed all the same: it has to be told of.
    """
    if not directory.is_dir():
        raise ParityError(f"{directory}: no such directory of images")
    text, ends, digest = bytearray(), array("Q"), hashlib.sha256()
    status = directory.stat()
    for name, size in _files(str(directory), "", frozenset({(status.st_dev, status.st_ino)})):
        encoded = os.fsencode(name)
        text += encoded
        ends.append(len(text))
        digest.update(b"%s\0%d\n" % (encoded, size))
    if not ends:
        raise ParityError(f"{directory}: holds no images, in no directory below it ({' '.join(IMAGE_SUFFIXES)})")
    return ImageList(directory, bytes(text), ends, digest.hexdigest())


def shown(name: str) -> str:
    """Write a file's name as text; one that is not UTF-8 must still fit into JSON."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(directory: str, inside: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Give the names and sizes of images; above: the directories on the way here, which a link may lead back to."""
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
            yield f"{inside}{name}", status.st_size if status is not None else -1
