"""`parity predict` without the model: the artefact's own preprocessing, labels and the backend that runs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper
from PIL import Image

from conversion import Artifact, ConversionError, Preprocessing, convert, open_artifact
from conversion.provenance import KEY, Provenance
from parity import ParityError
from parity.artifacts.answers import fed_pixels, predict_top, preprocessing_of, why_no_probabilities
from parity.backends.pytorch import load_reference
from parity.cli import main
from parity.core.results import Prediction
from parity.suite.images import load_images
from tests.parity.tiny import LABELS, PREPROCESSING, converted, save_pictures, tiny


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("predicting") / "photos")


def expected_top(photos: Path, top: int) -> list[tuple[tuple[str, float], ...]]:
    """Sort PyTorch's own answers with Python's sorted."""
    rows = load_reference(tiny())(load_images(photos, PREPROCESSING).pixels).probabilities.tolist()
    return [tuple(sorted(zip(LABELS, row, strict=True), key=lambda pair: -pair[1])[:top]) for row in rows]


@pytest.mark.parametrize(
    ("route", "backend"), [("onnx-torchscript", "onnxruntime"), ("mlprogram-fp32", "coreml-evaluator")]
)
def test_the_top_answers_are_pytorchs(
    route: str, backend: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")

    found = list(predict_top(converted(route).path, [str(photos)], top=3))

    assert [answer.image for answer in found] == [f"picture{i}.png" for i in range(6)]
    assert {answer.backend for answer in found} == {backend}
    for answer, wanted in zip(found, expected_top(photos, 3), strict=True):
        assert [label for label, _ in answer.top] == [label for label, _ in wanted]
        assert [p for _, p in answer.top] == pytest.approx([p for _, p in wanted], abs=1e-4)


def test_a_chosen_backend_is_used(photos: Path) -> None:
    path = converted("onnx-torchscript").path

    (found,) = predict_top(path, [str(photos / "picture0.png")], backend="onnx-reference")

    assert found.backend == "onnx-reference"


def test_more_classes_than_there_are_give_all(photos: Path) -> None:
    (found,) = predict_top(converted("onnx-torchscript").path, [str(photos / "picture0.png")], top=100)

    assert {label for label, _ in found.top} == set(LABELS)


@pytest.mark.parametrize("size", [(1, 2), (7, 300)])
def test_an_image_of_any_size_is_brought_to_the_models(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "odd.png")

    (found,) = predict_top(converted("onnx-torchscript").path, [str(tmp_path / "odd.png")])

    assert len(found.top) == 5


# Preprocessing


def test_an_artefact_brings_its_preprocessing() -> None:
    assert preprocessing_of(open_artifact(converted("mlprogram-fp32").path)) == PREPROCESSING


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_a_foreign_file_gets_imagenets_habit_at_its_own_size(route: str) -> None:
    known = converted(route)
    foreign = Artifact(known.path, known.format, known.precision)

    # 224 of 256 pixels: 32 are cropped out of 36.57.
    assert preprocessing_of(foreign) == Preprocessing((32, 32), resize=37)


# Files that somebody else made


def onnx_model(path: Path, shape: list[int], note: str | None = None) -> Path:
    """Write a model that answers the mean of each channel, in an array of a shape."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "shape"], ["classLabelProbs"]),
        ],
        "means",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("classLabelProbs", TensorProto.FLOAT, shape)],
        [helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if note:
        helper.set_model_props(model, {KEY: note})
    onnx.save(model, str(path))
    return path


@pytest.fixture
def red(tmp_path: Path) -> str:
    Image.new("RGB", (4, 4), (200, 100, 50)).save(tmp_path / "red.png")
    return str(tmp_path / "red.png")


@pytest.mark.parametrize("shape", [[1, 3], [1, 1, 3], [1, 3, 1, 1]])
def test_classes_without_labels_are_numbered(shape: list[int], tmp_path: Path, red: str) -> None:
    (found,) = predict_top(onnx_model(tmp_path / "means.onnx", shape), [red])

    assert found.top == (("class 0", 200.0), ("class 1", 100.0), ("class 2", 50.0))
    assert found.remarks[0] == "the file has no labels: classes are indices of its output, from 0"


def test_labels_that_do_not_fit_the_outputs_are_not_used(tmp_path: Path, red: str) -> None:
    note = Provenance("net", "onnx", "", labels=LABELS).to_json()

    (found,) = predict_top(onnx_model(tmp_path / "means.onnx", [1, 3], note), [red])

    assert found.top[0] == ("class 0", 200.0)
    assert found.remarks[0] == "the file has 8 labels for 3 numbers: classes are indices, from 0"


# Numbers that are no probabilities


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([0.25, 0.75], ""),
        ([1.0, 0.0], ""),
        ([0.3335, 0.3333, 0.3333], ""),
        ([-28.5, -50.9], "the smallest is -50.9 and their sum is -79.4"),
        ([1.5, -0.5], "the smallest is -0.5"),
        ([0.9, 0.8], "their sum is 1.7"),
        ([0.0, 0.0], "their sum is 0"),
        ([float("nan"), 0.5, float("inf")], "2 of 3 numbers are not finite"),
    ],
)
def test_why_numbers_are_no_probabilities(row: list[float], told: str) -> None:
    assert why_no_probabilities(np.array(row, np.float32)) == told


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([0.9, 0.8], ""),
        ([0.0, 0.0], ""),
        ([4.5, -2.5], "the smallest is -2.5 and the largest is 4.5"),
        ([99.0, 3.0], "the largest is 99"),
    ],
)
def test_labels_apart_need_not_sum_to_one(row: list[float], told: str) -> None:
    assert why_no_probabilities(np.array(row, np.float32), apart=True) == told


