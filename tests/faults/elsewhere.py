"""Answers that an app gives on a phone: to pixels that it made its own way, in the order of its dictionary."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conversion import Artifact, Preprocessing
from conversion.guards.torchvision_guard import torchvision
from conversion.images import to_pixels
from parity.backends import backends_for, find_backend
from parity.formats.facts import artifact_digest
from parity.suite.images import pixels_digest
from parity.suite.records import SCHEMA, Record, RecordedArtifact, RecordedPrediction, RecordFile, to_json

# From a picture's file to uint8 pixels [H, W, 3].
Way = Callable[[Path, Preprocessing], np.ndarray]


def record_of(artifact: Artifact, names: Sequence[str], pixels: np.ndarray, file: Path) -> Path:
    """Record what an artefact answers to pixels, as an app would that was built from it."""
    backend = next(name for name in backends_for(artifact.format) if find_backend(name).why_not() is None)
    found = find_backend(backend).load(artifact)(pixels)
    rows = [[float(value) for value in row] for row in found.probabilities]
    predictions = [
        RecordedPrediction(
            image=name,
            pixels=pixels_digest(image),
            probabilities=_shuffled(found.labels, row, number) if found.labels else row,
            label=found.top1[number] if found.top1 else None,
        )
        for number, (name, image, row) in enumerate(zip(names, pixels, rows, strict=True))
    ]
    about = RecordedArtifact(name=artifact.path.name, sha256=artifact_digest(artifact))
    records = RecordFile(schema_=SCHEMA, records=[Record(artifact=about, predictions=predictions)])
    file.write_text(to_json(records), encoding="utf-8")
    return file


def _shuffled(labels: Sequence[str], row: Sequence[float], seed: int) -> dict[str, float]:
    """Name the answers in an order of their own: a dictionary has none."""
    return {labels[i]: row[i] for i in np.random.default_rng(seed).permutation(len(row))}


def usual(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Do as PyTorch's side does."""
    return to_pixels(Image.open(path), preprocessing)


def by_tensors(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Resize the picture as a tensor, with antialiasing, where PIL resizes it as a picture."""
    functional = torchvision().transforms.functional
    tensor = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    size = preprocessing.resize
    resized = functional.resize(tensor, [size] if isinstance(size, int) else list(size or ()), antialias=True)
    cropped: np.ndarray = functional.center_crop(resized, list(preprocessing.size)).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(cropped)


def least_bits(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Be off by one here and there, as another decoder is."""
    pixels = usual(path, preprocessing)
    noise = np.random.default_rng(len(path.name)).integers(-1, 2, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def by_png(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Read the picture from a PNG of what PIL decoded."""
    return _through("PNG", path, preprocessing)


def by_jpeg(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Read the picture from a JPEG that somebody saved again."""
    return _through("JPEG", path, preprocessing, quality=95)


def coarse_chroma(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Decode with colours that are the same over four pixels, as fast decoders do."""
    picture = np.array(Image.open(path).convert("RGB").convert("YCbCr"))
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    fours = picture[:height, :width, 1:].reshape(height // 2, 2, width // 2, 2, 2).astype(np.float64)
    colours = fours.mean(axis=(1, 3)).round().astype(np.uint8)
    picture[:height, :width, 1:] = colours.repeat(2, axis=0).repeat(2, axis=1)
    return to_pixels(Image.fromarray(picture, "YCbCr").convert("RGB"), preprocessing)


def _through(kind: str, path: Path, preprocessing: Preprocessing, **options: int) -> np.ndarray:
    file = io.BytesIO()
    Image.open(path).convert("RGB").save(file, kind, **options)
    return to_pixels(Image.open(file), preprocessing)
