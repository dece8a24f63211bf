from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from hypothesis.vendor.pretty import pretty
from PIL import Image, ImageOps

from conversion.classifier import Preprocessing
from conversion.errors import ImageError
from conversion.guards.torchvision_guard import torchvision
from conversion.images import RESIZED_PIXELS_LIMIT, load_image, read_pixels
from parity.core.errors import ParityError
from parity.strategies.images import MODES, Format, ImageFile, bombs, images

sides = st.integers(1, 40)
preprocessings = st.builds(
    Preprocessing,
    size=st.tuples(sides, sides),
    resize=st.none() | sides | st.tuples(sides, sides),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def decoded(path: Path) -> Image.Image:
    """Open a file as torchvision's own loader does, upright, in RGB; 16-bit greys keep their upper eight bits."""
    with warnings.catch_warnings(), path.open("rb") as file, Image.open(file) as image:
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.array(upright) // 256).astype(np.uint8))
        return upright.convert("RGB")


def reference(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Apply torchvision's documented transforms: uint8 [height, width, 3]."""
    torchvision()
    from torchvision import transforms

    steps: list[Any] = [transforms.CenterCrop(preprocessing.size), transforms.PILToTensor()]
    if preprocessing.resize is not None:
        mode = transforms.InterpolationMode[preprocessing.interpolation.upper()]
        steps.insert(0, transforms.Resize(preprocessing.resize, interpolation=mode))
    return transforms.Compose(steps)(image).permute(1, 2, 0).numpy()


def resized_pixels(image: Image.Image, preprocessing: Preprocessing) -> int:
    """Count the pixels between Resize and CenterCrop, by the rule in the documentation of Resize."""
    shorter = preprocessing.resize
    if not isinstance(shorter, int):
        return 0
    return shorter * int(shorter * max(image.size) / min(image.size))


def refusal(path: Path, preprocessing: Preprocessing) -> str:
    with pytest.raises(ImageError) as caught:
        read_pixels(path, preprocessing)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


# What can be decoded, and what cannot


@pytest.mark.parametrize("kind", MODES)
@given(data=st.data(), preprocessing=preprocessings)
def test_whole_files_give_torchvisions_pixels(
    folder: Path, kind: Format, data: st.DataObject, preprocessing: Preprocessing
) -> None:
    path = data.draw(images(formats=[kind], damaged=False)).save(folder)
    image = decoded(path)
    assert resized_pixels(image, preprocessing) < RESIZED_PIXELS_LIMIT
    np.testing.assert_array_equal(read_pixels(path, preprocessing), reference(image, preprocessing))


@given(file=images(damaged=True), preprocessing=preprocessings)
def test_damaged_files_give_torchvisions_pixels_or_one_clear_line(
    folder: Path, file: ImageFile, preprocessing: Preprocessing
) -> None:
    path = file.save(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = decoded(path)
            # A changed byte may make a sliver of it, or a mode without a range of values.
            decodable = resized_pixels(image, preprocessing) <= RESIZED_PIXELS_LIMIT
            with Image.open(path) as stored:
                decodable = decodable and stored.mode not in ("I", "F")
        except Exception:  # whatever Pillow's decoders run into
            decodable = False
    if decodable:
        np.testing.assert_array_equal(read_pixels(path, preprocessing), reference(image, preprocessing))
    else:
        refusal(path, preprocessing)


@given(bombs())
def test_no_bomb_is_decoded(folder: Path, file: ImageFile) -> None:
    path = file.save(folder)
    assert len(file.data) < 1000
    with pytest.MonkeyPatch.context() as patch:
        _forbid_decoding(patch)
        message = refusal(path, Preprocessing())
    assert f"{path} has " in message
    assert "was not decoded; the limit is 89478485" in message


def _forbid_decoding(patch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        pytest.fail("decoded")

    patch.setattr(Image.core, "new", decode)
    patch.setattr(Image.core, "fill", decode)
    readers: list[type[Image.Image]] = [Image.Image]
    for reader in readers:
        readers += reader.__subclasses__()
        for method in ("load", "load_prepare"):
            if method in vars(reader):
                patch.setattr(reader, method, decode)


def test_what_forbids_decoding_notices_it(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "image.png")
    with pytest.MonkeyPatch.context() as patch:
        _forbid_decoding(patch)
        with pytest.raises(pytest.fail.Exception, match="decoded"):
            load_image(tmp_path / "image.png")


# Orientation, with values typed in. The letters of a page: F has no symmetry of its own.

STORED = ["FFF", "F..", "FF.", "F.."]
UPRIGHT = {
    1: ["FFF", "F..", "FF.", "F.."],
    2: ["FFF", "..F", ".FF", "..F"],
    3: ["..F", ".FF", "..F", "FFF"],
    4: ["F..", "FF.", "F..", "FFF"],
    5: ["FFFF", "F.F.", "F..."],
    6: ["FFFF", ".F.F", "...F"],
    7: ["...F", ".F.F", "FFFF"],
    8: ["F...", "F.F.", "FFFF"],
}


def page(rows: list[str]) -> np.ndarray:
    """Paint F black on white, 16 pixels wide per letter: a JPEG's blocks then hold one grey each."""
    return np.kron([[0 if letter == "F" else 255 for letter in row] for row in rows], np.ones((16, 16))).astype(
        np.uint8
    )


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {"quality": 100})]
)
def test_orientation(
    tmp_path: Path, kind: str, options: dict[str, Any], mode: str, order: str, orientation: int
) -> None:
    # One entry: tag 0x0112 of type SHORT, count 1. Source: Exif 2.3, 4.6.2 and 4.6.4.
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    path = tmp_path / "page"
    Image.fromarray(page(STORED)).convert(mode).save(path, kind, exif=b"Exif\0\0" + head + entry, **options)
    expected = page(UPRIGHT[orientation])
    pixels = read_pixels(path, Preprocessing(size=expected.shape, resize=None)).astype(int)
    np.testing.assert_allclose(pixels, np.repeat(expected[..., None], 3, axis=2), atol=2)


# The strategy itself


@given(images(damaged=False))
def test_whole_files_are_what_they_say(folder: Path, file: ImageFile) -> None:
    kind, mode, size = file.description.split(",")[0].split(" ")[:3]
    with Image.open(file.save(folder)) as image:
        assert (image.format, image.mode) == (kind, mode)
        assert mode in MODES[kind]
        # Pillow turns a TIFF itself when it loads it, so this comes first; its size it gives as turned already.
        orientation = image.getexif().get(0x0112)
        assert (f"orientation {orientation}" in file.description) == (orientation is not None)
        sides = image.size[::-1] if kind == "TIFF" and (orientation or 0) > 4 else image.size
        assert size == f"{sides[0]}x{sides[1]}"
        image.load()
        assert image.width * image.height <= 16_000
    assert file.readable


# Always the same examples, whatever the profile: enough for every kind to be among them.
@settings(max_examples=200, derandomize=True, database=None)
@given(st.data())
def draw_many(strategy: SearchStrategy[ImageFile], drawn: list[ImageFile], data: st.DataObject) -> None:
    drawn.append(data.draw(strategy))


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        *(({"formats": [kind]}, [f"{kind} {mode} " for mode in modes]) for kind, modes in MODES.items()),
        *(
            ({"formats": [kind], "modes": ["RGB"]}, [f"orientation {orientation}" for orientation in range(1, 9)])
            for kind in ("PNG", "JPEG", "WEBP", "TIFF")
        ),
        ({"formats": ["WEBP"]}, ["lossless", "animated", "named .jpg"]),
        ({"formats": ["TIFF"]}, ["LZW"]),
        ({"formats": ["JPEG"]}, ["progressive"]),
        ({"formats": ["GIF", "PNG"], "modes": ["P"]}, ["GIF P", "with transparency", "animated"]),
    ],
)
def test_every_kind_is_drawn(choice: dict[str, Any], parts: list[str]) -> None:
    drawn: list[ImageFile] = []
    draw_many(images(**choice, sizes=st.just((2, 2)), damaged=False), drawn)
    assert [part for part in parts if not any(part in file.description for file in drawn)] == []


