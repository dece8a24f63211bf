"""Thumbnails: small pictures of the pixels that the model saw, of the worst images, within a bound."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.core.results import Answer, Case, CaseVerdict, Subject
from parity.suite.thumbnails import (
    MOST_CHARACTERS,
    SHOWN,
    add_thumbnails,
    thumbnail,
    thumbnail_key,
    worst_thumbnails,
)

PREFIX = "data:image/jpeg;base64,"


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX))))


def grey(level: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3)).astype(np.uint8)


def subject(*cases: tuple[str, CaseVerdict, float | None]) -> Subject:
    made: Any = tuple(Case(name, verdict, Answer("a", 0.5), Answer("a", 0.5), d) for name, verdict, d in cases)
    return Subject("m", "onnx", "m.onnx", "onnxruntime", "fp32", "fail", cases=made)


@pytest.mark.parametrize(
    ("shape", "size"), [((32, 32), (32, 32)), ((224, 224), (96, 96)), ((100, 400), (96, 24)), ((2, 2), (2, 2))]
)
def test_a_picture_keeps_its_shape_and_is_not_enlarged(shape: tuple[int, int], size: tuple[int, int]) -> None:
    uri = thumbnail(grey(100, *shape))

    assert uri.startswith(PREFIX)
    assert opened(uri).size == size


def test_colours_stay_where_they_are() -> None:
    pixels = grey(0)
    pixels[:16, :, 0] = 255

    seen = np.asarray(opened(thumbnail(pixels))).astype(int)

    assert np.abs(seen[4, 16] - (255, 0, 0)).max() < 12
    assert np.abs(seen[28, 16]).max() < 12


def test_noise_is_made_small_enough() -> None:
    assert len(thumbnail(noise(0))) < 8_100


def test_the_worst_images_are_taken() -> None:
    cases = [(f"{n}.png", "match", n / 100) for n in range(10)] + [
        ("bad.png", "error", None),
        ("flip.png", "flip", 0.0),
    ]
    found = worst_thumbnails(subject(*cases), {name: grey(n) for n, (name, *_) in enumerate(cases)})

    assert SHOWN == 6
    assert list(found) == ["bad.png", "flip.png", "9.png", "8.png", "7.png", "6.png"]


def test_subjects_share_pictures() -> None:
    found: dict[str, str] = {}
    for model in "ab":
        add_thumbnails(found, model, {"x.png": thumbnail(grey(100))})

    assert list(found) == ["x.png"]


def test_other_pixels_of_that_name_are_another_picture() -> None:
    found: dict[str, str] = {}
    for model, level in (("a", 100), ("b", 200), ("b", 200), ("a", 100)):
        add_thumbnails(found, model, {"x.png": thumbnail(grey(level))})

    assert found == {"x.png": thumbnail(grey(100)), "b: x.png": thumbnail(grey(200))}
    assert [thumbnail_key(found, model, "x.png") for model in "ab"] == ["x.png", "b: x.png"]


def test_all_together_have_a_bound() -> None:
    found: dict[str, str] = {}
    for n in range(30):
        made = thumbnail(noise(n))
        add_thumbnails(found, "m", {f"{n}-{i}.png": made for i in range(6)})

    assert len(found) < 180
    assert MOST_CHARACTERS - 10_000 < sum(map(len, found.values())) <= MOST_CHARACTERS
