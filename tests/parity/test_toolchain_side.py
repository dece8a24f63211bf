"""What a tool chain's process does for parity; what goes in and out is JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from conversion.provenance import weights_hash
from parity.images import load_images
from parity.toolchain_side import make_classifier, predict
from tests.parity import tiny
from tests.parity.tiny import LABELS, PREPROCESSING, converted, pictures


def test_a_classifier_is_made_as_the_suite_says(tmp_path: Path) -> None:
    shutil.copy(tiny.__file__, tmp_path / "models.py")

    made = make_classifier("models.py:tiny", {}, "renamed", str(tmp_path))

    assert made.name == "renamed"
    assert weights_hash(made) == weights_hash(tiny.tiny())


def test_predictions_keep_all_their_digits(tmp_path: Path) -> None:
    import onnxruntime

    artifact = converted("onnx-torchscript")
    pixels = load_images(pictures(), PREPROCESSING).pixels
    np.save(tmp_path / "pixels.npy", pixels)

    answer = json.loads(json.dumps(predict(str(artifact.path), "onnxruntime", str(tmp_path / "pixels.npy"))))

    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
    image = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    expected = np.concatenate([session.run(None, {"image": one[None]})[0] for one in image])
    found = np.array([[float.fromhex(text) for text in row] for row in answer["probabilities"]], np.float32)
    np.testing.assert_array_equal(found, expected)
    assert tuple(answer["labels"]) == LABELS
    assert answer["top1"] is None
