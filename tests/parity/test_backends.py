"""Backends and the pipeline around them: which output is meant, what cannot run, what breaks while running."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conversion.provenance import KEY
from parity import ParityError, check
from parity.backends import (
    BACKENDS,
    backends_for,
    coreml_evaluator,
    coreml_native,
    find_backend,
    onnx_reference,
    onnxruntime,
)
from parity.backends.pytorch import check_repeatable
from parity.core.results import Prediction, Subject
from tests.parity.tiny import LABELS, converted, pictures, tiny, untrained

ONNX_BACKENDS = ("onnxruntime", "onnx-reference")


def edited(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """Copy the good ONNX file with a change."""
    model = onnx.load(str(converted("onnx-torchscript").path))
    change(model)
    onnx.save(model, str(tmp_path / "edited.onnx"))
    return tmp_path / "edited.onnx"


def judged(path: Path, backend: str) -> Subject:
    (subject,) = check(tiny(), path, pictures(), backends=[backend]).subjects
    return subject


def rename_output(model: Any) -> None:
    (output,) = model.graph.output
    node = next(n for n in model.graph.node if output.name in n.output)
    node.output[0] = output.name = "probabilities"


def add_output(model: Any) -> None:
    (output,) = model.graph.output
    for name in ("first", "second"):
        model.graph.node.append(helper.make_node("Identity", [output.name], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]))


def two_unnamed_outputs(model: Any) -> None:
    add_output(model)
    model.graph.output.pop(0)


def add_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_renamed_output_is_found_by_its_shape(backend: str, tmp_path: Path) -> None:
    assert judged(edited(tmp_path, rename_output), backend).verdict == "pass"


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_among_several_outputs_the_one_with_the_name_is_meant(backend: str, tmp_path: Path) -> None:
    assert judged(edited(tmp_path, add_output), backend).verdict == "pass"


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_outputs_that_cannot_be_told_apart_are_inconclusive(backend: str, tmp_path: Path) -> None:
    run = check(tiny(), edited(tmp_path, two_unnamed_outputs), pictures(), backends=[backend])

    assert run.exit_code == 3
    assert run.subjects[0].verdict == "inconclusive"
    assert "no output is called classLabelProbs, and 2 have the shape" in run.subjects[0].reason


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_model_with_two_inputs_is_an_error_that_names_them(backend: str, tmp_path: Path) -> None:
    subject = judged(edited(tmp_path, add_input), backend)

    assert subject.verdict == "error"
    assert "takes image" in subject.reason
    assert "mask" in subject.reason


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_file_whose_labels_are_only_in_another_order_is_told_so(backend: str, tmp_path: Path) -> None:
    def reverse_labels(model: Any) -> None:
        (note,) = (entry for entry in model.metadata_props if entry.key == KEY)
        note.value = json.dumps({**json.loads(note.value), "labels": LABELS[::-1]})

    subject = judged(edited(tmp_path, reverse_labels), backend)

    assert subject.verdict == "fail"
    assert subject.remarks == (
        "the file has as many labels as the classifier, 8, but in another order: label 0 is 'hen' there and 'ant' "
        "in the classifier",
    )


def test_an_untrained_network_proves_nothing_however_well_it_agrees() -> None:
    from conversion import convert

    artifact = convert(untrained(), "onnx-torchscript", converted("onnx-torchscript").path.parents[2])

    run = check(untrained(), artifact, pictures(), backends=["onnxruntime"])

    assert (run.exit_code, run.subjects[0].verdict) == (3, "inconclusive")
    assert "untrained network" in run.subjects[0].reason


def test_no_images_prove_nothing() -> None:
    run = check(tiny(), converted("onnx-torchscript"), [], backends=["onnxruntime"])

    assert (run.exit_code, run.subjects[0].verdict) == (3, "inconclusive")
    assert "no images" in run.subjects[0].reason


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 17])
def test_a_batch_norm_of_any_opset_keeps_its_own_statistics(opset: int, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    scale, bias, mean, variance = (random.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    weights = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 2, 2]) for name in ("image", "out")]
    # Every exporter writes momentum, trained or not.
    node = helper.make_node("BatchNormalization", ["image", *weights], ["out"], epsilon=1e-3, momentum=0.9)
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph([node], "norm", values[:1], values[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(tmp_path / "norm.onnx"))
    image = random.uniform(0, 255, (1, 3, 2, 2)).astype(np.float32)

    found = onnx_reference.evaluator_of(onnx.load(str(tmp_path / "norm.onnx"))).run(None, {"image": image})[0]

    by_hand = (image - mean.reshape(3, 1, 1)) / np.sqrt(variance.reshape(3, 1, 1) + 1e-3)
    np.testing.assert_allclose(found, by_hand * scale.reshape(3, 1, 1) + bias.reshape(3, 1, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("opset", "axis"), [(9, None), (11, None), (11, 2), (11, -1), (12, 1), (13, None), (13, 1)]
)
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
def test_a_softmax_of_an_old_opset_runs_over_all_behind_its_axis(kind: str, opset: int, axis: int | None) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3, 4]) for name in ("image", "out")]
    node = helper.make_node(kind, ["image"], ["out"], **({} if axis is None else {"axis": axis}))
    graph = helper.make_graph([node], "softmax", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    image = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)

    answer = onnx_reference.evaluator_of(model).run(None, {"image": image})[0]

    # The specification of each opset: the axis where none is named, and what is normalised together.
    axis = axis if axis is not None else (-1 if opset >= 13 else 1)
    together = (axis % 3,) if opset >= 13 else tuple(range(axis % 3, 3))
    shares = np.exp(image) / np.exp(image).sum(together, keepdims=True)
    expected = {
        "Softmax": shares,
        "LogSoftmax": np.log(shares),
        "Hardmax": (image == image.max(together, keepdims=True)).astype(np.float32),
    }
    np.testing.assert_allclose(answer, expected[kind], rtol=1e-5, atol=1e-6)


def backwards(model: Any) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_nodes_may_stand_in_any_order(backend: str, tmp_path: Path) -> None:
    path = edited(tmp_path, backwards)
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(str(path))

    assert judged(path, backend).verdict == "pass"


def test_nodes_in_a_subgraph_read_what_is_made_outside(tmp_path: Path) -> None:
    made = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1])
    branches = [
        helper.make_graph([helper.make_node("Identity", [name], ["chosen"])], name, [], [made])
        for name in ("twice", "image")
    ]
    choose = helper.make_node("If", ["yes"], ["out"], then_branch=branches[0], else_branch=branches[1])
    nodes = [choose, helper.make_node("Add", ["image", "image"], ["twice"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "out")]
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    graph = helper.make_graph(nodes, "choice", values[:1], values[1:], [yes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    found = onnx_reference.evaluator_of(model).run(None, {"image": np.array([3], np.float32)})

    assert found[0].tolist() == [6]


def fused(model: Any) -> None:
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.op_type, node.domain = "FusedConv", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def test_what_a_runtime_made_for_itself_is_skipped_by_another(tmp_path: Path) -> None:
    path = edited(tmp_path, fused)

    assert judged(path, "onnxruntime").verdict == "pass"
    subject = judged(path, "onnx-reference")
    assert subject.verdict == "skipped"
    assert "and not FusedConv (com.microsoft)" in subject.reason


def sparse(model: Any) -> None:
    """Write the weights of the linear layer by the places and values of those that are not zero: all of them."""
    weights = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("linear.weight"))
    values = onnx.numpy_helper.to_array(weights).ravel()
    places = onnx.numpy_helper.from_array(np.arange(values.size), "places")
    held = onnx.numpy_helper.from_array(values, weights.name)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(held, places, list(weights.dims)))
    model.graph.initializer.remove(weights)


def test_a_sparse_tensor_is_no_fault_of_the_file(tmp_path: Path) -> None:
    path = edited(tmp_path, sparse)

    run = check(tiny(), path, pictures())

    assert {s.backend: s.verdict for s in run.subjects} == {"onnxruntime": "pass", "onnx-reference": "skipped"}
    assert "onnx.reference reads no sparse tensors" in run.subjects[1].reason
    assert run.exit_code == 0
    # Skipped alone is no parity.
    assert check(tiny(), path, pictures(), backends=["onnx-reference"]).exit_code == 3


def test_a_sparse_tensor_inside_of_a_node_neither(tmp_path: Path) -> None:
    def constant(model: Any) -> None:
        sparse(model)
        held = model.graph.sparse_initializer.pop()
        model.graph.node.insert(0, helper.make_node("Constant", [], [held.values.name], sparse_value=held))

    assert judged(edited(tmp_path, constant), "onnx-reference").verdict == "skipped"


def in_the_type(number: int) -> Callable[[Any], None]:
    """Let the activation compute in another type of number."""

    def edit(model: Any) -> None:
        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        place = list(model.graph.node).index(relu)
        before = helper.make_node("Cast", [relu.input[0]], ["narrow"], to=number)
        after = helper.make_node("Cast", ["done"], [relu.output[0]], to=TensorProto.FLOAT)
        relu.input[0], relu.output[0] = "narrow", "done"
        model.graph.node.insert(place + 1, after)
        model.graph.node.insert(place, before)

    return edit


def test_what_onnxruntime_has_no_kernel_for_is_no_fault_of_the_file(tmp_path: Path) -> None:
    subject = judged(edited(tmp_path, in_the_type(TensorProto.INT16)), "onnxruntime")

    assert subject.verdict == "skipped"
    assert "ONNX Runtime does not implement all of it" in subject.reason
    assert "Could not find an implementation for Relu" in subject.reason


@pytest.mark.parametrize("when", ["loading", "running"])
def test_what_onnx_does_not_implement_is_no_fault_of_the_file(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx.reference import ReferenceEvaluator

    def lacks(*arguments: object, **options: object) -> None:
        raise NotImplementedError("No implementation\nfor it")

    monkeypatch.setattr(ReferenceEvaluator, "__init__" if when == "loading" else "run", lacks)
    subject = judged(converted("onnx-torchscript").path, "onnx-reference")

    assert subject.verdict == "skipped"
    assert "does not implement all of it (No implementation for it)" in subject.reason


def sampled(mode: str) -> Callable[[Any], None]:
    """Let the image be sampled at a point for each pixel, by a mode of GridSample."""

    def edit(model: Any) -> None:
        rows = np.linspace(-1, 1, 32, dtype=np.float32)
        grid = np.stack(np.meshgrid(rows, rows), -1)[None]
        model.graph.initializer.append(onnx.numpy_helper.from_array(grid, "grid"))
        first = next(node for node in model.graph.node if "image" in node.input)
        sample = helper.make_node("GridSample", ["image", "grid"], ["sampled"], mode=mode, align_corners=1)
        first.input[list(first.input).index("image")] = "sampled"
        model.graph.node.insert(0, sample)

    return edit


def test_what_an_operator_of_onnx_says_it_does_not_do_is_no_fault_of_the_file(tmp_path: Path) -> None:
    # Opset 17 calls it bilinear, onnx.reference knows linear alone, the name of opset 20.
    path = edited(tmp_path, sampled("bilinear"))

    assert judged(path, "onnxruntime").verdict == "pass"
    assert (subject := judged(path, "onnx-reference")).verdict == "skipped"
    assert subject.reason == (
        f"{path}: onnx.reference does not implement all of it (GridSample interpolation only supports nearest, "
        "linear, and cubic modes.)"
    )


def test_an_error_of_numpy_inside_an_operator_of_onnx_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx.reference import ReferenceEvaluator

    def fails(*arguments: object, **options: object) -> None:
        raise ValueError("arrays of such a shape are not supported")

    monkeypatch.setattr(ReferenceEvaluator, "run", fails)

    assert judged(converted("onnx-torchscript").path, "onnx-reference").verdict == "error"


@pytest.mark.parametrize("backend", ONNX_BACKENDS)
def test_a_value_that_nobody_makes_is_one(backend: str, tmp_path: Path) -> None:
    def lost(model: Any) -> None:
        next(node for node in model.graph.node if node.op_type == "Relu").input[0] = "nowhere"

    assert judged(edited(tmp_path, lost), backend).verdict == "error"


def test_apples_runtime_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")

    run = check(tiny(), converted("mlprogram-fp32"), pictures(), backends=["coreml-native"])

    # Skipped is not agreement: nothing was compared.
    assert (run.exit_code, run.subjects[0].verdict) == (3, "skipped")
    assert run.subjects[0].reason == coreml_native.why_not()
    assert "part of macOS; this is Linux" in run.subjects[0].reason


def test_a_runtime_that_breaks_is_an_error_and_the_others_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(artifact: object, batch: int) -> object:
        raise ZeroDivisionError("a bug\nof two lines")

    monkeypatch.setattr(onnxruntime, "load", broken)

    run = check(tiny(), converted("onnx-torchscript"), pictures())

    verdicts = {s.backend: s.verdict for s in run.subjects}
    assert verdicts == {"onnxruntime": "error", "onnx-reference": "pass"}
    assert run.subjects[0].reason == "ZeroDivisionError: a bug of two lines"
    assert run.exit_code == 1


def test_a_reference_that_contradicts_itself_is_none() -> None:
    random = np.random.default_rng(0)

    def dropout(pixels: np.ndarray) -> Prediction:
        return Prediction(random.random((len(pixels), 8)))

    with pytest.raises(ParityError, match="answers the same image differently twice"):
        check_repeatable(tiny(), dropout, np.zeros((1, 32, 32, 3), np.uint8))


def test_each_format_has_its_backends() -> None:
    assert backends_for("onnx") == ONNX_BACKENDS
    assert backends_for("mlprogram") == backends_for("neuralnetwork") == ("coreml-native", "coreml-evaluator")
    assert backends_for("coreai") == ("coreai",)


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(ParityError, match="unknown backend `onnxruntim`; did you mean onnxruntime?"):
        find_backend("onnxruntim")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_what_the_protocol_says(name: str) -> None:
    module = find_backend(name)

    assert module.FORMATS
    assert module.why_not() is None or isinstance(module.why_not(), str)
    assert callable(module.load)


def test_one_image_at_a_time_or_all_at_once_is_the_same() -> None:
    predict = coreml_evaluator.load(converted("mlprogram-fp32"))
    pixels = np.stack([np.asarray(picture) for picture in pictures()])

    together = predict(pixels).probabilities

    assert np.array_equal(together, np.concatenate([predict(one[None]).probabilities for one in pixels]))
