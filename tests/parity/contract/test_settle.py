"""A right conversion under another contract passes with a remark; a file that contradicts itself fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import ImageEnhance

from conversion import ConversionError, open_artifact
from conversion.contract import ASSUMED, Contract, state
from parity import check
from parity.core.results import Subject
from tests.conversion.needs import needs_coreai
from tests.parity.foreign import NAMES, core_ai, export, normalise, program, softmax
from tests.parity.tiny import pictures, tiny

Make = Callable[[Path], Path]


def last(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 3, 1, 2)


def bytes_to_unit(image: torch.Tensor) -> torch.Tensor:
    return normalise(last(image).float() / 255)


def judged(path: Path, contract: Contract = ASSUMED, **options: Any) -> Subject:
    run = check(tiny(), path, pictures(), contract=contract, explain=False, **options)
    (subject, *_) = (s for s in run.subjects if s.verdict != "skipped")
    return subject


NHWC = torch.rand(1, 32, 32, 3)
BYTES = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)

# What somebody ships -> how it is made, and what the app must do.
SHIPPED: Mapping[str, tuple[Make, str]] = {
    "a bare module": (lambda p: export(p / "m.onnx"), "x/255, (x - mean)/std"),
    "softmax inside": (lambda p: export(p / "m.onnx", None, softmax), "x/255, (x - mean)/std"),
    "pixels 0..1": (lambda p: export(p / "m.onnx", normalise, softmax), "x/255, RGB"),
    "pixels -1..1": (lambda p: export(p / "m.onnx", lambda x: normalise((x + 1) / 2)), "x/127.5 - 1, RGB; softmax"),
    "channels last": (lambda p: export(p / "m.onnx", last, example=NHWC), "RGB, NHWC; softmax"),
    "bytes": (lambda p: export(p / "m.onnx", bytes_to_unit, softmax, BYTES), "pixels 0..255, RGB, NHWC"),
    "half precision": (lambda p: export(p / "m.onnx", half=True), "x/255, (x - mean)/std"),
    "four at once": (lambda p: export(p / "m.onnx", example=torch.rand(4, 3, 32, 32)), "it takes 4 images at once"),
    "a program of arrays": (lambda p: program(p / "m.mlpackage"), "x/255, (x - mean)/std"),
    "Core AI": (lambda p: core_ai(p / "m.aimodel"), "x/255, (x - mean)/std"),
    "an image without softmax": (
        lambda p: program(p / "m.mlpackage", lambda x: normalise(x / 255), image=True),
        "pixels 0..255, RGB; softmax",
    ),
    "an array without a batch": (
        lambda p: program(
            p / "m.mlpackage",
            lambda x: x[None],
            example=torch.rand(3, 32, 32),
        ),
        "x/255, (x - mean)/std",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_coreai) if name == "Core AI" else name for name in SHIPPED]
)
def test_what_the_app_must_do_is_measured_and_told(name: str, tmp_path: Path) -> None:
    make, told = SHIPPED[name]
    path = make(tmp_path)
    subject = judged(path)

    assert (subject.verdict, subject.top1_agreement) == ("pass", 1.0), subject.reason
    assert told in "; ".join(subject.remarks)
    strict = judged(path, strict=True)
    assert strict.verdict == "inconclusive"


def test_of_many_images_some_are_measured(tmp_path: Path) -> None:
    darker = [
        ImageEnhance.Brightness(picture).enhance(1 - step / 10) for picture in pictures() for step in range(6)
    ]

    (subject,) = check(tiny(), export(tmp_path / "m.onnx"), darker, ["onnxruntime"], explain=False).subjects

    assert (subject.verdict, subject.images) == ("pass", 36), subject.reason
    assert "x/255, (x - mean)/std" in "; ".join(subject.remarks)


def test_nothing_is_guessed_of_what_is_stated(tmp_path: Path) -> None:
    bare = export(tmp_path / "m.onnx")

    assert judged(bare, state(["normalise", "softmax"])).verdict == "fail"
    assert judged(bare, state(["softmax"])).verdict == "fail"
    assert judged(bare, state([]), strict=True).verdict == "pass"
    assert "as is stated: x/255" in "; ".join(judged(bare, state([])).remarks)


@pytest.mark.parametrize(
    "make",
    [
        # An image is pixels 0..255, and there is no scale.
        lambda p: program(p / "m.mlpackage", None, softmax, image=True, labels=NAMES),
        lambda p: program(p / "m.mlpackage", normalise, softmax, image=True, labels=NAMES),
        # A classifier's dictionary is probabilities.
        lambda p: program(p / "m.mlpackage", lambda x: normalise(x / 255), image=True, labels=NAMES),
        # The classic recipe's names promise both, and so does an output of probabilities the one.
        lambda p: export(p / "m.onnx", None, softmax, names=("image", "classLabelProbs")),
        lambda p: export(p / "m.onnx", names=("input", "probabilities")),
        # No contract makes this right.
        lambda p: export(p / "m.onnx", lambda x: normalise(x.flip(1))),
    ],
)
def test_what_contradicts_itself_fails(make: Make, tmp_path: Path) -> None:
    assert judged(make(tmp_path)).verdict == "fail"


def exchanged(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, [3, 0, 1, 2, 4, 6, 5, 7]]


def with_other_weights(path: Path) -> Path:
    """Give a file the kernels of another checkpoint."""
    model = onnx.load(str(path))
    random = np.random.default_rng(5)
    for tensor in model.graph.initializer:
        numbers = (0.4 * random.standard_normal(tuple(tensor.dims))).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("make", "fault", "told"),
    [
        (lambda p: export(p / "m.onnx", lambda x: x.flip(1)), "pre-bgr-swap", "x/255, (x - mean)/std"),
        (lambda p: export(p / "m.onnx", None, exchanged), "lab-order-permuted", "x/255, (x - mean)/std"),
        (
            lambda p: export(p / "m.onnx", normalise, lambda x: softmax(exchanged(x)), names=("x", "probs")),
            "lab-order-permuted",
            "x/255, RGB",
        ),
        (lambda p: with_other_weights(export(p / "m.onnx")), "wt-not-loaded", "x/255, (x - mean)/std"),
    ],
    ids=["colours", "classes", "classes and a range", "weights"],
)
def test_a_fault_is_named_under_the_contract_that_comes_nearest(
    make: Make, fault: str, told: str, tmp_path: Path
) -> None:
    run = check(tiny(), make(tmp_path), pictures(), ["onnxruntime"])
    (subject,) = run.subjects

    assert subject.verdict == "fail"
    assert (subject.diagnoses[0].fault, subject.diagnoses[0].confirmed) == (fault, True)
    assert not [cause for cause in subject.diagnoses[1:] if not cause.fault.startswith("wt-")]
    remarks = "; ".join(subject.remarks)
    assert "as comes nearest on these images" in remarks
    assert told in remarks


def test_class_labels_may_be_whole_numbers(tmp_path: Path) -> None:
    path = program(
        tmp_path / "m.mlpackage", lambda x: normalise(x / 255), softmax, image=True, labels=list(range(len(NAMES)))
    )
    subject = judged(path, strict=True)

    assert subject.verdict == "pass"
    assert "taken for places in the list of classes" in "; ".join(subject.remarks)


def test_class_labels_that_are_other_numbers_are_no_places(tmp_path: Path) -> None:
    path = program(
        tmp_path / "m.mlpackage", lambda x: normalise(x / 255), softmax, image=True, labels=list(range(1, 9))
    )

    assert judged(path).verdict == "fail"


@pytest.mark.parametrize(
    ("make", "contract", "told"),
    [
        (
            lambda p: program(p / "m.mlpackage", None, softmax, image=True, labels=NAMES),
            state(["softmax", "labels"]),
            "`image` is declared an image, which is pixels 0..255",
        ),
        (lambda p: export(p / "m.onnx"), state(["labels"]), "`inside` names `labels`, and the file has none"),
    ],
)
def test_a_statement_that_the_file_contradicts_is_refused(
    make: Make, contract: Contract, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError) as raised:
        judged(make(tmp_path), contract)

    assert told in str(raised.value)


def test_names_that_are_not_there_are_told(tmp_path: Path) -> None:
    path = export(tmp_path / "m.onnx")

    assert "no input is called `picture`; this model takes input" in judged(path, state([], image="picture")).reason
    assert judged(path, state([], image="input", output="output")).verdict == "pass"
    assert open_artifact(path, state(output="output")).output == "output"


def test_a_layout_that_is_stated_goes_before_the_shape(tmp_path: Path) -> None:
    path = export(tmp_path / "m.onnx", last, example=NHWC)

    assert judged(path, state([], layout="NHWC")).verdict == "pass"
    assert judged(path, state([], layout="NCHW")).verdict == "error"


def both(logits: torch.Tensor) -> Any:
    return logits, softmax(logits)


def test_of_several_outputs_that_fit_none_is_guessed(tmp_path: Path) -> None:
    path = export(tmp_path / "m.onnx", None, both)
    inner, outer = (value.name for value in onnx.load(str(path)).graph.output)

    asked = judged(path)
    assert asked.verdict == "inconclusive"
    assert "say which is the answer: `output` in the suite file, --output of a command" in asked.reason
    assert judged(path, state([], output=inner)).verdict == "pass"
    assert judged(path, state(["softmax"], output=outer)).verdict == "pass"
    assert judged(path, state(output=outer)).verdict == "pass"
    assert judged(path, state(["softmax"], output=inner)).verdict == "fail"
