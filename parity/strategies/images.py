"""Image files as users have them: every mode, size, orientation and format, whole and damaged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from PIL import Image

from parity.core.errors import ParityError
from parity.strategies.encoding import DECLARE, Format, encoded

Mode = Literal["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]

# What Pillow writes in a mode and reads back in the same one. The first is what failing examples shrink to.
MODES: Mapping[Format, tuple[Mode, ...]] = {
    "PNG": ("RGB", "1", "L", "LA", "P", "RGBA", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("P",),
    "TIFF": ("RGB", "1", "L", "LA", "P", "RGBA", "CMYK", "I;16"),
    "BMP": ("RGB", "1", "L", "P"),
}

_BITS: Mapping[Mode, int] = {"1": 1, "L": 8, "LA": 16, "P": 8, "RGB": 24, "RGBA": 32, "CMYK": 32, "I;16": 16}
_COLOURS = 16  # of a palette
_SUFFIXES: Mapping[Format, tuple[str, ...]] = {
    "PNG": (".png", ".PNG"),
    "JPEG": (".jpg", ".jpeg", ".JPG"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
}
# How else a format is written, in words and as Pillow's save takes it.
_VARIANTS: Mapping[Format, Mapping[str, dict[str, Any]]] = {
    "PNG": {},
    "JPEG": {"progressive": {"progressive": True}},
    "WEBP": {"lossless": {"lossless": True}, "animated": {"save_all": True}},
    "GIF": {"animated": {"save_all": True}},
    "TIFF": {"LZW": {"compression": "tiff_lzw"}},
    "BMP": {},
}
# Which pixels are transparent without an alpha channel: an entry of the palette, the alpha of several, a colour.
_TRANSPARENT: Mapping[tuple[Format, Mode], tuple[Any, ...]] = {
    ("PNG", "P"): (3, bytes([0, 128, 255])),
    ("PNG", "L"): (7,),
    ("PNG", "RGB"): ((1, 2, 3),),
    ("GIF", "P"): (3,),
}
_WITH_EXIF = ("PNG", "JPEG", "WEBP", "TIFF")
_ORIENTATION = 0x0112

# Squarish, slivers both ways, and as long as a photo; few pixels each, so that thousands of examples stay quick.
_LONG = st.integers(1, 4000) | st.sampled_from((2048, 4000))
_SIZES = st.one_of(
    st.tuples(st.integers(1, 48), st.integers(1, 48)),
    st.tuples(_LONG, st.integers(1, 4)),
    st.tuples(st.integers(1, 4), _LONG),
)

# What lies about under an image's name, and begins as it does in the wild.
_NO_IMAGES: Mapping[str, bytes] = {
    "text": b"This is a note,\nnot a photo.\n",
    "a web page": b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 81234\n",
    "a vector graphic": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><path d="M0 0h4v4z"/></svg>',
    "a PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
    "a ZIP archive": b"PK\x05\x06" + bytes(18),
    "a HEIC photo's beginning": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "zeros": bytes(64),
}

# The shortest side of a square that is more than Pillow takes for an image (PIL.Image.MAX_IMAGE_PIXELS).
_BOMB_SIDE = 9_460
_LARGEST_SIDE: Mapping[Format, int] = {
    "PNG": 2**31 - 1,
    "JPEG": 65_500,
    "WEBP": 16_384,
    "GIF": 65_535,
    "TIFF": 2**31 - 1,
    "BMP": 2**31 - 1,
}


@dataclass(frozen=True, repr=False)
class ImageFile:
    """Hold the bytes of an image file; its repr is its description.

    suffix: with the dot, as its owner named it: not always that of the format inside.
    readable: whether the file is whole. One that is not may still show its picture: the byte that is lost or
        changed may be one that nobody reads.
    """

    data: bytes
    suffix: str
    description: str
    readable: bool

    def __repr__(self) -> str:
        return f"<{self.description}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would list a dataclass's fields, thousands of bytes among them.
        printer.text(repr(self))

    def save(self, directory: str | Path, name: str = "image") -> Path:
        """Write the file, over one of the same name, and return its path."""
        path = Path(directory) / f"{name}{self.suffix}"
        path.write_bytes(self.data)
        return path


def images(
    formats: Collection[Format] | None = None,
    modes: Collection[Mode] | None = None,
    sizes: SearchStrategy[tuple[int, int]] | None = None,
    damaged: bool | None = None,
) -> SearchStrategy[ImageFile]:
    """Draw image files: noise in every format and mode, upright or turned, some of them damaged.

    formats, modes: keys and values of MODES; None stands for all. A format is left out where it has none of the
        modes. ParityError where nothing is left.
    sizes: of (width, height) as stored; by default from 1x1 to 4000 wide, of at most 16,000 pixels.
    damaged: False draws whole files only; True only those that are cut off, changed, empty, no images or bombs;
        None draws both.
    """
    _check_choice("formats", formats, tuple(MODES))
    _check_choice("modes", modes, tuple(_BITS))
    pairs = [
        (kind, mode)
        for kind, stored in MODES.items()
        for mode in stored
        if (formats is None or kind in formats) and (modes is None or mode in modes)
    ]
    if not pairs:
        able = ", ".join(kind for kind, stored in MODES.items() if set(stored) & set(modes or ()))
        raise ParityError(
            f"images: {_listed(formats or ())} stores none of the modes {_listed(modes or ())}; formats: {able}"
        )
    kinds = tuple(dict.fromkeys(kind for kind, _ in pairs))
    whole = _whole(pairs, _SIZES if sizes is None else sizes)
    broken = st.one_of(_truncated(whole), _changed(whole), _no_images(kinds), bombs(kinds))
    if damaged is None:
        # As one choice of two. A union of all would make five files of six damaged.
        return st.booleans().flatmap(lambda chosen: broken if chosen else whole)
    return broken if damaged else whole


def bombs(formats: Collection[Format] | None = None) -> SearchStrategy[ImageFile]:
    """Draw decompression bombs: a few bytes that declare more pixels than Pillow's default limit allows."""
    _check_choice("formats", formats, tuple(MODES))
    return _bombs(tuple(MODES if formats is None else formats))


