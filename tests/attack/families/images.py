"""Images that are none, or not of a kind that phones and their users have."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.attack.attack import NOT_GREEN, Attack, Outcome
from tests.attack.place import STREAM

# A PostScript program beside which Ghostscript needs no image.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n"
PROGRAMS = {
    "eps": EPS + b"showpage\n%%EOF\n",
    "eps that writes": EPS + b"(%s) (w) file (owned) writestring\nshowpage\n%%%%EOF\n" % b"stolen.txt",
    "eps without an end": EPS + b"{ } loop\n%%EOF\n",
}
TEXTS = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"not an image\n",
    "html": b"<html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
    "zeros": bytes(4096),
    "pickle": b"\x80\x04cos\nsystem\n(S'touch stolen.txt'\ntR.",
}
# What Pillow writes and the documentation does not promise.
OTHERS = ("DDS", "ICNS", "ICO", "PALM", "PCX", "PDF", "SGI", "SPIDER", "TGA", "XBM")
PROMISED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def picture(size: int = 32) -> Image.Image:
    """Paint noise."""
    return Image.fromarray(np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8))


def encoded(kind: str, size: int = 32) -> bytes:
    """Encode noise; bytes that no Pillow takes where this one lacks the encoder."""
    image, buffer = picture(size), io.BytesIO()
    modes = {"GIF": "P", "PALM": "P", "XBM": "1", "SPIDER": "F", "PCX": "RGB"}
    try:
        image.convert(modes.get(kind, "RGB")).save(buffer, kind)
    except (KeyError, OSError, ValueError):
        return b"this Pillow writes no " + kind.encode()
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Make a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, content: bytes = b"", *more: bytes) -> bytes:
    """Make a PNG file that declares a size, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _contents() -> Iterator[tuple[str, bytes]]:
    yield from PROGRAMS.items()
    yield from TEXTS.items()
    for kind in OTHERS:
        yield kind.lower(), encoded(kind)
    for kind in PROMISED:
        whole = encoded(kind)
        yield f"{kind.lower()} cut in half", whole[: len(whole) // 2]
        yield f"{kind.lower()} of 20 bytes", whole[:20]
    yield "png of 2^31 by 2^31", png(2**31 - 1, 2**31 - 1)
    yield "png of 60000 by 60000", png(60000, 60000, zlib.compress(bytes(1000)))
    yield "png of 0 by 0", png(0, 0)
    yield "png with a text of 1 GB", png(32, 32, b"", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20)) * 8))


def _write(name: str, content: bytes, place: Path) -> None:
    (place / name).write_bytes(content)


def _fifo(place: Path, name: str) -> None:
    os.mkfifo(place / name)


def _directory(place: Path, name: str) -> None:
    (place / name).mkdir()


def _loop(place: Path, name: str) -> None:
    (place / name).symlink_to(name)


def _dangling(place: Path, name: str) -> None:
    (place / name).symlink_to("nowhere.png")


def _device(place: Path, name: str) -> None:
    (place / name).symlink_to("/dev/zero")


def _terminal(place: Path, name: str) -> None:
    (place / name).symlink_to("/proc/self/fd/0")


SPECIAL: Mapping[str, Callable[[Path, str], None]] = {
    "fifo": _fifo,
    "directory": _directory,
    "symlink to itself": _loop,
    "dangling symlink": _dangling,
    "endless device": _device,
    "standard input": _terminal,
}


def _stolen(place: Path, outcome: Outcome) -> str:
    return "ran a program of an image" if list(place.parent.rglob("stolen.txt")) else ""


COMMANDS = {
    "predict": ("parity", "predict", "keep.onnx"),
    "check": ("parity", "check", "models.py:tiny", "keep.onnx", "--no-explain", "--images"),
}


def attacks() -> Iterator[Attack]:
    """Give every bad image to predict and check, and among good ones to a streamed run."""
    for what, content in _contents():
        for suffix in (".jpg",) if what in TEXTS else (".jpg", ".png"):
            for command, words in COMMANDS.items():
                name = f"evil{suffix}"
                yield Attack(
                    f"images/{what} as {suffix}/{command}",
                    (*words, name),
                    partial(_write, name, content),
                    check=_stolen,
                )
        yield Attack(
            f"images/{what}/stream",
            ("parity", "run", *STREAM, "--no-explain", "--json", "new.json"),
            partial(_write, "pictures/evil.jpg", content),
            NOT_GREEN,
            ("new*",),
            _stolen,
        )
    for what, place_it in SPECIAL.items():
        for command, words in COMMANDS.items():
            trap = partial(place_it, name="evil.png")
            yield Attack(f"images/{what}/{command}", (*words, "evil.png"), trap)
    yield Attack("images/over-long name/predict", ("parity", "predict", "keep.onnx", "x" * 5000 + ".png"))
    yield Attack("images/over-long name/check", (*COMMANDS["check"], "x" * 5000 + ".png"))
