"""How many images the file takes at once, and of which size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from conversion import Artifact, convert
from parity.diagnosis.explain import explain
from parity.images import load_images
from parity.pipeline import check
from parity.reference import Reference, make_reference
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
    assert cause.fix == 'dynamic_axes={"image": {0: "batch"}}'


def test_an_image_of_core_ml_comes_alone() -> None:
    (subject,) = check(
        tiny(), good("mlprogram-fp32", tiny), pictures(), backends=["coreml-evaluator"], batch=2
    ).subjects

    assert [d.fault for d in subject.diagnoses if d.confirmed] == ["s-batch-baked"]
    assert "takes 1 image(s) at once, not 2" in subject.diagnoses[0].message


def test_a_reshape_that_holds_the_batch_is_named_and_freed() -> None:
    opened = convert(tiny(), "onnx-torchscript", _home(), dynamic="batch")

    found = explain(examined(broken(opened, view_as_one), reference(tiny), batch=2))

    assert causes(found) == ["s-batch-baked"]
    assert "Reshape `/view` has the batch size 1 as a constant: batch 2 fails" in found.diagnoses[0].message
    assert found.diagnoses[0].fix == "x.flatten(1), or x.view(x.shape[0], ...)"


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram-fp32"])
def test_a_file_of_another_size_than_the_classifiers(route: str) -> None:
    smaller = replace(mixed(), preprocessing=replace(mixed().preprocessing, size=(40, 40)))

    found = explain(examined(convert(smaller, route, _home()), reference()))

    assert causes(found) == ["i-input-size"]
    assert "takes images of 40x40 (height x width), the classifier's are 48x48" in found.diagnoses[0].message


def test_a_size_that_holds_at_the_default_alone() -> None:
    found = explained(broken(of_any("size"), resize), at(64))

    assert causes(found)[0] == "s-flexible-shape"
    message = found.diagnoses[0].message
    assert message.startswith("Parity holds at 48x48 only; at 64x64 max |dp| = ")
    assert "does not hold at 24x24, 96x96 either" in message


@pytest.mark.parametrize(("kind", "given", "batch"), [("size", 64, 1), ("batch", 48, 3)])
def test_open_axes_that_are_right_are_quiet(kind: str, given: int, batch: int) -> None:
    side: Callable[[], Reference] = (lambda: at(given)) if given != 48 else reference

    assert examined(of_any(kind), side(), batch=batch).given.verdict == "pass"
