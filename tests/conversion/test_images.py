from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conversion import images
from conversion.classifier import Interpolation, Preprocessing
from conversion.errors import ConversionError, ImageError
from conversion.guards.torchvision_guard import torchvision
from conversion.images import find_images, load_image, read_pixels, to_pixels

# Pillow's own transposition of what is stored, to what EXIF's value says is upright.
UPRIGHT: dict[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def oracle(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Preprocess with torchvision's transform classes, as its users write them."""
    transforms = torchvision().transforms
    steps: list[Any] = [transforms.CenterCrop(preprocessing.size)]
    if preprocessing.resize is not None:
        mode = transforms.InterpolationMode[preprocessing.interpolation.upper()]
        steps.insert(0, transforms.Resize(preprocessing.resize, interpolation=mode))
    return np.asarray(transforms.Compose(steps)(image))


def refused(call: Callable[[], object], *parts: str) -> None:
    with pytest.raises(ImageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def loaded_or_message(path: Path) -> Image.Image | str:
    try:
        return load_image(path)
    except ImageError as error:
        return str(error)


# Pixels


sides = st.integers(1, 70)


@given(
    image=st.builds(noise, sides, sides, st.integers(0, 9)),
    size=st.tuples(sides, sides),
    resize=st.none() | sides | st.tuples(sides, sides),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_pixels_are_torchvisions(
    image: Image.Image,
    size: tuple[int, int],
    resize: int | tuple[int, int] | None,
    interpolation: Interpolation,
) -> None:
    preprocessing = Preprocessing(size=size, resize=resize, interpolation=interpolation)
    pixels = to_pixels(image, preprocessing)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*size, 3)
    np.testing.assert_array_equal(pixels, oracle(image, preprocessing))


@given(sides, sides, sides)
def test_the_limit_is_checked_for_the_size_that_torchvision_makes(width: int, height: int, shorter: int) -> None:
    made = torchvision().transforms.Resize(shorter)(noise(width, height))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "RESIZED_PIXELS_LIMIT", made.width * made.height)
        to_pixels(noise(width, height), Preprocessing(resize=shorter))
        patch.setattr(images, "RESIZED_PIXELS_LIMIT", made.width * made.height - 1)
        refused(
            lambda: to_pixels(noise(width, height), Preprocessing(resize=shorter)),
            f"{width}x{height} pixels would be resized to {made.width}x{made.height},",
        )


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_a_sliver_that_resizing_would_make_gigantic_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "sliver.png"
    noise(*size).save(path)
    refused(
        lambda: read_pixels(path, Preprocessing()),
        str(path),
        "x1280000" if size[0] == 1 else "1280000x",
        "67108864",
    )
    assert read_pixels(path, Preprocessing(resize=(256, 256))).shape == (224, 224, 3)


def test_a_stretch_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ConversionError, match="resize is 70000x1000 pixels, more than the limit of 67108864"):
        Preprocessing(resize=(70_000, 1000))


def test_a_single_pixel_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (10, 200, 30)).save(path)
    pixels = read_pixels(path, Preprocessing())
    np.testing.assert_array_equal(pixels, np.full((224, 224, 3), (10, 200, 30), np.uint8))
    np.testing.assert_array_equal(pixels, oracle(Image.new("RGB", (1, 1), (10, 200, 30)), Preprocessing()))


def test_a_smaller_image_is_padded_with_black() -> None:
    pixels = to_pixels(Image.new("RGB", (2, 1), (9, 9, 9)), Preprocessing(size=(3, 4), resize=None))
    expected = np.zeros((3, 4, 3), np.uint8)
    expected[1, 1:3] = 9
    np.testing.assert_array_equal(pixels, expected)


def test_pixels_may_be_written_to() -> None:
    to_pixels(noise(8, 8), Preprocessing(size=(8, 8), resize=None))[:] = 0


def test_reading_is_loading_and_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    noise(60, 40).save(path)
    preprocessing = Preprocessing(size=(20, 24), resize=30)
    np.testing.assert_array_equal(read_pixels(str(path), preprocessing), oracle(noise(60, 40), preprocessing))


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / "photo"
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.write_bytes(encoded(noise(5, 3), kind, exif=exif))
    plain = Image.open(io.BytesIO(encoded(noise(5, 3), kind))).convert("RGB")
    transposition = UPRIGHT[orientation]
    expected = plain if transposition is None else plain.transpose(transposition)
    loaded = load_image(path)
    assert loaded.size == ((5, 3) if orientation < 5 else (3, 5))
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"]
)
def test_damaged_exif_says_nothing_about_orientation(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(noise(5, 3), "JPEG", exif=exif))
    assert load_image(path).size == (5, 3)


def test_an_orientation_that_does_not_exist_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(noise(5, 3), "JPEG", exif=exif))
    assert load_image(path).size == (5, 3)


# Colour modes: what one pixel becomes, typed in


