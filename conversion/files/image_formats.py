"""Which formats of images are decoded: those of photos, and none that is a program or needs one to be run.

Pillow knows some forty formats by a file's first bytes, whatever its name ends in. It hands EPS to Ghostscript, so
that a program in the file runs, and many of the others are read by nobody else. So every file is opened here.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image, ImageFile

from conversion.errors import ImageError

# By Pillow's names: those of the endings in IMAGE_SUFFIXES. HEIF is there where a plugin for it is.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM")
# A JPEG with further pictures behind the first, as some cameras write it; JPEG's own plugin opens it.
_ALSO = ("MPO",)
# What Pillow's plugins look at.
_PREFIX = 16


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Open an image as PIL.Image.open does, where it is of an allowed format; nothing is decoded yet.

    Raises PIL.UnidentifiedImageError for what is of none of them, see `foreign_format`.
    """
    return Image.open(file, formats=_readable())  # noqa: TID251 - the one place


def foreign_format(path: Path) -> str:
    """Name the format of a file that is an image of a format that is not allowed; empty where it is none.

    Its first bytes are looked at, as Pillow's plugins do to know their files; no plugin opens it. Where the bytes
    could be of several, all are named.
    """
    Image.init()
    with path.open("rb") as file:
        prefix = file.read(_PREFIX)
    return " or ".join(name for name in Image.OPEN if name not in FORMATS and _takes(name, prefix))


def _takes(name: str, prefix: bytes) -> bool:
    accepts = Image.OPEN[name][1]
    try:
        return accepts is not None and bool(accepts(prefix))
    except Exception:  # too short for this plugin, which Pillow meets in the same way
        return False


def check_format(image: object) -> None:
    """Refuse a PIL image that is opened from a file of another format: to use its pixels would decode it."""
    if isinstance(image, ImageFile.ImageFile) and image.format not in (*FORMATS, *_ALSO):
        raise ImageError(
            f"it is {image.format}, which is not decoded here: {allowed()}. Where its source is trusted, give "
            'image.convert("RGB"), which decodes it'
        )


def allowed() -> str:
    """Name what is allowed, in a sentence."""
    *others, last = _readable()
    return f"allowed are {', '.join(others)} and {last}"


def _readable() -> list[str]:
    """List the allowed formats that Pillow can read here."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]
