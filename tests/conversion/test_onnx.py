from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from conversion import Artifact, ConversionError, convert
from conversion import onnx as onnx_export
from conversion.guards.quiet import chatter_to
from conversion.onnx import export_onnx_torchscript
from conversion.provenance import Provenance
from conversion.shapes import OpenAxes
from tests.conversion.classifiers import answers, expected, photos, tiny, tiny_encoder

both = pytest.mark.parametrize("route", ["onnx", "onnx-torchscript"])
Converted = Callable[[str], Artifact]


def shape(value: Any) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@both
def test_names_types_and_shapes(route: str, converted: Converted) -> None:
    model = onnx.load(str(converted(route).path))
    onnx.checker.check_model(model, full_check=True)
    (image,), (probabilities,) = model.graph.input, model.graph.output

    assert (image.name, probabilities.name) == ("image", "classLabelProbs")
    assert image.type.tensor_type.elem_type == probabilities.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert shape(image) == ["batch", 3, 32, 32]
    assert shape(probabilities) == ["batch", 8]


@both
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_batch_axis_is_dynamic_and_normalisation_and_softmax_are_inside(
    route: str, count: int, converted: Converted
) -> None:
    pixels = photos(count)

    np.testing.assert_allclose(
        answers(converted(route), pixels), expected(tiny(), pixels), rtol=0, atol=5e-6, strict=False
    )


@both
def test_weights_are_inside_the_file(route: str, converted: Converted, tmp_path: Path) -> None:
    path = converted(route).path
    alone = tmp_path / "elsewhere.onnx"
    alone.write_bytes(path.read_bytes())

    inside = ["convert.log", "digests.json", "probe.json", "tiny.onnx"]
    assert sorted(file.name for file in path.parent.iterdir()) == inside
    np.testing.assert_allclose(
        answers(dataclasses.replace(converted(route), path=alone), photos(2)),
        expected(tiny(), photos(2)),
        atol=5e-6,
    )


@both
def test_another_size_is_refused_by_the_runtime(route: str, converted: Converted) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="dimensions"):
        answers(converted(route), photos(1, (32, 40)))


@both
def test_weights_that_no_file_holds_are_refused_before_they_are_written(
    route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 500)

    with pytest.raises(
        ConversionError, match=r"^tiny: its weights take 0\.0 GB, .* at most 0\.0 GB; take mlprogram, "
    ):
        convert(tiny(), route, tmp_path)
    assert not list(tmp_path.rglob("*.onnx"))


@both
def test_a_transformer_converts(route: str, tmp_path: Path) -> None:
    classifier = tiny_encoder()

    artifact = convert(classifier, route, tmp_path)

    np.testing.assert_allclose(answers(artifact, photos(3)), expected(classifier, photos(3)), rtol=0, atol=5e-6)


@pytest.mark.parametrize("opset", [9, 13])
def test_torchscript_with_a_fixed_batch_and_another_opset(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    with chatter_to():
        export_onnx_torchscript(tiny(), path, Provenance("tiny", "-", "-"), OpenAxes(), opset=opset, fixed=True)
    model = onnx.load(str(path))

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert shape(model.graph.input[0]) == [1, 3, 32, 32]
    np.testing.assert_allclose(
        answers(Artifact(path, "onnx", "fp32"), photos(1)), expected(tiny(), photos(1)), rtol=0, atol=5e-6
    )
