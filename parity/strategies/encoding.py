"""Pictures written in the formats that people use, and files of a few bytes that declare giants."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from PIL import Image

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]


def encoded(picture: Image.Image, kind: Format, options: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    later = {"append_images": [picture.transpose(Image.Transpose.ROTATE_180)]} if "save_all" in options else {}
    picture.save(stream, kind, **options, **later)
    return stream.getvalue()


def _declared_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _patched(kind: Format, mark: bytes, offset: int, layout: str, *values: int, **options: Any) -> bytes:
    """Write a picture of one pixel, with numbers overwritten at an offset from the first occurrence of a mark."""
    data = bytearray(encoded(Image.new("P" if kind == "GIF" else "RGB", (1, 1)), kind, options))
    struct.pack_into(layout, data, data.index(mark) + offset, *values)
    return bytes(data)


def _declared_tiff(width: int, height: int) -> bytes:
    # Tag and value, each a 32-bit number: size, 8 bits, uncompressed, grey, data in one strip of one byte.
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IHH", 10, 0, len(tags)) + entries + bytes(4)


# Each format's own place for its size: a start of frame, a logical screen, an information header, and so on.
DECLARE: Mapping[Format, Callable[[int, int], bytes]] = {
    "PNG": _declared_png,
    "JPEG": lambda width, height: _patched("JPEG", b"\xff\xc0", 5, ">HH", height, width),
    "GIF": lambda width, height: _patched("GIF", b"GIF8", 6, "<HH", width, height),
    "BMP": lambda width, height: _patched("BMP", b"BM", 18, "<ii", width, height),
    "TIFF": _declared_tiff,
    # 14 bits each, less one, behind a lossless picture's signature.
    "WEBP": lambda width, height: _patched(
        "WEBP", b"VP8L", 9, "<I", (width - 1) | (height - 1) << 14, lossless=True
    ),
}
