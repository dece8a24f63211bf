"""How many images the file takes at once, and of which size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from conversion import Artifact, convert
from parity.backends import find_backend
from parity.backends.reference import Reference, make_reference
from parity.diagnosis.search import explain
from parity.pipeline import check
from parity.suite.images import load_images
from tests.parity.diagnosis.faulty import (
    PHOTOS,
    _home,
    before_all,
    broken,
    causes,
    examined,
    explained,
    good,
    mixed,
    node,
    reference,
)
from tests.parity.tiny import pictures, tiny


@cache
def of_any(kind: str, route: str = "onnx-torchscript") -> Artifact:
    return convert(mixed(), route, _home(), dynamic=kind)  # type: ignore[arg-type]


def at(side: int) -> Reference:
    """Let PyTorch answer for photos of another size than its own, 48."""
    preprocessing = replace(mixed().preprocessing, size=(side, side), resize=(side, side))
    return make_reference(mixed(), load_images([str(PHOTOS / "*.jpg")], preprocessing))


def fix_batch(model: Any) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def view_as_one(model: Any) -> None:
    flatten = node(model, "Flatten")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "shape"))
    view = helper.make_node("Reshape", [flatten.input[0], "shape"], list(flatten.output), "/view")
    model.graph.node.insert(list(model.graph.node).index(flatten), view)
    model.graph.node.remove(flatten)


def resize(model: Any) -> None:
    empty, sizes = np.zeros(0, np.float32), np.array([1, 3, 48, 48])
    before_all(model, "Resize", [empty, empty, sizes], mode="linear")


def test_a_batch_axis_that_is_fixed_is_told_by_the_input() -> None:
    (subject,) = check(
        tiny(), broken(good("onnx-torchscript", tiny), fix_batch), pictures(), backends=["onnxruntime"], batch=2
    ).subjects

    (cause,) = subject.diagnoses
    assert (subject.verdict, cause.fault, cause.confirmed) == ("error", "i-dynamic-axis-name", True)
    assert "Batch axis is fixed at 1: dynamic_axes names no existing input (it is called `image`)" in cause.message
    assert cause.fix == 'torch.onnx.export(..., dynamic_axes={"image": {0: "batch"}})'
    assert cause.evidence == "given 1 at once, the images agree"


def test_an_image_of_core_ml_comes_alone() -> None:
    (subject,) = check(
        tiny(), good("mlprogram-fp32", tiny), pictures(), backends=["coreml-evaluator"], batch=2
    ).subjects

    assert [d.fault for d in subject.diagnoses if d.confirmed] == ["s-batch-baked"]
    assert "takes 1 image(s) at once, not 2" in subject.diagnoses[0].message


def test_a_reshape_that_holds_the_batch_is_named_and_freed() -> None:
    opened = convert(tiny(), "onnx-torchscript", _home(), dynamic="batch")

    explanation = explain(examined(broken(opened, view_as_one), reference(tiny), batch=2))

    assert causes(explanation) == ["s-batch-baked"]
    assert "Reshape `/view` has the batch size 1 as a constant: batch 2 fails" in explanation.diagnoses[0].message
    assert explanation.diagnoses[0].fix == "x.flatten(1), or x.view(x.shape[0], ...)"


def test_where_a_batch_fails_the_runtimes_word_is_passed_on() -> None:
    def with_token(model: Any) -> None:
        # As a class token that was expanded for the example: one row, whatever the batch.
        flatten = node(model, "Flatten")
        flatten.output[0] = "pooled"
        for name, array in (
            ("token", np.zeros((1, 4), np.float32)),
            ("four", np.array([4])),
            ("end", np.array([999])),
        ):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
        steps = [
            helper.make_node("Concat", ["token", "pooled"], ["joined"], "/join", axis=1),
            helper.make_node("Slice", ["joined", "four", "end", "one"], [node(model, "Gemm").input[0]]),
        ]
        for number, step in enumerate(steps, list(model.graph.node).index(flatten) + 1):
            model.graph.node.insert(number, step)

    opened = convert(tiny(), "onnx-torchscript", _home(), dynamic="batch")

    explanation = explain(examined(broken(opened, with_token), reference(tiny), batch=2))

    assert causes(explanation) == ["s-batch-baked"]
    assert "Images alone agree, but a batch of 2 fails at Concat `/join`" in explanation.diagnoses[0].message


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_a_file_of_another_size_than_the_classifiers(route: str) -> None:
    smaller = replace(mixed(), preprocessing=replace(mixed().preprocessing, size=(40, 40)))

    explanation = explain(examined(convert(smaller, route, _home()), reference()))

    assert causes(explanation) == ["i-input-size"]
    assert "takes images of 40x40 (height x width), the classifier's are 48x48" in explanation.diagnoses[0].message


def test_a_size_that_holds_at_the_default_alone() -> None:
    explanation = explained(broken(of_any("size"), resize), at(64))

    assert causes(explanation)[0] == "s-flexible-shape"
    message = explanation.diagnoses[0].message
    assert message.startswith("Parity holds at 48x48 only; at 64x64 max |dp| = ")
    assert "does not hold at 24x24, 96x96 either" in message


@pytest.mark.parametrize(("kind", "size", "batch"), [("size", 64, 1), ("batch", 48, 3)])
def test_open_axes_that_are_right_are_quiet(kind: str, size: int, batch: int) -> None:
    side: Callable[[], Reference] = (lambda: at(size)) if size != 48 else reference

    assert examined(of_any(kind), side(), batch=batch).candidate.judgement.verdict == "pass"


def test_a_size_that_pytorch_does_not_take_either_is_told_without_a_repair() -> None:
    def declare(model: Any) -> None:
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 8

    explanation = explain(examined(broken(good("onnx-torchscript", tiny), declare), reference(tiny)))

    assert [(d.fault, d.confirmed) for d in explanation.diagnoses] == [("i-input-size", False)]


def channels_last(model: Any) -> None:
    before_all(model, "Transpose", [], perm=[0, 3, 1, 2])
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:], (32, 32, 3), strict=True):
        dim.dim_value = size


def of_bytes(model: Any) -> None:
    before_all(model, "Cast", [], to=TensorProto.FLOAT)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def of_halves(model: Any) -> None:
    before_all(model, "Cast", [], to=TensorProto.FLOAT)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def grey(specification: Any) -> None:
    specification.description.input[0].type.imageType.colorSpace = 10  # FeatureTypes.proto: GRAYSCALE


@pytest.mark.parametrize("change", [channels_last, of_bytes, of_halves])
def test_other_arrays_of_pixels_are_fed_as_they_are_declared(change: Callable[[Any], None]) -> None:
    artifact = broken(good("onnx-torchscript", tiny), change)
    prediction = find_backend("onnxruntime").load(artifact)(reference(tiny).images.pixels)

    expected = reference(tiny).prediction.probabilities
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)


def test_a_layout_that_is_stated_wrongly_is_named() -> None:
    artifact = broken(good("onnx-torchscript", tiny), channels_last)
    stated = replace(artifact, contract=replace(artifact.contract, layout="NCHW"))
    explanation = explain(examined(stated, reference(tiny)))

    assert causes(explanation)[:1] == ["i-input-layout"]


@pytest.mark.parametrize(
    ("route", "change", "fault", "message"),
    [
        ("mlprogram-fp32", grey, "pre-colour-mode", "a grey image, of one channel"),
    ],
)
def test_an_input_that_is_another_kind_of_image(
    route: str, change: Callable[[Any], None], fault: str, message: str
) -> None:
    examination = examined(broken(good(route, tiny), change), reference(tiny))

    explanation = explain(examination)

    assert examination.candidate.prediction is None
    assert causes(explanation) == [fault]
    assert message in explanation.diagnoses[0].message
