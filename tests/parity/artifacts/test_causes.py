"""`parity explain` from inside: one artefact, or its record, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity import check
from parity.artifacts.causes import look_into, recorded_answers
from parity.artifacts.record_file import record
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.diagnosis.causes import Explainer
from parity.suite.records import to_json
from tests.parity.diagnosis.faulty import PHOTOS, broken, good, mixed, reference, swapped
from tests.parity.tiny import converted, pictures, tiny

IMAGES = str(PHOTOS / "*.jpg")
ONNX = "onnx-torchscript"


def test_a_sound_artefact_holds() -> None:
    found = look_into(mixed(), good(ONNX), IMAGES).run

    assert found.exit_code == 0
    assert found.subjects[0].diagnoses == ()


def test_a_fault_comes_with_its_hops_and_its_place() -> None:
    found = look_into(mixed(), broken(good(ONNX), swapped), IMAGES).run.subjects[0]

    assert found.verdict == "fail"
    assert [d.fault for d in found.diagnoses if d.confirmed] == ["pre-bgr-swap"]
    assert [hop.split(":")[0] for hop in found.hops] == [
        "torch with normalisation and softmax",
        "onnx unoptimised",
        "onnx optimised",
        "onnx.reference",
    ]
    assert [": pass" in hop for hop in found.hops] == [True, False, False, False]
    assert found.first_divergence is not None


def test_agreement_on_noise_proves_nothing() -> None:
    random = np.random.default_rng(4)
    tints = ((0, 0, 0), (90, 0, 0), (0, 0, 90), (0, 90, 0))
    pictures = [
        Image.fromarray(np.clip(random.integers(0, 256, (32, 32, 3)) - np.array(tint), 0, 255).astype(np.uint8))
        for tint in tints
    ]
    subject = check(tiny(), converted(ONNX), pictures, backends=["onnxruntime"]).subjects[0]

    assert subject.verdict == "inconclusive"
    assert "noise" in subject.reason


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    path.write_text(to_json(record([good(ONNX).path], [IMAGES])), encoding="utf-8")
    return path


def test_a_record_is_found_by_the_names_of_the_images(recorded: Path) -> None:
    (found,) = recorded_answers(recorded, good(ONNX), reference())

    assert np.allclose(found.probabilities, reference().prediction.probabilities, atol=1e-5)
    assert (found.same_pixels, found.same_file) == (True, True)
    assert look_into(mixed(), good(ONNX), IMAGES, record=recorded).run.exit_code == 0


def test_a_record_of_other_pixels_is_explained(recorded: Path) -> None:
    # As an app would write it that reads the camera's BGR.
    from parity.backends import find_backend

    pixels = np.ascontiguousarray(reference().images.pixels[..., ::-1])
    rows = find_backend("onnxruntime").load(good(ONNX))(pixels).probabilities
    content = json.loads(recorded.read_text(encoding="utf-8"))
    for prediction, name in zip(content["records"][0]["predictions"], reference().images.names, strict=True):
        assert prediction["image"] == name
    for prediction, row in zip(content["records"][0]["predictions"], rows, strict=True):
        keys = list(prediction["probabilities"])
        values = [float(p) for p in row]
        mapping = isinstance(prediction["probabilities"], dict)
        prediction["probabilities"] = dict(zip(keys, values, strict=True)) if mapping else values
        prediction["label"] = None
    recorded.write_text(json.dumps(content), encoding="utf-8")

    found = look_into(mixed(), good(ONNX), IMAGES, record=recorded).run.subjects[0]

    assert found.verdict == "fail"
    assert [d.fault for d in found.diagnoses if d.confirmed] == ["pre-bgr-swap"]
    # The record says that its pixels are these; what it answers does not.
    assert "the record's pixels are these, and its file is this one" in found.checks[0].told


def test_a_record_of_another_file_of_that_name_is_known_as_such(recorded: Path) -> None:
    content = json.loads(recorded.read_text(encoding="utf-8"))
    content["records"][0]["artifact"]["sha256"] = "0" * 64
    recorded.write_text(json.dumps(content), encoding="utf-8")

    (found,) = recorded_answers(recorded, good(ONNX), reference())

    assert (found.same_pixels, found.same_file) == (True, False)


def test_a_record_of_something_else_is_refused(recorded: Path) -> None:
    with pytest.raises(ParityError, match="has no record of"):
        recorded_answers(recorded, good("mlprogram"), reference())


@pytest.mark.parametrize(("judging", "left"), [(5.0, 40.0), (20.0, 30.0)])
def test_what_judging_takes_is_taken_off_the_search(
    judging: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []

    def note(self: Explainer, subject: Subject, *more: object) -> Subject:
        seconds.append(self.seconds)
        return subject

    clock = iter((100.0, 100.0 + judging))
    monkeypatch.setattr("parity.artifacts.causes.monotonic", lambda: next(clock))
    monkeypatch.setattr(Explainer, "__call__", note)

    look_into(tiny(), converted("onnx-torchscript"), pictures())

    assert seconds == [left]
