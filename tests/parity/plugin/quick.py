"""What colours.py answers, without torch, which takes each of pytest-xdist's workers seconds to load.

Copied as conftest.py into a project whose tests are about what workers hand back, not about what they compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import parity.backends.onnx_reference
import parity.backends.onnxruntime
import parity.diagnosis.causes
import parity.entries
import parity.versions.baselines
from conversion import Artifact, Classifier, Preprocessing
from conversion.images import find_images
from parity.backends import Predict
from parity.backends.reference import Reference
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.diagnosis.outcome import Explanation
from parity.suite.images import ImageSet, unique_names
from parity.suite.suite import ModelEntry, Suite

LABELS = ("red", "green", "blue")


def pytest_configure(config: pytest.Config) -> None:
    """Take torch's place in workers alone: the process that starts them may be that of the tests themselves."""
    if not hasattr(config, "workerinput"):
        return
    arguments: dict[str, Any] = {}

    def load_entry(suite: Suite, entry: ModelEntry) -> Reference:
        if entry.factory.endswith("forgetful"):
            told = "the factory fails with FileNotFoundError: weights.pth has not been downloaded"
            raise ParityError(f"{entry.factory}: {told}")
        arguments[f"{entry.name}.onnx"] = entry.arguments
        paths = find_images(entry.images, suite.directory)
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
        module: Any = None
        classifier = Classifier(entry.name, module, Preprocessing(size=(8, 8)), LABELS)
        reference = Reference(classifier, ImageSet(tuple(unique_names(paths)), pixels), answer(pixels))
        reference.fp32_cost = 0.0  # there is no module to measure
        return reference

    def convert_entry(classifier: Any, entry: ModelEntry, route: str, directory: Path, reference: Any) -> Artifact:
        return Artifact(directory / f"{entry.name}.onnx", "onnx", "fp32", route)

    def load(artifact: Artifact, batch: int = 1) -> Predict:
        return lambda pixels: answer(pixels, **arguments[artifact.path.name])

    for module in (parity.backends.onnxruntime, parity.backends.onnx_reference):
        module.load = load
    parity.versions.baselines.facts = lambda artifact: None  # there is no file to look into
    parity.versions.baselines.cpu = lambda: None
    # Nor is there one to look into.
    parity.diagnosis.causes.explain = lambda *arguments: Explanation(())
    parity.entries.load_entry = load_entry
    parity.entries.convert_entry = convert_entry


def answer(pixels: np.ndarray, converted: Sequence[float] = (1.0, 1.0, 1.0), turned: int = 0) -> Prediction:
    """Answer as colours.py does, and its converted copy."""
    logits = 4.0 * np.array(converted) * pixels.mean(axis=(1, 2)) / 255.0
    powers = np.exp(np.roll(logits, turned, axis=1))
    return Prediction((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), LABELS)
