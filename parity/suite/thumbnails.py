"""Small pictures of what the model saw, for reports: of the worst images of each subject, and not too many."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, MutableMapping

import numpy as np

from parity.core.results import Subject, worst_first

SHOWN = 6  # images of one subject
# A report has to open at once, and results.json is read by other tools: all thumbnails of a run share this bound.
MOST_CHARACTERS = 600_000
# (longest side, quality), the first that is small enough: noise does not compress.
_SIZES = ((96, 85), (96, 60), (64, 50))
_MOST_BYTES = 6_000


def worst_thumbnails(subject: Subject, pixels: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Make pictures of the worst images of a subject. pixels: image name -> uint8 [H, W, 3], of those there are."""
    worst = worst_first(subject.cases)[:SHOWN]
    return {case.image: thumbnail(pixels[case.image]) for case in worst if case.image in pixels}


def add_thumbnails(thumbnails: MutableMapping[str, str], model: str, added: Mapping[str, str]) -> None:
    """Add pictures of what a model saw to those of a run; once all together reach their bound, none is added.

    An image that is there already is there once, if the models saw the same.
    """
    for image, picture in added.items():
        key = thumbnail_key(thumbnails, model, image)
        if thumbnails.get(key, picture) != picture:
            key = f"{model}: {image}"
        if sum(map(len, thumbnails.values())) + len(picture) <= MOST_CHARACTERS:
            thumbnails.setdefault(key, picture)


def thumbnail_key(thumbnails: Mapping[str, str], model: str, image: str) -> str:
    """Return the key under which an image is found, as this model saw it."""
    own = f"{model}: {image}"
    return own if own in thumbnails else image


def thumbnail(pixels: np.ndarray) -> str:
    """Make a data: URI of a JPEG of at most 96 pixels a side. pixels: uint8 [H, W, C]."""
    from conversion.images import to_picture

    for side, quality in _SIZES:
        picture = to_picture(pixels)
        picture.thumbnail((side, side))
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=quality)
        if written.tell() <= _MOST_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
