"""A file is known by its content: no program in it runs, whatever its name ends in."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from conversion.classifier import Preprocessing
from conversion.errors import ImageError
from conversion.files.image_formats import foreign_format
from conversion.images import load_image, read_picture, to_pixels

# A picture as far as Pillow is concerned, and a program that writes a file.
PROGRAM = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
%%EndComments
(written-by-the-picture) (w) file closefile
showpage
%%EOF
"""
ALLOWED = "AVIF, JPEG2000 and PPM"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in Ghostscript's place; the file that is returned is there once it was called."""
    calls, tools = tmp_path / "calls", tmp_path / "tools"
    tools.mkdir()
    (tools / "gs").write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n', encoding="utf-8")
    (tools / "gs").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return calls


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Name PostScript as a photo."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(PROGRAM)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(path)
    (line,) = str(caught.value).splitlines()
    return line


def test_the_trap_is_one(calls: Path, photo: Path) -> None:
    with Image.open(photo) as picture, pytest.raises(OSError, match="cannot identify|truncated|No such file"):
        picture.load()
    assert calls.exists()


def test_postscript_is_refused_by_its_content(calls: Path, photo: Path) -> None:
    assert refused(photo) == (
        f"{photo} is EPS, whatever its name ends in, and is not decoded: allowed are JPEG, PNG, WEBP, GIF, BMP, "
        "TIFF, AVIF, JPEG2000 and PPM; save it as JPEG or PNG"
    )
    with pytest.raises(ImageError, match="is EPS"):
        read_picture(photo)
    assert not calls.exists()


def test_an_open_file_of_postscript_is_refused(calls: Path, photo: Path) -> None:
    with Image.open(photo) as picture:
        with pytest.raises(ImageError, match=r'it is EPS, which is not decoded here.*give image\.convert\("RGB"\)'):
            to_pixels(picture, Preprocessing(size=(32, 32)))
        assert picture.tile
    assert not calls.exists()


def save_as(kind: str, image: Image.Image, path: Path) -> None:
    """Write a file whose name says another format; told of a name, SPIDER would claim its suffix in Pillow."""
    written = io.BytesIO()
    image.save(written, kind)
    path.write_bytes(written.getvalue())


@pytest.mark.parametrize("kind", ["BLP", "DDS", "DIB", "EPS", "ICNS", "ICO", "MSP", "PCX", "QOI", "SGI"])
def test_other_formats_are_called_by_their_names(kind: str, tmp_path: Path) -> None:
    mode = {"BLP": "P", "MSP": "1"}.get(kind, "RGB")
    save_as(kind, Image.new(mode, (32, 32)), tmp_path / "photo.png")

    assert foreign_format(tmp_path / "photo.png") == kind
    assert f"photo.png is {kind}, whatever its name ends in" in refused(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("PSD", b"8BPS\0\1"),
        ("FITS", b"SIMPLE  ="),
        ("WMF", b"\xd7\xcd\xc6\x9a\0\0"),
        ("HDF5", b"\x89HDF\r\n\x1a\n"),
        ("GBR or GRIB", b"GRIB\0\0\0\1"),
        ("BUFR", b"BUFR"),
        ("CUR", b"\0\0\2\0\1\0"),
    ],
)
def test_formats_that_pillow_only_reads_too(kind: str, first: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.webp").write_bytes(first + bytes(600))
    assert f"photo.webp is {kind}, whatever its name ends in" in refused(tmp_path / "photo.webp")


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%", b"P7 nothing"]
)
def test_what_pillow_does_not_know_is_shown(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    assert f"photo.png is not an image that Pillow can read; it begins with {content[:16]!r}" in refused(
        tmp_path / "photo.png"
    )


@pytest.mark.parametrize("kind", ["TGA", "SPIDER"])
def test_formats_without_a_sign_are_not_read_either(kind: str, tmp_path: Path) -> None:
    mode = {"SPIDER": "F"}.get(kind, "RGB")
    save_as(kind, Image.new(mode, (32, 32)), tmp_path / "photo.png")
    assert "save it as JPEG or PNG" in refused(tmp_path / "photo.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "MPO"])
def test_photos_are_decoded_whatever_they_are_called(kind: str, tmp_path: Path) -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    more = {"append_images": [red], "save_all": True} if kind == "MPO" else {}
    red.save(tmp_path / "photo.eps", kind, **more)

    assert np.abs(np.asarray(load_image(tmp_path / "photo.eps")).astype(int) - (255, 0, 0)).max() < 8
    with Image.open(tmp_path / "photo.eps") as picture:
        assert picture.format == kind
        assert to_pixels(picture, Preprocessing(size=(32, 32))).shape == (32, 32, 3)


def test_an_image_of_another_format_is_taken_once_it_is_decoded() -> None:
    written = io.BytesIO()
    Image.new("RGB", (32, 32), (0, 0, 255)).save(written, "TGA")
    picture = Image.open(written)

    with pytest.raises(ImageError, match="it is TGA"):
        to_pixels(picture, Preprocessing(size=(32, 32)))
    assert (to_pixels(picture.convert("RGB"), Preprocessing(size=(32, 32))) == (0, 0, 255)).all()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "AVIF", "PNG"])
def test_of_several_pictures_the_first_is_taken(kind: str, tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (32, 32), (255, 0, 0)), Image.new("RGB", (16, 16) if kind == "TIFF" else (32, 32))
    red.save(tmp_path / "photo", kind, save_all=True, append_images=[blue])
    assert np.abs(np.asarray(load_image(tmp_path / "photo")).astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_deflate", "packbits", "group4", "lzma", "zstd"])
def test_a_compressed_tiff_is_read_or_refused(compression: str, tmp_path: Path) -> None:
    mode = "1" if compression == "group4" else "RGB"
    Image.new(mode, (32, 32)).save(tmp_path / "whole.tif", compression=compression)
    content = (tmp_path / "whole.tif").read_bytes()
    assert load_image(tmp_path / "whole.tif").size == (32, 32)

    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.tif")
    # Tag 259 says how the pixels are compressed: 34712 is JPEG 2000 inside of TIFF, which nobody here reads.
    place = content.rindex(b"\x03\x01\x03\x00")
    (tmp_path / "odd.tif").write_bytes(content[: place + 8] + b"\x98\x87" + content[place + 10 :])
    refused(tmp_path / "odd.tif")