@pytest.mark.parametrize(
    ("end", "output", "apart", "doubt"),
    [
        ("Sigmoid", "scores", True, ""),
        ("Softmax", "scores", False, ""),
        ("Softmax", "labelProbs", True, ""),
        ("Identity", "labelProbs", True, "the largest is 200"),
        ("Identity", "scores", False, "their sum is 350"),
    ],
)
def test_that_labels_are_judged_apart_is_told_by_the_end_or_by_the_name(
    end: str, output: str, apart: bool, doubt: str, tmp_path: Path, red: str
) -> None:
    model = onnx.load(onnx_model(tmp_path / "means.onnx", [1, 3]))
    model.graph.node.append(helper.make_node(end, ["classLabelProbs"], [output]))
    model.graph.output[0].name = output
    onnx.save(model, tmp_path / "means.onnx")

    (found,) = predict_top(tmp_path / "means.onnx", [red])

    assert (found.apart, found.no_probabilities) == (apart, doubt)
    assert doubt == "" or ("its sigmoid" if apart else "its softmax") in found.remarks[1]


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(2, 1200), elements=st.floats(-30, 30)), st.sampled_from([np.float16, np.float32])
)
def test_a_softmax_is_probabilities_in_either_precision_and_its_logits_are_not(
    logits: np.ndarray, dtype: type[np.floating[Any]]
) -> None:
    powers = np.exp(logits - logits.max())

    assert why_no_probabilities((powers / powers.sum()).astype(dtype)) == ""
    assert why_no_probabilities(np.append(logits, -0.5)) != ""


def test_the_numbers_of_a_file_from_elsewhere_come_with_what_they_are(tmp_path: Path, red: str) -> None:
    (found,) = predict_top(onnx_model(tmp_path / "means.onnx", [1, 3]), [red])

    assert found.no_probabilities == "their sum is 350"
    assert found.remarks[1].startswith("the numbers are no probabilities: they are the file's output as it is")
    assert found.remarks[2] == (
        "the pixels went in as float32 0..255, red, green, blue; the file declares `image` as an array of float; "
        "it normalises them itself, or nobody does"
    )
    # 4 pixels are cropped of 4 * 256 / 224 = 4.57.
    assert "the shorter side was resized to 5, and 4x4 cropped from the centre" in found.remarks[3]


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_of_what_was_converted_here_nothing_has_to_be_said(route: str, photos: Path) -> None:
    found = list(predict_top(converted(route).path, [str(photos)]))

    assert {(answer.no_probabilities, answer.remarks) for answer in found} == {("", ())}