@pytest.mark.parametrize(
    ("mode", "kind", "stored", "shown"),
    [
        ("1", "PNG", 1, (255, 255, 255)),
        ("L", "PNG", 100, (100, 100, 100)),
        ("LA", "PNG", (100, 30), (100, 100, 100)),
        ("RGB", "PNG", (1, 2, 3), (1, 2, 3)),
        ("RGBA", "PNG", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", "TIFF", (0, 0, 255, 0), (255, 255, 0)),
        ("I;16", "PNG", 0x12FF, (0x12, 0x12, 0x12)),
        ("I;16", "TIFF", 0xFFFF, (255, 255, 255)),
        ("I;16B", "TIFF", 0x80FF, (0x80, 0x80, 0x80)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, kind: str, stored: Any, shown: tuple[int, ...]) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(Image.new(mode, (3, 2), stored), kind))
    with Image.open(path) as opened:
        assert opened.mode == mode
    image = load_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(image, np.full((2, 3, 3), shown, np.uint8))


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80"])
def test_a_palette_becomes_its_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    path = tmp_path / "palette.png"
    path.write_bytes(encoded(image, "PNG", **({} if transparency is None else {"transparency": transparency})))
    np.testing.assert_array_equal(load_image(path), [[(10, 20, 30), (40, 50, 60)]])


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "animation.gif"
    frames = [Image.new("RGB", (2, 2), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_image(path), np.full((2, 2, 3), (255, 0, 0), np.uint8))


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=30))
def test_sixteen_bit_greys_keep_their_upper_eight_bits(values: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.uint16))
    pixels = to_pixels(image, Preprocessing(size=(1, len(values)), resize=None))
    np.testing.assert_array_equal(pixels[0, :, 0], [value // 256 for value in values])


@pytest.mark.parametrize(
    ("mode", "kind"), [("I", "32-bit integers (mode I)"), ("F", "floating-point numbers (mode F)")]
)
def test_modes_without_a_range_are_refused(tmp_path: Path, mode: str, kind: str) -> None:
    path = tmp_path / "depth.tiff"
    Image.new(mode, (3, 2)).save(path)
    refused(lambda: load_image(path), str(path), kind, "scale them to 0..255")
    refused(lambda: to_pixels(Image.new(mode, (3, 2)), Preprocessing()), kind)


# Files that are no images


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_image(tmp_path / "absent.jpg"), "absent.jpg does not exist")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_image(tmp_path), f"{tmp_path} is a directory", "*.jpg")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    refused(lambda: load_image(tmp_path / "empty.jpg"), "empty.jpg is empty (0 bytes)")


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(lambda: load_image(tmp_path / "pipe.jpg"), "pipe.jpg is not a regular file")


