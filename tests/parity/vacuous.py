"""Models and images of which agreement proves nothing: the model, the images, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from conversion import Classifier
from tests.parity import tiny

Vacuous = tuple[Callable[[], Classifier], Callable[[], list[Image.Image]], str]

VACUOUS: dict[str, Vacuous] = {
    "untrained": (
        tiny.untrained,
        tiny.pictures,
        "about 1/8 for every class of every image (an untrained network?)",
    ),
    "flat": (tiny.constant, tiny.pictures, "the reference answers the same for every image"),
    "one class": (tiny.tiny, tiny.alike, "the reference gives all 4 images one class"),
    "noise": (tiny.tiny, tiny.noises, "the images are noise"),
}