def test_an_array_of_a_core_ml_file_says_its_type(tmp_path: Path) -> None:
    # An open batch cannot be an image.
    assert fed_pixels(convert(tiny(), "mlprogram-fp32", tmp_path, dynamic="batch", bounds=(1, 8))) == (
        "as float32 0..255, red, green, blue; the file declares `image` as an array of float32"
    )


def test_a_core_ml_file_says_that_its_pixels_are_an_image() -> None:
    assert fed_pixels(converted("mlprogram-fp32")) == (
        "as an 8-bit image, uint8 0..255; the file declares `image` as an image, RGB"
    )


# What cannot be predicted


def test_a_backend_of_no_name_is_refused_and_not_chosen_for_one(photos: Path) -> None:
    path = converted("onnx-torchscript").path

    with pytest.raises(ParityError, match="unknown backend"):
        list(predict_top(path, [str(photos)], backend=""))


def test_a_backend_for_another_format_is_refused(photos: Path) -> None:
    path = converted("onnx-torchscript").path

    with pytest.raises(ParityError, match=r"coreml-evaluator does not run onnx; use onnxruntime or onnx-reference"):
        list(predict_top(path, [str(photos)], backend="coreml-evaluator"))


def test_an_unknown_backend_is_told_with_the_nearest(photos: Path) -> None:
    with pytest.raises(ParityError, match=r"unknown backend `onnxruntim`; did you mean onnxruntime\?"):
        list(predict_top(converted("onnx-torchscript").path, [str(photos)], backend="onnxruntim"))


def test_a_backend_that_cannot_run_here_says_why(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")

    with pytest.raises(ParityError, match=r"coreml-native cannot run here: .* part of macOS"):
        list(predict_top(converted("mlprogram-fp32").path, [str(photos)], backend="coreml-native"))


def test_where_nothing_runs_the_doctor_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnx_reference"):
        monkeypatch.setattr(f"parity.backends.{name}.why_not", lambda: "not installed")

    with pytest.raises(ParityError, match=r"nothing here runs onnx; `parity doctor` says why"):
        list(predict_top(converted("onnx-torchscript").path, [str(photos)]))


def test_a_missing_artefact_is_named(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ConversionError, match=r"gone\.onnx: no such file"):
        list(predict_top(tmp_path / "gone.onnx", [str(photos)]))


def test_a_package_without_its_weights_is_refused(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "tiny.mlpackage"
    shutil.copytree(converted("mlprogram-fp32").path, path)
    shutil.rmtree(path / "Data" / "com.apple.CoreML" / "weights")

    with pytest.raises(ConversionError, match=r"tiny\.mlpackage: .*weights.* missing"):
        list(predict_top(path, [str(photos)]))


# Numbers that are no answer


def test_numbers_that_are_not_finite_are_no_answer(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = iter([np.full((1, 8), np.nan), np.eye(8)[:1], np.array([[np.inf, *np.zeros(7)]])])

    def load(artifact: Artifact, batch: int) -> Any:
        return lambda pixels: Prediction(next(answers).astype(np.float32), LABELS)

    monkeypatch.setattr("parity.backends.onnxruntime.load", load)
    path = converted("onnx-torchscript").path

    with pytest.raises(SystemExit) as stop:
        main(["predict", str(path), *(str(photos / f"picture{i}.png") for i in range(3)), "--top", "1"])

    out, err = capfd.readouterr()
    assert stop.value.code == 1
    assert out == "picture1.png  (onnxruntime)\n    1.0000  ant\n"
    assert err == (
        "parity: picture0.png on onnxruntime: no answer: 8 of 8 numbers are not finite\n"
        "parity: picture2.png on onnxruntime: no answer: 1 of 8 numbers are not finite\n"
    )