def test_every_kind_of_size_is_drawn() -> None:
    drawn: list[ImageFile] = []
    draw_many(images(formats=["BMP"], modes=["L"], damaged=False), drawn)
    sizes = [tuple(map(int, file.description.split(",")[0].split(" ")[2].split("x"))) for file in drawn]
    assert max(width for width, _ in sizes) == 4000
    assert (1, 1) in sizes
    assert any(width == 1 and height > 1000 for width, height in sizes)
    assert any(width > 1000 and height == 1 for width, height in sizes)
    assert any(width > 4 and height > 4 for width, height in sizes)


def test_every_damage_is_drawn() -> None:
    drawn: list[ImageFile] = []
    draw_many(images(sizes=st.just((2, 2))), drawn)
    assert len(drawn) / 4 < sum(file.readable for file in drawn) < len(drawn) * 3 / 4
    parts = ["cut to", "with byte", "empty", "b'", "that declares"]
    assert [part for part in parts if not any(part in file.description for file in drawn)] == []
    drawn.clear()
    draw_many(bombs(), drawn)
    assert {file.description.split(" ")[0] for file in drawn} == set(MODES)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"damaged": False}, "<PNG RGB 1x1>"),
        ({"damaged": True}, "<empty named .png>"),
        ({"formats": ["JPEG"], "modes": ["CMYK"], "damaged": False}, "<JPEG CMYK 1x1>"),
        ({"formats": ["GIF", "TIFF"], "modes": ["P", "I;16"], "damaged": False}, "<GIF P 1x1>"),
    ],
)
def test_examples_shrink_to_a_short_line(choice: dict[str, Any], told: str) -> None:
    # Without the phase that tries out, after shrinking, which parts of an example matter.
    phases = settings(phases=[Phase.generate, Phase.shrink], database=None)
    file = find(images(**choice), lambda _: True, settings=phases)
    assert repr(file) == pretty(file) == told


