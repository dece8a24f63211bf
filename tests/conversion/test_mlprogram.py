from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Classifier, ConversionError, Preprocessing, convert
from conversion.guards.quiet import import_coremltools
from tests.conversion.classifiers import LABELS, answers, expected, photos, tiny, tiny_encoder

both = pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
Converted = Callable[[str], Artifact]

# FeatureTypes.proto: ImageFeatureType.ColorSpace; MIL.proto: DataType
RGB = 20
FLOAT16, FLOAT32 = 10, 11


def specification(artifact: Artifact) -> Any:
    return import_coremltools().utils.load_spec(str(artifact.path))


@both
def test_the_image_goes_in_and_label_and_probabilities_come_out(route: str, converted: Converted) -> None:
    description = specification(converted(route)).description
    (image,) = description.input
    outputs = {feature.name: feature.type for feature in description.output}

    assert image.name == "image"
    assert image.type.WhichOneof("Type") == "imageType"
    assert image.type.imageType.colorSpace == RGB
    assert (image.type.imageType.height, image.type.imageType.width) == (32, 32)
    assert set(outputs) == {"classLabel", "classLabelProbs"}
    assert outputs["classLabel"].WhichOneof("Type") == "stringType"
    assert outputs["classLabelProbs"].dictionaryType.WhichOneof("KeyType") == "stringKeyType"
    assert description.predictedFeatureName == "classLabel"
    assert description.predictedProbabilitiesName == "classLabelProbs"


@both
def test_it_is_an_ml_program_of_the_declared_precision(route: str, converted: Converted) -> None:
    model = specification(converted(route))
    main = model.mlProgram.functions["main"]
    operations = main.block_specializations[main.opset].operations
    computed = {
        output.type.tensorType.dataType
        for operation in operations
        if operation.type in ("sub", "mul", "conv", "relu", "reduce_mean", "linear")
        for output in operation.outputs
    }

    assert computed == {FLOAT16 if route == "mlprogram" else FLOAT32}


@pytest.mark.parametrize(("route", "atol"), [("mlprogram", 5e-3), ("mlprogram-fp32", 5e-6)])
def test_normalisation_and_softmax_are_inside(route: str, atol: float, converted: Converted) -> None:
    np.testing.assert_allclose(
        answers(converted(route), photos(4)), expected(tiny(), photos(4)), rtol=0, atol=atol, strict=False
    )


def test_half_precision_rounds(converted: Converted) -> None:
    half, single = (answers(converted(route), photos(4)) for route in ("mlprogram", "mlprogram-fp32"))

    assert np.abs(half - single).max() > 1e-5


def test_height_and_width_keep_their_places(tmp_path: Path) -> None:
    steps = Preprocessing(size=(24, 40))
    classifier = tiny(preprocessing=steps)

    artifact = convert(classifier, "mlprogram-fp32", tmp_path)

    image = specification(artifact).description.input[0].type.imageType
    assert (image.height, image.width) == (24, 40)
    pixels = photos(2, (24, 40))
    np.testing.assert_allclose(answers(artifact, pixels), expected(classifier, pixels), rtol=0, atol=5e-6)


def test_a_transformer_converts(tmp_path: Path) -> None:
    classifier = tiny_encoder()

    artifact = convert(classifier, "mlprogram-fp32", tmp_path)

    np.testing.assert_allclose(answers(artifact, photos(3)), expected(classifier, photos(3)), rtol=0, atol=5e-6)


class Spelled(torch.nn.Module):
    """Put what a function answers before the tiny net."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.net = tiny().module
        self.function = function

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(self.function(image))


def without_red(image: torch.Tensor) -> torch.Tensor:
    copy = image.clone()
    copy[:, :1].zero_()
    return copy


@pytest.mark.parametrize(
    "function",
    [
        without_red,
        lambda image: torch.swapaxes(image, 2, 3),
        lambda image: torch.swapaxes(image, axis0=2, axis1=3),
        lambda image: image.swapaxes(2, 3),
        lambda image: image.swapdims(2, 3),
    ],
    ids=["zero_ of a slice", "swapaxes", "swapaxes by keyword", "swapaxes as method", "swapdims as method"],
)
def test_functions_that_coremltools_does_not_know_convert_under_another_name(
    function: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    classifier = tiny(module=Spelled(function).eval())

    artifact = convert(classifier, "mlprogram-fp32", tmp_path)

    np.testing.assert_allclose(answers(artifact, photos(2)), expected(classifier, photos(2)), rtol=0, atol=5e-6)


class Watch(torch.nn.Module):
    """Note at each call whether the fast path is on, and fail when told to."""

    def __init__(self, fails_when_traced: bool = False) -> None:
        super().__init__()
        self.net = tiny().module
        self.fails_when_traced = fails_when_traced
        self.seen: list[bool] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            self.seen.append(torch.backends.mha.get_fastpath_enabled())
            if self.fails_when_traced:
                raise RuntimeError("cannot be traced")
        return self.net(image)


@pytest.mark.parametrize("fails", [False, True])
def test_the_fast_path_is_off_for_the_trace_alone(fails: bool, tmp_path: Path) -> None:
    module = Watch(fails_when_traced=fails).eval()
    classifier = Classifier("watch", module, Preprocessing(size=(32, 32)), LABELS)

    if fails:
        with pytest.raises(ConversionError, match="RuntimeError: cannot be traced"):
            convert(classifier, "mlprogram", tmp_path)
    else:
        convert(classifier, "mlprogram", tmp_path)

    assert module.seen
    assert not any(module.seen)
    assert torch.backends.mha.get_fastpath_enabled()
