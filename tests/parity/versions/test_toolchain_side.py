"""What a tool chain's process does for parity; what goes in and out is JSON."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.contract import WHOLE, state, with_statistics
from conversion.provenance import weights_hash
from parity.backends.pytorch import load_reference
from parity.core.errors import ParityError
from parity.suite.images import load_images
from parity.versions.toolchain_side import explain, make_classifier, predict
from tests.parity import tiny
from tests.parity.foreign import export
from tests.parity.tiny import LABELS, PREPROCESSING, converted, pictures, shifted


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

    answer = json.loads(
        json.dumps(predict(str(artifact.path), "onnxruntime", str(tmp_path / "pixels.npy"), asdict(WHOLE)))
    )

    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
    image = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    expected = np.concatenate([session.run(None, {"image": one[None]})[0] for one in image])
    found = np.array([[float.fromhex(text) for text in row] for row in answer["probabilities"]], np.float32)
    np.testing.assert_array_equal(found, expected)
    assert tuple(answer["labels"]) == LABELS
    assert answer["top1"] is None


def explained(directory: Path, weights: str, file: Path) -> dict[str, Any]:
    """Ask why a file does not agree, through JSON as a process would be asked."""
    import torch

    from conversion.deployed import deployed_module

    shutil.copy(tiny.__file__, directory / "models.py")
    images = load_images(pictures(), PREPROCESSING)
    module = deployed_module(tiny.tiny())
    pixels = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        np.save(directory / "expected.npy", module(pixels).numpy())
    np.save(directory / "pixels.npy", images.pixels)
    source = {"factory": "models.py:tiny", "arguments": {}, "name": "tiny", "directory": str(directory)}
    failure = {
        "source": source,
        "weights": weights,
        "artifact": str(file),
        "route": "onnx-torchscript",
        "backend": "onnxruntime",
        "names": images.names,
        "files": [],
        "tolerance": 1e-5,
        "contract": asdict(WHOLE),
    }
    request = {
        "failure": failure,
        "pixels": str(directory / "pixels.npy"),
        "expected": str(directory / "expected.npy"),
    }
    found: dict[str, Any] = json.loads(json.dumps(explain(**json.loads(json.dumps(request)))))
    return found


def test_a_cause_is_found_and_written_down(tmp_path: Path) -> None:
    found = explained(tmp_path, weights_hash(tiny.tiny()), converted("onnx-torchscript", shifted).path)

    assert [(d["fault"], d["confirmed"]) for d in found["diagnoses"]] == [("wt-stale-artifact", True)]
    assert found["guilty_hop"] == "torch -> onnx"


def test_nothing_is_explained_of_what_agrees(tmp_path: Path) -> None:
    found = explained(tmp_path, weights_hash(tiny.tiny()), converted("onnx-torchscript").path)

    assert found["diagnoses"] == []


def test_a_factory_that_gives_other_weights_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="tiny: the factory gives other weights every time it is called; seed it"):
        explained(tmp_path, "another", converted("onnx-torchscript").path)


def test_a_file_is_run_under_the_contract_that_it_is_given(tmp_path: Path) -> None:
    path = export(tmp_path / "bare.onnx")
    images = load_images(pictures(), PREPROCESSING)
    np.save(tmp_path / "pixels.npy", images.pixels)
    contract = asdict(with_statistics(state([]), PREPROCESSING))

    answer = predict(str(path), "onnxruntime", str(tmp_path / "pixels.npy"), json.loads(json.dumps(contract)))

    found = np.array([[float.fromhex(text) for text in row] for row in answer["probabilities"]])
    np.testing.assert_allclose(found, load_reference(tiny.tiny())(images.pixels).probabilities, atol=1e-5)
