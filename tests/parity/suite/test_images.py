"""Images by name and by object: each once, each under a name of its own, as the pixels that all backends get."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conversion import ImageError, Preprocessing
from parity import ParityError
from parity.suite.images import are_noise, load_images, unique_names

SMALL = Preprocessing(size=(2, 3), resize=None)


def picture(value: int) -> Image.Image:
    return Image.new("RGB", (3, 2), (value, value, value))


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(value).save(path)
    return path


# Names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["x/a.png", "x/b.png"], ["a.png", "b.png"]),
        (["x/a.png", "y/a.png"], ["x/a.png", "y/a.png"]),
        (["x/a.png", "y/a.png", "y/b.png"], ["x/a.png", "y/a.png", "y/b.png"]),
        (["1/x/a.png", "2/x/a.png"], ["1/x/a.png", "2/x/a.png"]),
        (["a.png", "x/a.png"], ["a.png", "x/a.png"]),
        (["/x/a.png", "x/a.png"], ["//x/a.png", "x/a.png"]),
    ],
)
def test_names_of_images(paths: list[str], names: list[str]) -> None:
    assert unique_names([Path(path) for path in paths]) == names


parts = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


@given(st.lists(parts.map(lambda found: Path(*found)), unique=True))
def test_different_files_have_different_names(paths: list[Path]) -> None:
    names = unique_names(paths)

    assert len(set(names)) == len(paths)
    assert all(str(path).endswith(name) for path, name in zip(paths, names, strict=True))


def test_the_same_path_twice_ends() -> None:
    assert unique_names([Path("x/a.png"), Path("x/a.png")]) == ["x/a.png", "x/a.png"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS allows no such file names")
def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))

    (name,) = load_images(tmp_path, SMALL).names

    assert name == r"caf\xe9.png"


# Pixels


def test_files_become_pixels_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10)):
        save(tmp_path / name, value)

    images = load_images([tmp_path / "b.png", tmp_path / "a.png"], SMALL)

    assert images.names == ("a.png", "b.png")
    assert (images.pixels.shape, images.pixels.dtype) == ((2, 2, 3, 3), np.uint8)
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20]


def test_a_file_named_twice_is_loaded_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png")

    assert load_images([tmp_path, tmp_path / "a.png", str(tmp_path / "*.png")], SMALL).names == ("a.png",)


def test_relative_paths_start_at_the_given_directory(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png")

    assert load_images("photos/*.png", SMALL, tmp_path).names == ("a.png",)


def test_pictures_keep_their_order() -> None:
    images = load_images([picture(30), picture(10)], SMALL)

    assert images.names == ("image 0", "image 1")
    assert images.pixels[:, 0, 0, 0].tolist() == [30, 10]


def test_one_picture_needs_no_list() -> None:
    assert load_images(picture(7), SMALL).names == ("image 0",)


def test_files_and_pictures_mix(tmp_path: Path) -> None:
    images = load_images((picture(30), save(tmp_path / "a.png", 10), picture(20)), SMALL)

    assert images.names == ("a.png", "image 0", "image 1")
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 30, 20]


def test_a_file_called_like_a_picture_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    path = save(tmp_path / "image 0.png").rename(tmp_path / "image 0")

    images = load_images([path, picture(0)], SMALL)

    assert images.names == (f"{tmp_path.name}/image 0", "image 0")


def test_a_picture_is_shown_as_its_file_would_be(tmp_path: Path) -> None:
    # 16 bits of grey, which Pillow's own conversion would clip to white.
    grey = Image.fromarray(np.full((2, 3), 0x4000, np.uint16))
    grey.save(tmp_path / "grey.png")

    images = load_images([tmp_path / "grey.png", grey], SMALL)

    assert images.pixels[:, 0, 0].tolist() == [[0x40] * 3] * 2


def test_no_images_are_an_empty_set() -> None:
    images = load_images([], SMALL)

    assert (images.names, images.pixels.shape) == ((), (0, 2, 3, 3))


@pytest.mark.parametrize(("given", "kind"), [(3, "int"), ([np.zeros((2, 3, 3))], "ndarray"), ({"a.png"}, "set")])
def test_anything_else_is_refused(given: object, kind: str) -> None:
    with pytest.raises(ParityError, match=f"paths or PIL images, not {kind}"):
        load_images(given, SMALL)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a photo", encoding="utf-8")

    with pytest.raises(ImageError, match=r"a\.jpg is not an image"):
        load_images(tmp_path, SMALL)


def noise(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)


def test_noise_is_told_from_pictures() -> None:
    ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None, None] * 8, (1, 32, 3))
    grainy = np.clip(ramp.astype(np.int16) + np.random.default_rng(1).integers(-20, 21, ramp.shape), 0, 255)

    assert are_noise(np.stack([noise(), noise()[::-1]]))
    assert not are_noise(np.stack([noise(), ramp]))
    assert not are_noise(np.stack([ramp]))
    assert not are_noise(np.stack([grainy.astype(np.uint8)]))
    assert not are_noise(np.zeros((0, 32, 32, 3), np.uint8))
    # Small pictures and faint grain say too little to be called noise.
    assert not are_noise(noise(8)[None])
    assert not are_noise((noise() // 16 + 120)[None])
