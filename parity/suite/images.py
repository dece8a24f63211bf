"""The sample images of a run, as the pixels that every backend gets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conversion.classifier import Preprocessing
from conversion.errors import ImageError
from conversion.images import find_images, read_pixels, to_pixels
from parity.core.errors import ParityError

# One pixel is one colour all over the model's input: an answer to it says nothing of the model.
SMALLEST = 2
NOISE = "the images are noise, to which a model with exchanged colours may answer the same: give photos"
# Noise: at least so many pixels a side and so large a deviation, and neighbours that are correlated by less.
_LARGE_ENOUGH, _LOUD, _CONNECTED = 16, 35.0, 0.1


@dataclass(frozen=True)
class ImageSet:
    """Hold images by name; pixels: uint8 [N, H, W, 3] of the model's input size.

    files: where they were read, in the same order; empty where one of them was no file.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    files: tuple[Path, ...] = ()

    @property
    def by_name(self) -> dict[str, np.ndarray]:
        """Return the pixels of each image, uint8 [H, W, 3]."""
        return dict(zip(self.names, self.pixels, strict=True))


def load_images(images: Any, preprocessing: Preprocessing, relative_to: Path | None = None) -> ImageSet:
    """Load images through the classifier's preprocessing, once, for every backend.

    images: a path, directory, glob or PIL image, or several of them: files first, sorted, then PIL images in the
    order given, taken as they are. Unreadable files, and those of one pixel, raise ImageError.
    """
    sources: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    patterns = [item for item in sources if isinstance(item, str | Path)]
    pictures = [item for item in sources if not isinstance(item, str | Path)]
    paths = find_images(patterns, relative_to or Path()) if patterns else ()
    names = unique_names((*paths, *(Path(f"image {index}") for index in range(len(pictures)))))
    rows = [read_pixels(path, preprocessing, at_least=SMALLEST) for path in paths]
    rows += [_pixels_of(*named, preprocessing) for named in zip(names[len(paths) :], pictures, strict=True)]
    empty = np.zeros((0, *preprocessing.size, preprocessing.channels), np.uint8)
    files = () if pictures else tuple(paths)
    return ImageSet(tuple(names), np.stack(rows) if rows else empty, files)


def _pixels_of(name: str, picture: Any, preprocessing: Preprocessing) -> np.ndarray:
    if not isinstance(picture, Image.Image):
        raise ParityError(f"images are paths or PIL images, not {type(picture).__name__}")
    try:
        return to_pixels(picture, preprocessing)
    except ImageError as error:
        raise ImageError(f"{name} cannot be used: {error}") from None
    except (OSError, SyntaxError) as error:  # its file is only decoded now
        raise ImageError(f"{name} is damaged or incomplete ({' '.join(str(error).split())})") from error


def are_noise(pixels: np.ndarray) -> bool:
    """Say whether every image is noise: bright and dark pixels side by side without any connection.

    pixels: uint8 [N, H, W, 3]. To all noise a classifier answers nearly the same, whatever is wrong with colours.
    """
    return len(pixels) > 0 and all(_is_noise(image.astype(np.float64)) for image in pixels)


def _is_noise(image: np.ndarray) -> bool:
    if min(image.shape[:2]) < _LARGE_ENOUGH or float(image.std(axis=(0, 1)).min()) < _LOUD:
        return False
    image = image - image.mean(axis=(0, 1))
    power = float((image**2).mean())
    beside, below = (image[:, 1:] * image[:, :-1]).mean(), (image[1:] * image[:-1]).mean()
    return max(abs(float(beside)), abs(float(below))) < _CONNECTED * power


def pixels_digest(pixels: np.ndarray) -> str:
    """Return the SHA-256 of one image's pixels, uint8 [H, W, 3]: red, green, blue, row by row from the top."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name each of several different files by its last part, and by more of them where two share it."""
    names = [path.name for path in paths]
    for depth in range(2, 1 + max((len(path.parts) for path in paths), default=0)):
        if len(set(names)) == len(names):
            break
        names = ["/".join(path.parts[-depth:]) for path in paths]
    # A name that is not UTF-8 must still fit into results.json.
    return [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