@st.composite
def _bombs(draw: DrawFn, kinds: tuple[Format, ...]) -> ImageFile:
    kind = draw(st.sampled_from(kinds))
    side = st.integers(_BOMB_SIDE, _LARGEST_SIDE[kind])
    width, height = draw(side), draw(side)
    data = DECLARE[kind](width, height)
    description = f"{kind} of {len(data)} bytes that declares {width}x{height} pixels"
    return ImageFile(data, _SUFFIXES[kind][0], description, readable=False)


def _check_choice(name: str, chosen: Collection[str] | None, known: tuple[str, ...]) -> None:
    if chosen is None:
        return
    # A text is a collection too, of its letters.
    unknown = [chosen] if isinstance(chosen, str) else [one for one in chosen if one not in known]
    if unknown or not chosen:
        trouble = f"has {_listed(unknown)}" if unknown else "is empty"
        raise ParityError(f"images: {name} {trouble}; give a list of {', '.join(known)}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names))


@st.composite
def _whole(draw: DrawFn, pairs: list[tuple[Format, Mode]], sizes: SearchStrategy[tuple[int, int]]) -> ImageFile:
    # Each of these is drawn for every format, also where it has no meaning: examples shrink to fewer draws first,
    # and would all become the format that has the fewest.
    kind, mode = draw(st.sampled_from(pairs))
    width, height = draw(sizes)
    seed = draw(st.integers(0, 255))
    orientation = draw(st.integers(0, 8))
    transparent = draw(st.sampled_from((None, *_TRANSPARENT.get((kind, mode), ()))))
    variant = draw(st.sampled_from(("", *_VARIANTS[kind])))
    # Another format's name is common: downloads, exports, renamed files.
    suffix = draw(st.sampled_from((*_SUFFIXES[kind], ".jpg", ".png")))

    options = dict(_VARIANTS[kind].get(variant, {}))
    parts = [f"{kind} {mode} {width}x{height}"]
    if orientation and kind in _WITH_EXIF:
        options["exif"] = Image.Exif()
        options["exif"][_ORIENTATION] = orientation
        parts.append(f"orientation {orientation}")
    if transparent is not None:
        options["transparency"] = transparent
        parts.append("with transparency")
    if variant:
        parts.append(variant)
    if suffix != _SUFFIXES[kind][0]:
        parts.append(f"named {suffix}")
    data = encoded(_noise(mode, (width, height), seed), kind, options)
    return ImageFile(data, suffix, ", ".join(parts), readable=True)


def _noise(mode: Mode, size: tuple[int, int], seed: int) -> Image.Image:
    """Make a picture in which no pixel is like its neighbours, so that nothing can move unnoticed."""
    width, height = size
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, height * ((width * _BITS[mode] + 7) // 8), np.uint8)
    picture = Image.frombytes(mode, size, (values % _COLOURS if mode == "P" else values).tobytes())
    if mode == "P":
        picture.putpalette(random.bytes(3 * _COLOURS))
    return picture


@st.composite
def _truncated(draw: DrawFn, files: SearchStrategy[ImageFile]) -> ImageFile:
    file = draw(files)
    kept = draw(st.integers(0, len(file.data) - 1))
    description = (
        f"{file.description}, cut to {kept} of {len(file.data)} bytes" if kept else f"empty named {file.suffix}"
    )
    return ImageFile(file.data[:kept], file.suffix, description, readable=False)


@st.composite
def _changed(draw: DrawFn, files: SearchStrategy[ImageFile]) -> ImageFile:
    file = draw(files)
    # Headers are short, and what stands in them changes more than a pixel.
    anywhere = st.integers(0, min(len(file.data), 100) - 1) | st.integers(0, len(file.data) - 1)
    places = sorted(draw(st.sets(anywhere, min_size=1, max_size=6)))
    data = bytearray(file.data)
    for place in places:
        data[place] ^= draw(st.integers(1, 255))
    changes = ", ".join(f"byte {place} {data[place]:#04x}" for place in places)
    return ImageFile(bytes(data), file.suffix, f"{file.description}, with {changes}", readable=False)


@st.composite
def _no_images(draw: DrawFn, kinds: tuple[Format, ...]) -> ImageFile:
    suffix = _SUFFIXES[draw(st.sampled_from(kinds))][0]
    description, data = draw(
        st.just(("empty", b""))
        | st.sampled_from(sorted(_NO_IMAGES.items()))
        | st.binary(min_size=1, max_size=32).map(lambda content: (repr(content), content))
    )
    return ImageFile(data, suffix, f"{description} named {suffix}", readable=False)
