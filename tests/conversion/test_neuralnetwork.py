from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import pytest
import torch

from conversion import Artifact, Classifier, ConversionError, Preprocessing, convert
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.guards.torchvision_guard import torchvision
from conversion.neuralnetwork import onnx_coreml
from conversion.onnx import export_onnx_torchscript
from conversion.provenance import Provenance
from conversion.shapes import OpenAxes
from tests.conversion.classifiers import LABELS, answers, expected, photos, tiny

Converted = Callable[[str], Artifact]

RGB = 20  # FeatureTypes.proto: ImageFeatureType.ColorSpace
ALIASES = (
    "onnx.mapping",
    "coremltools.converters.nnssa",
    "coremltools.converters.nnssa.coreml",
    "coremltools.converters.nnssa.coreml.graph_pass",
    "coremltools.converters.nnssa.coreml.graph_pass.mlmodel_passes",
)


def specification(artifact: Artifact) -> Any:
    return import_coremltools().utils.load_spec(str(artifact.path))


def test_the_image_goes_in_and_label_and_probabilities_come_out(converted: Converted) -> None:
    model = specification(converted("onnx-coreml"))
    (image,) = model.description.input
    outputs = {feature.name: feature.type for feature in model.description.output}

    assert model.WhichOneof("Type") == "neuralNetworkClassifier"
    assert tuple(model.neuralNetworkClassifier.stringClassLabels.vector) == LABELS
    assert image.name == "image"
    assert image.type.WhichOneof("Type") == "imageType"
    assert image.type.imageType.colorSpace == RGB
    assert (image.type.imageType.height, image.type.imageType.width) == (32, 32)
    assert set(outputs) == {"classLabel", "classLabelProbs"}
    assert outputs["classLabel"].WhichOneof("Type") == "stringType"
    assert outputs["classLabelProbs"].dictionaryType.WhichOneof("KeyType") == "stringKeyType"
    assert model.description.predictedFeatureName == "classLabel"
    assert model.description.predictedProbabilitiesName == "classLabelProbs"


def test_normalisation_and_softmax_are_inside(converted: Converted) -> None:
    np.testing.assert_allclose(
        answers(converted("onnx-coreml"), photos(4)), expected(tiny(), photos(4)), rtol=0, atol=5e-6
    )


def test_the_onnx_file_that_it_went_through_stays_beside_it(converted: Converted) -> None:
    artifact = converted("onnx-coreml")
    assert artifact.intermediate == artifact.path.parent / "tiny.onnx"

    model = onnx.load(str(artifact.intermediate))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 9)]
    hop = Artifact(artifact.intermediate, "onnx", "fp32")
    np.testing.assert_allclose(answers(hop, photos(1)), expected(tiny(), photos(1)), rtol=0, atol=5e-6)


def test_height_and_width_keep_their_places(tmp_path: Path) -> None:
    classifier = tiny(preprocessing=Preprocessing(size=(24, 40)))

    artifact = convert(classifier, "onnx-coreml", tmp_path)

    image = specification(artifact).description.input[0].type.imageType
    assert (image.height, image.width) == (24, 40)
    pixels = photos(2, (24, 40))
    np.testing.assert_allclose(answers(artifact, pixels), expected(classifier, pixels), rtol=0, atol=5e-6)


def test_a_weight_that_two_layers_share_is_read(tmp_path: Path) -> None:
    """The exporter writes one initializer for both convolutions and hands it to the second by an Identity node."""
    classifier = tiny()
    block = classifier.module.features[3:]
    classifier.module.features.extend(copy.deepcopy(list(block)))

    artifact = convert(classifier, "onnx-coreml", tmp_path)

    assert "Identity" in {node.op_type for node in onnx.load(str(artifact.intermediate)).graph.node}
    np.testing.assert_allclose(answers(artifact, photos(2)), expected(classifier, photos(2)), rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("part", "channels"),
    [((..., slice(7, None)), 8), ((slice(None), slice(5, None)), 3)],
    ids=["width", "channels"],
)
def test_a_slice_to_the_end_of_an_axis_goes_to_its_end(part: Any, channels: int, tmp_path: Path) -> None:
    """onnx-coreml alone ends it where another axis ends: channels at the size of the batch."""

    class Sliced(torch.nn.Module):
        def __init__(self, features: Any) -> None:
            super().__init__()
            self.features = features
            self.head = torch.nn.Conv2d(channels, 8, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(image)[part]).mean(dim=(2, 3))

    classifier = tiny()
    torch.manual_seed(0)
    classifier = replace(classifier, module=Sliced(classifier.module.features).eval())

    artifact = convert(classifier, "onnx-coreml", tmp_path)

    np.testing.assert_allclose(answers(artifact, photos(2)), expected(classifier, photos(2)), rtol=0, atol=5e-6)


