"""The sample images of a run, as the pixels that every backend gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conversion.classifier import Preprocessing
from conversion.images import find_images, read_pixels, to_pixels
from parity.errors import ParityError


@dataclass(frozen=True)
class ImageSet:
    """Hold images by name; pixels: uint8 [N, H, W, 3] of the model's input size."""

    names: tuple[str, ...]
    pixels: np.ndarray


def load_images(images: Any, preprocessing: Preprocessing, relative_to: Path | None = None) -> ImageSet:
    """Load images through the classifier's preprocessing, once, for every backend.

    images: a path, directory, glob or PIL image, or several of them. Unreadable files raise ImageError.
    """
    given: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    patterns = [item for item in given if isinstance(item, str | Path)]
    pictures = [item for item in given if not isinstance(item, str | Path)]
    paths = find_images(patterns, relative_to or Path()) if patterns else ()
    names = unique_names(paths)
    rows = [read_pixels(path, preprocessing) for path in paths]
    for index, picture in enumerate(pictures):
        if not hasattr(picture, "convert"):
            raise ParityError(f"images are paths or PIL images, not {type(picture).__name__}")
        names.append(f"image {index}")
        rows.append(to_pixels(picture.convert("RGB"), preprocessing))
    empty = np.zeros((0, *preprocessing.size, 3), np.uint8)
    return ImageSet(tuple(names), np.stack(rows) if rows else empty)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name each image by its file, with as much of its directory as sets it apart from the others."""
    names = [path.name for path in paths]
    depth = 2
    while len(set(names)) < len(names):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        depth += 1
    return names
