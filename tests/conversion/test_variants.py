"""Variants of our routes: what they refuse before anything is converted, and what they convert to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Classifier, ConversionError, Preprocessing, convert
from conversion.files.packages import read_specification
from conversion.recipe import Route
from conversion.variants import OPTIONS, bases, variant_route
from parity.coreml import Evaluator
from tests.conversion.classifiers import LABELS, answers, expected, photos, tiny

# FeatureTypes.proto: the versions of a specification; MIL.proto: DataType.
IOS16, IOS17, IOS18 = 7, 8, 9
FLOAT16, FLOAT32 = 10, 11

SETTINGS = """
config_type: OpPalettizerConfig
global_config: {mode: kmeans, nbits: 8, weight_threshold: 50}
op_type_configs: {conv: null}
"""


class Wide(torch.nn.Module):
    """One layer of more than 2048 weights, which coremltools compresses unless it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 32, 8, stride=8)
        self.linear = torch.nn.Linear(512, len(LABELS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.stem(image)).flatten(1))


class Spelt(torch.nn.Module):
    """Operations as torchvision's swin writes them, which coremltools has no word for."""

    def __init__(self, core: torch.nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        nothing: torch.Tensor = torch.ops.aten.zero(image)
        return self.core(torch.ops.aten.alias(image) + nothing)


def wide() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Wide().eval()
    return Classifier("wide", module, Preprocessing(size=(32, 32), resize=(32, 32)), LABELS)


def operations(artifact: Artifact) -> Iterator[Any]:
    main = read_specification(artifact.path).mlProgram.functions["main"]
    yield from main.block_specializations[main.opset].operations


def types(artifact: Artifact) -> set[str]:
    return {operation.type for operation in operations(artifact)}


def computed_in(artifact: Artifact, kind: str) -> set[int]:
    return {output.type.tensorType.dataType for o in operations(artifact) if o.type == kind for output in o.outputs}


# What is refused before anything is converted


@pytest.mark.parametrize(
    ("base", "options", "told"),
    [
        ("mlprogam", {}, "base: unknown route `mlprogam`; did you mean mlprogram? (routes: onnx, "),
        ("mlprogram", {"target": "iOS19"}, "target: unknown target `iOS19`; did you mean iOS18? (targets: iOS15, "),
        ("mlprogram", {"target": ""}, "target: unknown target ``"),
        ("mlprogram", {"frontend": "exprot"}, "frontend: unknown frontend `exprot`; did you mean export? ("),
        ("mlprogram", {"frontend": "script"}, "frontend: unknown frontend `script` (frontends: trace, export)"),
        ("mlprogram", {"weights": "int9"}, "weights: unknown compression `int9`; did you mean int8? "),
        ("mlprogram", {"weights": "no.yaml"}, "no.yaml: no such file"),
        (
            "mlprogram",
            {"weights": "int4"},
            'int4 is not possible without a target, but from iOS18 on (4-bit integers); give target = "iOS18"',
        ),
        (
            "mlprogram-fp32",
            {"weights": "int8-block32", "target": "macOS14"},
            "is not possible for macOS14, but from macOS15 on (weights by blocks or groups)",
        ),
        ("mlprogram", {"weights": "int8", "target": "iOS15"}, "not possible for iOS15, but from iOS16 on"),
        ("mlprogram", {"keep_fp32": ["softmax", " "]}, 'types or names of operations: keep_fp32 = ["softmax"]'),
        ("mlprogram", {"keep_fp32": "softmax"}, "keep_fp32: keep_fp32 is a list of types or names"),
        (
            "mlprogram-fp32",
            {"keep_fp32": ["softmax"]},
            "keep_fp32: the base mlprogram-fp32 does not have it, where all is in fp32 anyway; these have: "
            "mlprogram, mlprogram-export",
        ),
        (
            "onnx",
            {"target": "iOS17"},
            "target: the base onnx does not have it; these have: mlprogram, mlprogram-fp32, mlprogram-export",
        ),
        (
            "coreai",
            {"weights": "int8"},
            "weights: the base coreai does not have it; these have: mlprogram, mlprogram-fp32, mlprogram-export",
        ),
        (
            "coreai-fp16",
            {"keep_fp32": ["softmax"]},
            "keep_fp32: the base coreai-fp16 does not have it; these have: mlprogram, mlprogram-export",
        ),
        (
            "onnx-coreml",
            {"weights": "int8"},
            "weights: the base onnx-coreml does not have it; these have: mlprogram",
        ),
    ],
)
def test_what_is_wrong_with_a_variant_is_said_in_a_line(base: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConversionError) as refused:
        variant_route("small", base, **options)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_example_of_every_option_is_valid() -> None:
    import tomllib

    for name, option in OPTIONS.items():
        (value,) = tomllib.loads(option.example).values()
        assert variant_route("small", bases(name)[0], **{name: value}).options["base"] == bases(name)[0]


def test_the_options_are_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    route = variant_route("small", "mlprogram", "iOS17", "export", "settings.yaml", ["softmax"], tmp_path)

    assert (route.name, route.format, route.precision, route.suffix) == ("small", "mlprogram", "fp16", ".mlpackage")
    assert {name: value for name, value in route.options.items() if name != "settings"} == {
        "precision": "fp16",
        "base": "mlprogram",
        "frontend": "export",
        "target": "iOS17",
        "weights": "settings.yaml",
        "keep_fp32": '["softmax"]',
    }
    (tmp_path / "settings.yaml").write_text(f"{SETTINGS}# another\n", encoding="utf-8")
    again = variant_route("small", "mlprogram", "iOS17", "export", "settings.yaml", ["softmax"], tmp_path)
    assert again.options["settings"] != route.options["settings"]


def test_a_variant_without_options_is_its_base_by_another_name() -> None:
    route = variant_route("plain", "onnx")

    assert (route.name, route.suffix, route.options) == (
        "plain",
        ".onnx",
        {"exporter": "torch.export", "base": "onnx"},
    )


# What is converted


def test_all_options_at_once_with_an_open_batch(tmp_path: Path) -> None:
    route = variant_route("small", "mlprogram", "iOS18", "export", "int4-block32", ["softmax"])
    artifact = convert(wide(), route, tmp_path, dynamic="batch", bounds=(1, 4))

    assert read_specification(artifact.path).specificationVersion == IOS18
    assert "constexpr_blockwise_shift_scale" in types(artifact)
    assert computed_in(artifact, "softmax") == {FLOAT32}
    assert computed_in(artifact, "conv") == {FLOAT16}
    assert artifact.provenance is not None
    assert artifact.provenance.options["weights"] == "int4-block32"
    pixels = photos(3)
    probabilities = Evaluator(artifact.path).predict({"image": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    # Sixteen levels a block: more than rounding to fp16 costs, and far less than another model would.
    apart = np.abs(probabilities["classLabelProbs"] - expected(wide(), pixels)).max()
    assert 1e-4 < apart < 2e-2


def test_a_file_of_settings_compresses_what_it_says_and_sizes_stay_open(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    route = variant_route("small", "mlprogram-fp32", weights="settings.yaml", directory=tmp_path)
    artifact = convert(tiny(), route, tmp_path, dynamic="size", sizes=[(32, 32), (48, 40)])

    assert read_specification(artifact.path).specificationVersion == IOS16
    compressed = [o for o in operations(artifact) if o.type.startswith("constexpr_")]
    assert [o.type for o in compressed] == ["constexpr_lut_to_dense"]
    # A palette of 256 values for 64 weights loses nothing.
    for size in ((32, 32), (48, 40)):
        pixels = photos(2, size)
        np.testing.assert_allclose(answers(artifact, pixels), expected(tiny(), pixels), rtol=0, atol=5e-6)


def test_what_torch_export_calls_otherwise_converts_and_the_target_is_the_files(tmp_path: Path) -> None:
    classifier = replace(tiny(), module=Spelt(tiny().module).eval())
    artifact = convert(classifier, variant_route("v", "mlprogram-fp32", "iOS17", "export"), tmp_path)

    assert read_specification(artifact.path).specificationVersion == IOS17
    np.testing.assert_allclose(answers(artifact, photos(2)), expected(tiny(), photos(2)), rtol=0, atol=5e-6)


def refusal(route: Route, directory: Path) -> str:
    with pytest.raises(ConversionError) as refused:
        convert(tiny(), route, directory)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_operation_that_the_model_has_not_is_named_with_the_nearest(tmp_path: Path) -> None:
    said = refusal(variant_route("v", "mlprogram", keep_fp32=["linear", "sofmax"]), tmp_path)

    assert "keep_fp32: `sofmax` is no operation of this model, neither a type nor a name" in said
    assert "did you mean softmax? (types: classify, clip, conv, " in said


def test_a_compression_that_compresses_nothing_is_refused(tmp_path: Path) -> None:
    said = refusal(variant_route("v", "mlprogram", weights="int8"), tmp_path)

    assert "weights = 'int8' compresses nothing here: coremltools leaves weights of up to 2048 numbers" in said


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_weights_that_a_scheme_leaves_whole_are_told(target: str, tmp_path: Path) -> None:
    """coremltools 9.0 prunes by a threshold that is computed in fp16, and NaN of more than some 65,500 numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            *(torch.nn.Conv2d(3, 32, 8, stride=4), torch.nn.Flatten(), torch.nn.Linear(1568, 128)),
            *(torch.nn.ReLU(), torch.nn.Linear(128, len(LABELS))),
        )
    classifier = replace(wide(), module=network.eval())

    pruned = convert(classifier, variant_route("pruned", "mlprogram", target, weights="prune-50"), tmp_path)
    whole = convert(classifier, variant_route("whole", "mlprogram", weights="int8"), tmp_path)

    assert pruned.remark.startswith("prune-50 left 1 weight(s) of more than 2048 numbers as they were: ")
    assert whole.remark == ""


def test_a_setting_that_coremltools_does_not_know_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("config_type: OpPalettizerConfig\nglobal_config: {nbit: 4}", encoding="utf-8")
    said = refusal(variant_route("v", "mlprogram", weights="x.yaml", directory=tmp_path), tmp_path)

    assert "weights = 'x.yaml': coremltools 9.0 cannot do that: Extra fields in constructor" in said
    assert "nbit" in said