def recorded_source(path: Path) -> None:
    """Export mobilenet_v2 as the route does, and give it weights that no processor's rounding can change."""
    module = torchvision().models.mobilenet_v2(weights=None, width_mult=0.35, num_classes=10).eval()
    classifier = Classifier("mobilenet_v2", module, Preprocessing(size=(64, 64)), tuple(map(str, range(10))))
    with chatter_to():
        export_onnx_torchscript(classifier, path, Provenance("-", "-", "-"), OpenAxes(), opset=9, fixed=True)
        assert "Identity" in {node.op_type for node in onnx.load(str(path)).graph.node}
        model = onnxslim.slim(onnx.load(str(path)))
    # After onnxslim: it would make one of all weights of a shape, now that they are equal.
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            ramp = (np.arange(np.prod(tensor.dims)) % 251 - 125) / 128
            array = ramp.astype(np.float32).reshape(tensor.dims)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    del model.metadata_props[:]
    onnx.save(model, str(path))


def test_the_specification_is_the_one_of_2020(tmp_path: Path) -> None:
    """Compare with what the tool chain of 2020 makes of the same ONNX file, byte for byte.

    Recorded with Python 3.7, onnx-coreml 1.3, coremltools 3.4, onnx 1.6 and protobuf 3.20.3: the file that
    recorded_source writes (SHA-256 2eeed4ad1b73... with torch 2.13.0) went through onnx_coreml.convert with the
    options below. That coremltools also wrote its own version into the metadata; without the metadata the
    specification, serialised deterministically, had the digest below.
    """
    recorded_source(tmp_path / "mobilenet_v2.onnx")

    with chatter_to(), onnx_coreml() as converter:
        model = converter.convert(
            onnx.load(str(tmp_path / "mobilenet_v2.onnx")),
            mode="classifier",
            image_input_names=["image"],
            class_labels=[str(digit) for digit in range(10)],
            predicted_feature_name="classLabel",
        )
    spec = model.get_spec()
    spec.description.ClearField("metadata")

    digest = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
    assert digest == "2bb767314e149aabbc62ab1c6a1e7facf6cada3c869370879f9808d121b24f1f"


def test_the_aliases_are_gone_afterwards_and_a_second_import_works() -> None:
    import_coremltools()
    for _ in range(2):
        with chatter_to(), onnx_coreml() as converter:
            assert callable(converter.convert)
            assert all(name in sys.modules for name in ALIASES)
        assert not any(name in sys.modules for name in ALIASES)


def test_the_aliases_are_gone_after_a_failure() -> None:
    with pytest.raises(KeyboardInterrupt), chatter_to(), onnx_coreml():
        raise KeyboardInterrupt

    assert not any(name in sys.modules for name in ALIASES)


def test_a_module_that_stood_in_an_alias_place_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    original = type(sys)("onnx.mapping")
    monkeypatch.setitem(sys.modules, "onnx.mapping", original)

    with chatter_to(), onnx_coreml():
        assert sys.modules["onnx.mapping"] is not original

    assert sys.modules["onnx.mapping"] is original


def test_the_mapping_is_what_onnx_1_6_had() -> None:
    with chatter_to(), onnx_coreml():
        types = sys.modules["onnx.mapping"].TENSOR_TYPE_TO_NP_TYPE

    # From onnx 1.6, mapping.py: the types that existed then and have a numpy type.
    assert {number: types[number] for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15)} == {
        1: np.dtype("float32"),
        2: np.dtype("uint8"),
        3: np.dtype("int8"),
        4: np.dtype("uint16"),
        5: np.dtype("int16"),
        6: np.dtype("int32"),
        7: np.dtype("int64"),
        9: np.dtype("bool"),
        10: np.dtype("float16"),
        11: np.dtype("float64"),
        12: np.dtype("uint32"),
        13: np.dtype("uint64"),
        14: np.dtype("complex64"),
        15: np.dtype("complex128"),
    }


@pytest.mark.parametrize("package", ["onnx_coreml", "onnxslim"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ConversionError) as caught:
        convert(tiny(), "onnx-coreml", tmp_path)

    message = str(caught.value)
    assert "\n" not in message
    assert package in message
    assert "pip install 'coreml-parity[legacy]'" in message
    assert not any(name in sys.modules for name in ALIASES)


def test_what_opset_9_lacks_is_told_in_one_line_and_the_graph_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Unflatten(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.flatten(1)[:, :8].unflatten(1, (2, 4)).flatten(1)

    with pytest.raises(ConversionError) as caught:
        convert(tiny(module=Unflatten().eval()), "onnx-coreml", tmp_path)

    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("tiny, route onnx-coreml: the conversion failed with")
    assert "aten::unflatten" in message
    assert capfd.readouterr() == ("", "")
    (log,) = (tmp_path / "tiny").glob("*.log")
    assert str(log) in message
    assert "aten::unflatten" in log.read_text(encoding="utf-8")
