"""A fault at a known place is located there, whatever the format; a clean file gives none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from conversion.artifact import open_artifact
from conversion.deployed import deployed_module, example_pixels
from conversion.guards.quiet import chatter_to, import_coremltools
from parity.backends.reference import Reference, make_reference
from parity.core.results import Subject
from parity.diagnosis import locate
from parity.diagnosis.locate import FIRST, divergences
from parity.diagnosis.types import WRAPPER, Located
from parity.diagnosis.weights import audit_weights
from parity.suite.images import ImageSet, load_images
from tests.faults.architectures import classifier as architecture
from tests.faults.architectures import images_of
from tests.faults.changing import in_module
from tests.faults.changing_parts import padded_by
from tests.faults.deploying import deploy, recipe
from tests.faults.measuring import judged
from tests.parity.diagnosis.injecting import (
    bypass,
    change_weight,
    edited,
    layers,
    nodes,
    operations,
    program_operations,
    set_attribute,
    set_constant,
)
from tests.parity.diagnosis.networks import EXPORTS, NETWORKS, converted, reference

ONNX = ("onnx", "onnx-torchscript")


def located(name: str, route: str, change: Callable[[Any], None]) -> Located:
    first = next(iter(divergences(reference(name), edited(name, route, change), most=FIRST)), None)
    assert first is not None
    assert first.images == tuple(range(len(reference(name).images.names)))
    return first


# No false alarm


@pytest.mark.parametrize("route", EXPORTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_clean_conversion_has_no_divergence(name: str, route: str) -> None:
    if (name, route) == ("attention", "onnx-coreml"):
        pytest.skip("onnx-coreml has no erf")
    assert divergences(reference(name), converted(name, route)) == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_optimised_graph_has_no_divergence(name: str) -> None:
    assert divergences(reference(name), converted(name, "onnx"), optimised=True) == ()


def test_batch_norms_that_are_not_folded_are_no_divergence(tmp_path: Path) -> None:
    classifier, path = reference("residual").classifier, tmp_path / "unfolded.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            deployed_module(classifier),
            (example_pixels(classifier),),
            str(path),
            input_names=["image"],
            output_names=["classLabelProbs"],
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=14,
            dynamo=False,
        )

    assert len(nodes(onnx.load(str(path)), "BatchNormalization")) == 7
    assert divergences(reference("residual"), open_artifact(path)) == ()
    assert audit_weights(classifier, open_artifact(path)).findings == ()


def test_a_program_whose_batch_norms_are_not_folded_has_no_divergence(tmp_path: Path) -> None:
    ct, classifier, path = import_coremltools(), reference("residual").classifier, tmp_path / "unfolded.mlpackage"
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes({"common::fuse_conv_batchnorm"})
    with warnings.catch_warnings(action="ignore"), chatter_to():
        model = ct.convert(
            torch.jit.trace(deployed_module(classifier), example_pixels(classifier)),
            inputs=[ct.ImageType(name="image", shape=(1, 3, 32, 32))],
            convert_to="mlprogram",
            pass_pipeline=pipeline,
            skip_model_load=True,
        )
        model.save(str(path))

    assert len(program_operations(model.get_spec(), "batch_norm")) == 7
    assert divergences(reference("residual"), open_artifact(path)) == ()
    assert audit_weights(classifier, open_artifact(path)).findings == ()


# ONNX


def pad_to_the_end(model: Any) -> None:
    set_attribute(nodes(model, "Conv")[1], "pads", [0, 0, 2, 2])


@pytest.mark.parametrize("route", ONNX)
def test_padding_on_the_wrong_side_is_a_shift(route: str) -> None:
    divergence = located("depthwise", route, pad_to_the_end)

    assert (divergence.type, divergence.module, divergence.kind) == ("Conv", "depthwise.0", "shift")
    assert (divergence.difference.figures["dy"], divergence.difference.figures["dx"]) == (-1, -1)
    assert divergence.sources == ("depthwise.0", "depthwise.1")


@pytest.mark.parametrize("route", ONNX)
def test_padding_that_is_counted_differs_at_the_border(route: str) -> None:
    divergence = located(
        "residual", route, lambda m: set_attribute(nodes(m, "AveragePool")[0], "count_include_pad", 1)
    )

    assert (divergence.type, divergence.module, divergence.kind) == ("AveragePool", "pool", "border only")
    # 32 pixels, kernel 3, stride 2, padding 1: the last window ends at the last pixel.
    assert "top, left" in divergence.message


@pytest.mark.parametrize("route", ONNX)
def test_convolutions_that_share_a_bias_by_mistake(route: str) -> None:
    def share(model: Any) -> None:
        by_input: dict[str, list[Any]] = {}
        for node in nodes(model, "Conv"):
            by_input.setdefault(node.input[0], []).append(node)
        for first, second in (pair for pair in by_input.values() if len(pair) == 2):
            first.input[2] = second.input[2]

    all_located = divergences(reference("residual"), edited("residual", route, share))

    assert [(one.type, one.module) for one in all_located] == [("Conv", "layer1.conv1"), ("Conv", "layer2.conv1")]
    assert {one.kind for one in all_located} == {"per-channel offset"}


@pytest.mark.parametrize("route", ONNX)
def test_one_wrong_channel_is_named(route: str) -> None:
    def change(model: Any) -> None:
        bias = nodes(model, "Conv")[3].input[2]
        change_weight(model, bias, lambda array: array + 0.5 * (np.arange(len(array)) == 3))

    divergence = located("residual", route, change)

    assert divergence.type == "Conv"
    assert divergence.kind == "per-channel offset"
    assert divergence.difference.figures["channels"] == (3,)
    assert divergence.difference.figures["offsets"] == pytest.approx((0.5,), abs=1e-4)


@pytest.mark.parametrize("route", ONNX)
def test_exchanged_channels_are_a_permutation(route: str) -> None:
    def change(model: Any) -> None:
        for name in nodes(model, "Conv")[1].input[1:3]:
            change_weight(model, name, lambda array: array[::-1])

    divergence = located("residual", route, change)

    assert (divergence.type, divergence.module, divergence.kind) == ("Conv", "layer1.conv1", "channel permutation")
    assert len(divergence.difference.figures["channels"]) == 12  # type: ignore[arg-type]


@pytest.mark.parametrize("route", ONNX)
def test_a_sign_is_found_in_an_addition(route: str) -> None:
    def change(model: Any) -> None:
        nodes(model, "Add")[0].op_type = "Sub"

    divergence = located("residual", route, change)

    assert (divergence.type, divergence.module, divergence.source) == ("Sub", "layer1", "add")


@pytest.mark.parametrize("route", ONNX)
def test_a_lost_operation_is_missing(route: str) -> None:
    divergence = located("residual", route, lambda m: bypass(m, nodes(m, "Relu")[1]))

    assert (divergence.type, divergence.module, divergence.kind) == ("Conv", "layer1.relu", "missing operation")
    assert "relu is missing" in divergence.message


@pytest.mark.parametrize("route", ONNX)
def test_a_lost_softmax_is_missing(route: str) -> None:
    def change(model: Any) -> None:
        softmax = nodes(model, "Softmax")[0]
        before = next(node for node in model.graph.node if softmax.input[0] in node.output)
        before.output[0] = softmax.output[0]
        model.graph.node.remove(softmax)

    divergence = located("depthwise", route, change)

    assert (divergence.type, divergence.module, divergence.kind) == ("Gemm", WRAPPER, "missing operation")
    assert "softmax is missing behind it" in divergence.message
    assert divergence.index == divergence.of - 1


@pytest.mark.parametrize("route", ONNX)
def test_a_second_softmax_is_an_extra_operation(route: str) -> None:
    def change(model: Any) -> None:
        nodes(model, "Softmax")[0].output[0] = "once"
        again = onnx.helper.make_node("Softmax", ["once"], ["classLabelProbs"], "again", axis=1)
        model.graph.node.append(again)

    divergence = located("depthwise", route, change)

    assert (divergence.operation, divergence.kind) == ("again", "extra operation")


@pytest.mark.parametrize("route", ONNX)
def test_exchanged_colours_are_an_extra_operation(route: str) -> None:
    def change(model: Any) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
        for node in model.graph.node:
            node.input[:] = ["swapped" if name == "image" else name for name in node.input]
        swap = onnx.helper.make_node("Gather", ["image", "bgr"], ["swapped"], "swap", axis=1)
        model.graph.node.insert(0, swap)

    divergence = located("depthwise", route, change)

    assert (divergence.operation, divergence.index, divergence.kind) == ("swap", 0, "extra operation")
    assert "2 of 3 channels changed places" in divergence.message


@pytest.mark.parametrize("route", ONNX)
def test_a_limit_that_is_too_low_saturates(route: str) -> None:
    def change(model: Any) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "low"))
        nodes(model, "Clip")[0].input[2] = "low"

    divergence = located("depthwise", route, change)

    assert (divergence.type, divergence.module, divergence.kind) == ("Clip", "depthwise.2", "saturation")
    assert divergence.difference.figures["high"] == 1


@pytest.mark.parametrize("route", ONNX)
def test_not_a_number_is_found_where_it_begins(route: str) -> None:
    weight = 5

    def change(model: Any) -> None:
        change_weight(model, nodes(model, "Conv")[weight].input[1], lambda array: array * np.nan)

    divergence = located("residual", route, change)

    assert (divergence.type, divergence.kind) == ("Conv", "non-finite")
    assert divergence.module == "layer2.conv2"


@pytest.mark.parametrize(
    ("route", "kind", "attribute", "value", "module"),
    [
        ("onnx", "LayerNormalization", "epsilon", 0.05, "ln1"),
        ("onnx-torchscript", "LayerNormalization", "epsilon", 0.05, "ln1"),
        ("onnx", "Softmax", "axis", -2, ""),
        ("onnx", "Gelu", "approximate", "tanh", "mlp.1"),
    ],
)
def test_settings_in_a_transformer(route: str, kind: str, attribute: str, value: Any, module: str) -> None:
    divergence = located("attention", route, lambda m: set_attribute(nodes(m, kind)[0], attribute, value))

    assert (divergence.type, divergence.module) == (kind, module)


@pytest.mark.parametrize(("kind", "other", "place"), [("Erf", "Tanh", "Erf"), ("Div", "Mul", "Div")])
def test_a_fault_inside_a_formula_is_found_at_its_operation(kind: str, other: str, place: str) -> None:
    def change(model: Any) -> None:
        nodes(model, kind)[0].op_type = other

    divergence = located("attention", "onnx-torchscript", change)

    assert (divergence.operation, divergence.type, divergence.module) == (
        f"/module/mlp/mlp.1/{place}",
        other,
        "mlp.1",
    )
    assert divergence.source == "gelu"


def test_a_constant_at_the_end_of_a_formula_is_found_there() -> None:
    def change(model: Any) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.6), "half"))
        half = next(n for n in nodes(model, "Mul") if n.name.startswith("/module/mlp/mlp.1/Mul_1"))
        half.input[1] = "half"

    divergence = located("attention", "onnx-torchscript", change)

    assert (divergence.operation, divergence.kind) == ("/module/mlp/mlp.1/Mul_1", "scale")
    assert divergence.difference.figures["scale"] == pytest.approx(1.2)
    assert divergence.group[-1] == divergence.operation


def test_several_faults_are_all_found_in_order() -> None:
    def change(model: Any) -> None:
        pad_to_the_end(model)
        set_attribute(nodes(model, "HardSigmoid")[0], "alpha", 0.2)
        pool = nodes(model, "MaxPool")[0]
        pool.op_type = "AveragePool"
        for name in ("dilations", "storage_order"):
            for attribute in [a for a in pool.attribute if a.name == name]:
                pool.attribute.remove(attribute)

    all_located = divergences(reference("depthwise"), edited("depthwise", "onnx", change))

    assert [one.module for one in all_located] == ["depthwise.0", "squeeze.4", "pool"]
    assert [one.index for one in all_located] == sorted(one.index for one in all_located)
    few = divergences(reference("depthwise"), edited("depthwise", "onnx", change), most=1)
    assert [one.module for one in few] == ["depthwise.0"]


def test_a_network_without_any_right_weights_diverges_at_its_first_convolution() -> None:
    def change(model: Any) -> None:
        random = np.random.default_rng(0)
        for node in nodes(model, "Conv"):
            for name in node.input[1:]:
                change_weight(model, name, lambda array: random.normal(size=array.shape) * array.std())

    assert located("residual", "onnx", change).module == "conv1"


# ML Program


@pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
def test_a_bias_of_a_program(route: str) -> None:
    def change(specification: Any) -> None:
        conv = program_operations(specification, "conv")[2]
        set_constant("residual", route, specification, conv, "bias", lambda array: array + 0.25)

    divergence = located("residual", route, change)

    assert (divergence.type, divergence.module, divergence.kind) == ("conv", "layer1.conv2", "offset")
    assert divergence.difference.figures["offset"] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
def test_padding_of_a_program(route: str) -> None:
    def change(specification: Any) -> None:
        conv = program_operations(specification, "conv")[1]
        set_constant("depthwise", route, specification, conv, "pad", lambda array: np.array([0, 2, 0, 2]))

    divergence = located("depthwise", route, change)

    assert (divergence.type, divergence.module, divergence.kind) == ("conv", "depthwise.0", "shift")


@pytest.mark.parametrize("route", ["mlprogram", "mlprogram-fp32"])
def test_a_layer_norm_of_a_program(route: str) -> None:
    def change(specification: Any) -> None:
        norm = program_operations(specification, "layer_norm")[1]
        set_constant("attention", route, specification, norm, "gamma", lambda array: array * 1.2)

    divergence = located("attention", route, change)

    assert (divergence.type, divergence.module, divergence.source) == ("layer_norm", "ln2", "layer_norm")
    assert divergence.kind == "per-channel affine"


@pytest.mark.parametrize("route", ["mlprogram", "onnx-coreml"])
def test_exchanged_colours_of_a_core_ml_image_are_found_at_the_input(route: str) -> None:
    def change(specification: Any) -> None:
        specification.description.input[0].type.imageType.colorSpace = 30  # FeatureTypes.proto: BGR

    divergence = located("depthwise", route, change)

    assert (divergence.operation, divergence.type, divergence.kind) == ("image", "input", "channel permutation")
    assert divergence.message.startswith("the input `image`:")


def test_a_softmax_of_a_program_on_another_axis() -> None:
    def change(specification: Any) -> None:
        softmax = program_operations(specification, "softmax")[0]
        set_constant("attention", "mlprogram", specification, softmax, "axis", lambda array: np.array([-2]))

    divergence = located("attention", "mlprogram", change)

    assert (divergence.type, divergence.source, divergence.module) == ("softmax", "softmax", "")


def test_an_overflow_is_not_a_number_that_pytorch_has() -> None:
    def change(specification: Any) -> None:
        conv = program_operations(specification, "conv")[1]
        set_constant("residual", "mlprogram", specification, conv, "bias", lambda array: array + 60000)
        set_constant("residual", "mlprogram", specification, conv, "weight", lambda array: array * 60000)

    divergence = located("residual", "mlprogram", change)

    assert (divergence.type, divergence.module, divergence.kind) == ("conv", "layer1.conv1", "non-finite")


def test_the_operations_of_a_program_are_counted_without_constants() -> None:
    counted = 0

    def change(specification: Any) -> None:
        nonlocal counted
        counted = sum(operation.type not in ("const", "classify") for operation in operations(specification))
        conv = program_operations(specification, "conv")[0]
        set_constant("residual", "mlprogram", specification, conv, "bias", lambda array: array + 1)

    assert located("residual", "mlprogram", change).of == counted


# NeuralNetwork


def test_padding_of_a_network() -> None:
    def change(specification: Any) -> None:
        for edge in layers(specification, "convolution")[1].convolution.valid.paddingAmounts.borderAmounts:
            edge.startEdgeSize, edge.endEdgeSize = 0, 2

    divergence = located("depthwise", "onnx-coreml", change)

    assert (divergence.type, divergence.module, divergence.kind) == ("convolution", "depthwise.0", "shift")


def test_weights_of_a_network() -> None:
    def change(specification: Any) -> None:
        convolution = layers(specification, "convolution")[0].convolution
        convolution.bias.floatValue[:] = [value + 1.5 for value in convolution.bias.floatValue]

    divergence = located("residual", "onnx-coreml", change)

    assert (divergence.type, divergence.module, divergence.kind) == ("convolution", "conv1", "offset")
    assert divergence.difference.figures["offset"] == pytest.approx(1.5, abs=1e-4)


def test_a_scaler_before_a_network_is_an_extra_operation() -> None:
    def change(specification: Any) -> None:
        step = specification.neuralNetworkClassifier.preprocessing.add()
        step.featureName, step.scaler.channelScale = "image", 1 / 255

    divergence = located("residual", "onnx-coreml", change)

    assert (divergence.operation, divergence.kind) == ("image (scaler)", "extra operation")
    assert "0.00392157 times" in divergence.message


# What rounding of a long stretch of operations, added up, could come to


def bordered(directory: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Reference, Subject]:
    """Judge an fp16 conversion whose first padding is of another mode than PyTorch's, which reflects.

    By the tolerance alone: a second look excuses so small a fault.
    """
    monkeypatch.setattr("parity.backends.reference.with_second_look", lambda tolerance, *_: tolerance)
    model = architecture("sliced")
    against = make_reference(model, load_images(images_of("sliced"), model.preprocessing))
    changed = in_module(padded_by(mode))(model, "mlprogram")
    assert changed is not None
    return against, judged(against, changed, "mlprogram", directory)[0]


def test_a_border_is_found_though_the_rounding_behind_it_could_move_the_answer_as_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    against, subject = bordered(tmp_path, "replicate", monkeypatch)

    # No more than three times what fp16 may cost the whole network, and it fails by a tenth.
    assert subject.verdict == "fail"
    assert (subject.max_abs_diff or 0.0) < 1.3 * (subject.tolerance or 0.0) < 4 * against.fp16_cost
    assert [(cause.fault, cause.confirmed) for cause in subject.diagnoses] == [("g-pad-border", True)]
    assert "mode replicate instead of reflect" in subject.diagnoses[0].message
    assert subject.first_divergence is not None
    assert (subject.first_divergence.type, subject.first_divergence.module) == ("pad", "stem")


def test_taken_for_sound_by_what_follows_it_is_not_found_and_the_failure_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(locate, "STRETCH", 10_000)

    _, subject = bordered(tmp_path, "replicate", monkeypatch)

    assert (subject.verdict, subject.diagnoses, subject.first_divergence) == ("fail", (), None)
    assert subject.unexplained.startswith("every operation that can be compared gives what PyTorch's gives")


@pytest.mark.parametrize("name", ["sliced", "shuffled"])
def test_no_operation_of_a_sound_fp16_file_is_found_when_values_are_doubted(
    monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
) -> None:
    # Whatever PyTorch does in more than two operations is doubted, norms and activations among it.
    monkeypatch.setattr(locate, "STRETCH", 2)
    model = architecture(name)
    images = load_images(images_of(name), model.preprocessing)
    path = deploy(recipe(model), "mlprogram", tmp_path)

    against = make_reference(model, ImageSet(images.names[:2], images.pixels[:2]))

    assert divergences(against, open_artifact(path)) == ()