def test_a_text_file_named_jpg_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("This is a note,\nnot a photo.")
    refused(
        lambda: load_image(tmp_path / "text.jpg"),
        "text.jpg is not an image that Pillow can read",
        "b'This is a note,\\n'",
        "save it as JPEG or PNG",
    )


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, formats: list[str]) -> Image.Image:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "secret.jpg").write_bytes(b"x")
    monkeypatch.setattr(Image, "open", deny)
    refused(lambda: load_image(tmp_path / "secret.jpg"), "secret.jpg cannot be read (Permission denied)")


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_image(tmp_path / ("a" * 300)), "cannot be read (File name too long)")
    refused(lambda: find_images(["a" * 300], tmp_path), "cannot be read (File name too long)")
    refused(lambda: load_image(tmp_path / "a\0b"), "does not exist")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_file_cut_in_half_is_refused(tmp_path: Path, kind: str) -> None:
    whole = encoded(noise(40, 30), kind)
    path = tmp_path / "half"
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: load_image(path), str(path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_anywhere_is_refused_or_complete(tmp_path: Path, kind: str) -> None:
    whole = encoded(noise(12, 10), kind)
    path = tmp_path / "cut"
    path.write_bytes(whole)
    complete = np.asarray(load_image(path))
    accepted = 0
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        loaded = loaded_or_message(path)
        if isinstance(loaded, str):
            assert "\n" not in loaded
        else:
            np.testing.assert_array_equal(loaded, complete)
            accepted += 1
    # All that may be missing is a PNG's last checksum and its closing chunk of 12 bytes.
    assert accepted <= (0 if kind == "JPEG" else 20)


def test_libtiff_does_not_write_to_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scan.tiff"
    noise(9, 9).save(path, compression="tiff_lzw")
    with Image.open(path) as image:
        start = image.tag_v2[273][0]
    damaged = bytearray(path.read_bytes())
    damaged[start + 10 : start + 14] = bytes(255 - value for value in damaged[start + 10 : start + 14])
    path.write_bytes(damaged)
    with path.open("rb") as file, Image.open(file) as image, pytest.raises(OSError, match="decoder error"):
        image.load()
    assert "Using code not yet in table" in capfd.readouterr().err
    refused(lambda: load_image(path), "scan.tiff is damaged or incomplete (decoder error -2)")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_on_its_side_is_turned(tmp_path: Path, mode: str, compression: str | None) -> None:
    """Pillow reads an uncompressed one wrongly when it is given the path and can map the file into memory."""
    stored = Image.fromarray(np.array([[0, 255, 255], [0, 0, 255]], np.uint8))
    image = Image.fromarray(np.asarray(stored).astype(np.uint16) << 8) if mode == "I;16" else stored.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "scan.tiff"
    image.save(path, exif=exif, compression=compression)
    assert np.asarray(load_image(path))[..., 0].tolist() == [[0, 0], [0, 255], [255, 255]]


@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"]))
def test_damage_is_an_image_error_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str
) -> None:
    damaged = bytearray(encoded(noise(9, 7), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    loaded = loaded_or_message(path)
    assert "\n" not in loaded if isinstance(loaded, str) else loaded.mode == "RGB"


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 30_000])
def test_a_decompression_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """Pillow merely warns of the smaller one, and refuses the larger."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))

    def decode(*_: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    refused(
        lambda: load_image(path), str(path), f"has {side * side} pixels", "limit is 89478485", "MAX_IMAGE_PIXELS"
    )


def test_a_raised_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.png"
    noise(20, 20).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 399)
    refused(lambda: load_image(path), "has 400 pixels", "limit is 399")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert load_image(path).size == (20, 20)


# Finding


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "c.heic", "notes.txt", ".hidden.jpg", "odd.dat", "sub/d.jpg", "sub/deep/e.jpg"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "album" / "folder.jpg").mkdir()
    (tmp_path / "album" / "bare").mkdir()
    (tmp_path / "album" / "photo[1].jpg").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["album/b.jpg"], ["b.jpg"]),
        (["album/odd.dat"], ["odd.dat"]),
        (["album/.hidden.jpg"], [".hidden.jpg"]),
        (["album"], ["a.PNG", "b.jpg", "c.heic", "photo[1].jpg"]),
        (["album/"], ["a.PNG", "b.jpg", "c.heic", "photo[1].jpg"]),
        (["album/*"], ["a.PNG", "b.jpg", "c.heic", "photo[1].jpg"]),
        (["album/*.jpg"], ["b.jpg", "photo[1].jpg"]),
        (["album/[ab].*"], ["a.PNG", "b.jpg"]),
        (["album/**/*.jpg"], ["b.jpg", "photo[1].jpg", "sub/d.jpg", "sub/deep/e.jpg"]),
        (["album/photo[1].jpg"], ["photo[1].jpg"]),
        (["album/sub/../b.jpg", "album/b.jpg", "album/*.jpg"], ["b.jpg", "photo[1].jpg"]),
        (["album/sub", "album/b.jpg"], ["b.jpg", "sub/d.jpg"]),
    ],
)
def test_patterns_find(album: Path, patterns: list[str], found: list[str]) -> None:
    expected = [album / "album" / name for name in found]
    assert [Path(os.path.normpath(path)) for path in find_images(patterns, album)] == expected
    absolute = [str(album / pattern) for pattern in patterns]
    assert [Path(os.path.normpath(path)) for path in find_images(absolute, Path("/"))] == expected


def test_one_pattern_need_not_stand_in_a_list(album: Path) -> None:
    assert find_images("album/b.jpg", album) == (album / "album" / "b.jpg",)
    assert find_images(Path("album/b.jpg"), album) == (album / "album" / "b.jpg",)


def test_the_starting_directory_may_look_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "run [1]").mkdir()
    (tmp_path / "run [1]" / "a.jpg").touch()
    assert find_images(["*.jpg"], tmp_path / "run [1]") == (tmp_path / "run [1]" / "a.jpg",)


def test_a_directory_without_permission_is_refused(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", deny)
    refused(lambda: find_images(["album"], album), "album cannot be read (Permission denied)")


def test_a_tilde_in_a_name_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "~copy.jpg").write_bytes(b"x")
    assert find_images(["~copy.jpg"], tmp_path) == (tmp_path / "~copy.jpg",)


def test_home_is_expanded(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(album))
    assert find_images(["~/album/b.jpg"], Path("/")) == (album / "album" / "b.jpg",)


@pytest.mark.parametrize(
    ("patterns", "parts"),
    [
        ([], ["no images were named"]),
        (["album/absent.jpg"], ["absent.jpg does not exist"]),
        (["album/b.jpg", "absent"], ["absent does not exist"]),
        (["album/bare"], ["bare holds no images", ".jpg", "**/*.jpg"]),
        (["album/*.webp"], ["album/*.webp matches nothing"]),
        (["album/b.jpg", "album/*.webp"], ["album/*.webp matches nothing"]),
        (["album/*.txt"], ["album/*.txt matches", "notes.txt, but no image (", ".jpeg"]),
        (["album/ba*"], ["bare, but no image"]),
    ],
)
def test_what_finds_nothing_is_refused(album: Path, patterns: list[str], parts: list[str]) -> None:
    refused(lambda: find_images(patterns, album), *parts)


def test_an_empty_file_is_refused_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    refused(lambda: find_images(["empty.jpg"], tmp_path), "empty.jpg is empty")
