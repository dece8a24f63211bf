"""Files that agree and are no classifier to Vision, or answer in a shape that no app expects: a remark on each."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from conversion import Artifact, convert
from conversion.artifact import open_artifact
from conversion.deployed import deployed_module, example_pixels
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.neuralnetwork import onnx_to_neuralnetwork
from parity.artifacts.causes import look_into
from parity.backends.outputs import shape_told
from parity.backends.vision import vision_told
from parity.core.results import Run, to_json
from parity.pipeline import check
from parity.report.html import to_html
from parity.report.markdown import to_markdown
from parity.report.terminal import make_console, print_run
from tests.parity.diagnosis.faulty import _home, good
from tests.parity.tiny import pictures, tiny

NO_LABELS = "to Vision this file is no classifier: it has no class labels; for an app pass "
NEITHER = (
    "to Vision this file is no classifier: its input is an array, not an image, and it has no class labels; for an "
    "app pass "
)
ARRAY = "to Vision this file is no classifier: its input is an array, not an image; for an app pass "
LABELS = list(tiny().labels)


@cache
def by_coremltools(image: bool, labels: bool, spread: bool = False) -> Artifact:
    """Convert as somebody would who forgot a part; spread: the classes have two axes of one behind them."""
    ct = import_coremltools()
    module = deployed_module(tiny())
    if spread:
        module = torch.nn.Sequential(module, torch.nn.Unflatten(1, (8, 1, 1))).eval()
    shape = tuple(example_pixels(tiny()).shape)
    path = _home() / f"{image}-{labels}-{spread}.mlpackage"
    with chatter_to(_home() / "log"):
        ct.convert(
            torch.jit.trace(module, example_pixels(tiny())),
            inputs=[(ct.ImageType if image else ct.TensorType)(name="image", shape=shape)],
            outputs=None if labels else [ct.TensorType(name="classLabelProbs")],
            classifier_config=ct.ClassifierConfig(LABELS) if labels else None,
            compute_precision=ct.precision.FLOAT32,
            convert_to="mlprogram",
            skip_model_load=True,
        ).save(str(path))
    return open_artifact(path)


def by_onnx_coreml(name: str, **options: Any) -> Artifact:
    intermediate = good("onnx-coreml", tiny).intermediate
    assert intermediate is not None
    path = _home() / f"{name}.mlmodel"
    with chatter_to(_home() / "log"):
        specification = onnx_to_neuralnetwork(intermediate, **options).get_spec()
    import_coremltools().utils.save_spec(specification, str(path))
    return open_artifact(path)


def checked(artifact: Artifact) -> Run:
    backend = "onnxruntime" if artifact.format == "onnx" else "coreml-evaluator"
    return check(tiny(), artifact, pictures(), backends=[backend])


@pytest.mark.parametrize(
    ("image", "labels", "told"),
    [
        (
            *(False, False),
            NEITHER + 'ct.convert(..., inputs=[ct.ImageType(name="image", shape=...)], '
            "classifier_config=ct.ClassifierConfig(labels))",
        ),
        (True, False, NO_LABELS + "ct.convert(..., classifier_config=ct.ClassifierConfig(labels))"),
        (False, True, ARRAY + 'ct.convert(..., inputs=[ct.ImageType(name="image", shape=...)])'),
        (True, True, ""),
    ],
)
def test_a_program_says_what_it_lacks_for_vision(image: bool, labels: bool, told: str) -> None:
    (subject,) = checked(by_coremltools(image, labels)).subjects

    assert (subject.verdict, subject.remarks) == ("pass", (told,) if told else ())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {},
            NEITHER
            + 'onnx_coreml.convert(..., mode="classifier", class_labels=labels, image_input_names=["image"])',
        ),
        (
            {"image_input_names": ["image"]},
            NO_LABELS + 'onnx_coreml.convert(..., mode="classifier", class_labels=labels)',
        ),
        (
            {"mode": "classifier", "class_labels": LABELS},
            ARRAY + 'onnx_coreml.convert(..., image_input_names=["image"])',
        ),
        ({"mode": "classifier", "class_labels": LABELS, "image_input_names": ["image"]}, ""),
    ],
)
def test_a_network_says_what_it_lacks_for_vision(options: dict[str, Any], told: str) -> None:
    (subject,) = checked(by_onnx_coreml(f"network-{len(options)}-{'mode' in options}", **options)).subjects

    assert (subject.verdict, subject.remarks) == ("pass", (told,) if told else ())


def test_an_open_batch_is_named_as_the_reason(tmp_path: Path) -> None:
    (subject,) = checked(convert(tiny(), "mlprogram-fp32", tmp_path, dynamic="batch")).subjects

    assert subject.verdict == "pass"
    (remark,) = subject.remarks
    assert (
        "and it has no class labels, for its batch is open; for an app convert it for one image at a time" in remark
    )


@pytest.mark.parametrize("route", ["onnx", "onnx-torchscript", "mlprogram", "mlprogram-fp32", "onnx-coreml"])
def test_what_our_routes_convert_has_no_remark(route: str) -> None:
    (subject,) = checked(good(route, tiny)).subjects

    assert (subject.verdict, subject.remarks) == ("pass", ())


def test_a_damaged_file_is_left_to_the_backends(tmp_path: Path) -> None:
    path = tmp_path / "torn.mlmodel"
    path.write_bytes(good("onnx-coreml", tiny).path.read_bytes()[:100])

    assert vision_told(Artifact(path, "neuralnetwork", "fp32", "-", None)) == ""


def spread_onnx() -> Artifact:
    module = torch.nn.Sequential(deployed_module(tiny()), torch.nn.Unflatten(1, (8, 1, 1))).eval()
    path = _home() / "spread.onnx"
    with chatter_to(_home() / "log"):
        torch.onnx.export(
            module,
            (example_pixels(tiny()),),
            str(path),
            input_names=["image"],
            output_names=["classLabelProbs"],
            opset_version=17,
            dynamo=False,
        )
    return open_artifact(path)


SPREAD = "the output has the shape [1, 8, 1, 1], and is read as [1, 8]"


@pytest.mark.parametrize("make", [spread_onnx, lambda: by_coremltools(True, False, True)])
def test_axes_of_one_behind_the_classes_are_told(make: Any) -> None:
    (subject,) = checked(make()).subjects

    assert subject.verdict == "pass"
    assert subject.remarks[-1].startswith(SPREAD)
    assert subject.remarks[-1].endswith("must drop the axes of one; let the model end with flatten(1)")


@pytest.mark.parametrize("shape", [(), (8,), (2, 8), (1, 1), (1, 8, 7, 7)])
def test_a_shape_that_apps_expect_or_that_no_backend_reads_has_no_remark(shape: tuple[int, ...]) -> None:
    assert shape_told(good("onnx", tiny), shape) == ""


@pytest.mark.parametrize("shape", [(3, 8, 1, 1), (3, 1, 8), (3, 1, 1, 8)])
def test_axes_of_one_anywhere_are_told(shape: tuple[int, ...]) -> None:
    assert f"has the shape {list(shape)}, and is read as [3, 8]" in shape_told(good("onnx", tiny), shape)


def test_every_report_has_the_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    run = checked(by_coremltools(False, False, True))
    print_run(run, make_console())

    texts = (capsys.readouterr().out, to_html(run), to_markdown(run), to_json(run))

    for text in texts:
        assert "to Vision this file is no classifier" in text
        assert "the output has the shape" in text
    assert len(json.loads(to_json(run))["subjects"][0]["remarks"]) == 2
    explained = look_into(tiny(), by_coremltools(False, False, True), pictures(), "coreml-evaluator").run
    assert len(explained.subjects[0].remarks) == 2
