"""A suite with a tiny model, directories of pictures for it, and jobs over them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from parity.stream.job import Job
from tests.parity import tiny

SUITE = """
images = ["own/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]

[models.untrained]
factory = "models.py:untrained"
routes = ["onnx-torchscript"]

[models.swapped]
factory = "models.py:swapped"
routes = ["onnx-torchscript"]
"""
# Not a multiple of the batch.
PICTURES, BATCH = 23, 4


def picture(number: int) -> Image.Image:
    """Paint one of any number of pictures, all different."""
    random = np.random.default_rng(number)
    colour = np.array(tiny.COLOURS[number % len(tiny.COLOURS)])
    return Image.fromarray(np.clip(colour + random.integers(-20, 21, (32, 32, 3)), 0, 255).astype(np.uint8))


def save_pictures(directory: Path, count: int = PICTURES) -> Path:
    """Write pictures into a new directory."""
    directory.mkdir(parents=True)
    for number in range(count):
        picture(number).save(directory / f"{number:03}.png")
    return directory


def save_suite(directory: Path, text: str = SUITE) -> Path:
    """Write a suite, its models and an image of its own into a directory."""
    save_pictures(directory / "own", 1)
    shutil.copy(tiny.__file__, directory / "models.py")
    path = directory / "parity.toml"
    path.write_text(text, encoding="utf-8")
    return path


def job_over(images: Path, place: Path, **more: Any) -> Job:
    """Make a job over pictures with the suite of `place`, whose cases are kept."""
    options: dict[str, Any] = {
        "models": ("tiny",),
        "backends": ("onnxruntime",),
        "batch": BATCH,
        "cases": place / "r.cases.jsonl",
        "artifacts": place / "artifacts",
    }
    return Job(place / "parity.toml", images, **options | more)