@given(images(formats=["WEBP", "BMP"], modes=["RGBA", "L"], sizes=st.just((3, 2)), damaged=False))
def test_choices_are_kept(file: ImageFile) -> None:
    assert file.description.startswith(("WEBP RGBA 3x2", "BMP L 3x2"))


@given(images(damaged=True))
def test_damaged_files_say_so(file: ImageFile) -> None:
    assert not file.readable
    assert len(repr(file)) < 160
    assert "\n" not in repr(file)


@given(images())
def test_a_file_is_saved_as_it_is(folder: Path, file: ImageFile) -> None:
    path = file.save(str(folder), "photo")
    assert path == folder / f"photo{file.suffix}"
    assert path.read_bytes() == file.data


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"formats": ["JPG"]}, "images: formats has 'JPG'; give a list of PNG, JPEG, WEBP, GIF, TIFF, BMP"),
        ({"formats": "PNG"}, "images: formats has 'PNG'; give a list"),
        ({"modes": ["RGB", "YCbCr"]}, "images: modes has 'YCbCr'; give a list of 1, L, LA,"),
        (
            {"formats": ["JPEG"], "modes": ["LA", "P"]},
            "images: 'JPEG' stores none of the modes 'LA', 'P'; formats: PNG, GIF, TIFF, BMP",
        ),
        ({"formats": []}, "images: formats is empty; give a list of PNG,"),
        ({"modes": ()}, "images: modes is empty; give a list of 1,"),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ParityError) as caught:
        images(**choice)
    assert str(caught.value).startswith(message)


def test_bombs_of_an_unknown_format_are_refused() -> None:
    with pytest.raises(ParityError, match="images: formats has 'ZIP'; give a list of PNG"):
        bombs(["ZIP"])
