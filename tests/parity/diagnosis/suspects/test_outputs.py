"""Which value goes out as the probabilities: outputs of other names, and the wrong blob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conversion import Artifact, convert
from parity.artifacts.causes import look_into
from parity.backends import backends_for
from parity.backends.outputs import settle_output
from parity.core.errors import ParityError
from parity.core.results import Subject
from parity.diagnosis.outcome import Explanation
from parity.diagnosis.search import explain
from parity.pipeline import check
from tests.parity.diagnosis.faulty import (
    _home,
    behind_all,
    broken,
    causes,
    examined,
    explained,
    good,
    node,
    reference,
    swapped,
)
from tests.parity.test_injected_faults import mil_operations
from tests.parity.tiny import pictures, tiny

WRONG_BLOBS = ("/module/linear/Gemm_output_0", "/module/Flatten_output_0", "/Mul_output_0")


def checked(artifact: Artifact) -> Subject:
    (subject,) = check(tiny(), artifact, pictures(), backends=[backends_for(artifact.format)[0]]).subjects
    return subject


def outputs(model: Any, *added: tuple[str, str, list[Any]]) -> None:
    """Replace the outputs of an ONNX model: (name, the value that it gives, shape)."""
    for name, value, shape in added:
        model.graph.node.append(helper.make_node("Identity", [value], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model.graph.output.pop(0)


def features_too(model: Any) -> None:
    softmax, flat = node(model, "Softmax"), node(model, "Flatten")
    outputs(model, ("features", flat.output[0], ["n", 96]), ("17", softmax.output[0], ["n", 8]))


def logits_too(model: Any) -> None:
    softmax = node(model, "Softmax")
    outputs(model, ("first", softmax.input[0], ["n", 8]), ("second", softmax.output[0], ["n", 8]))


def test_among_several_outputs_the_one_with_a_number_for_each_class_is_read_and_reported() -> None:
    subject = checked(broken(good("onnx-torchscript", tiny), features_too))

    assert subject.verdict == "pass"
    assert subject.remarks == (
        "the output `17` is read as the probabilities, for its shape [?, 8] (none is called classLabelProbs; the "
        "others are `features`)",
    )


def test_a_file_that_cannot_be_read_is_left_to_the_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> Any:
        raise ParityError(f"{path}: damaged")

    monkeypatch.setattr("parity.coreml.reading.files.open_model", refuse)

    assert settle_output(good("mlprogram-fp32", tiny), 8) == good("mlprogram-fp32", tiny)


def test_an_output_of_the_expected_name_needs_no_remark() -> None:
    assert checked(good("onnx-torchscript", tiny)).remarks == ()


def test_an_output_with_axes_of_one_behind_the_classes_is_read() -> None:
    def as_map(model: Any) -> None:
        (output,) = model.graph.output
        behind_all(model, "Unsqueeze", [np.array([2, 3])])
        output.type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension(dim_value=1)] * 2)

    assert checked(broken(good("onnx-torchscript", tiny), as_map)).verdict == "pass"


def test_outputs_that_cannot_be_told_apart_stay_inconclusive_and_the_right_one_is_named() -> None:
    subject = checked(broken(good("onnx-torchscript", tiny), logits_too))

    assert subject.verdict == "inconclusive"
    (cause,) = subject.diagnoses
    assert (cause.fault, cause.confirmed) == ("i-output-renamed", True)
    assert "calls it `second` (its outputs: `first` [?, 8], `second` [?, 8])" in cause.message
    assert cause.fix == 'torch.onnx.export(..., output_names=["classLabelProbs"])'


def test_where_no_output_agrees_all_are_named() -> None:
    def spoilt(model: Any) -> None:
        softmax = node(model, "Softmax")
        sines = helper.make_node("Sin", [softmax.input[0]], ["sines"])
        model.graph.node.insert(list(model.graph.node).index(softmax), sines)
        softmax.input[0] = "sines"
        logits_too(model)

    run = look_into(tiny(), broken(good("onnx-torchscript", tiny), spoilt), pictures()).run

    assert (run.exit_code, run.subjects[0].verdict) == (3, "inconclusive")
    suspect = run.subjects[0].diagnoses[0]
    assert (suspect.fault, suspect.confirmed) == ("i-output-renamed", False)
    assert "which of `first` [?, 8], `second` [?, 8] holds the probabilities cannot be told" in suspect.message


@pytest.mark.parametrize("route", ["onnx-coreml", "mlprogram-fp32"])
def test_a_declared_output_that_is_not_there_is_inconclusive_and_explained(route: str) -> None:
    def declare(specification: Any) -> None:
        specification.description.predictedProbabilitiesName = "scores"

    subject = checked(broken(good(route, tiny), declare))

    assert subject.verdict in ("inconclusive", "skipped")  # Apple's runtime is skipped where there is none
    examination = examined(broken(good(route, tiny), declare), reference(tiny))
    assert causes(explain(examination)) == ["i-output-renamed"]


def network(blob: str) -> Callable[[Any], None]:
    def break_it(specification: Any) -> None:
        specification.neuralNetworkClassifier.labelProbabilityLayerName = blob

    return break_it


@pytest.mark.parametrize("blob", WRONG_BLOBS)
def test_a_label_layer_that_points_at_another_blob(blob: str) -> None:
    explanation = explain(examined(broken(good("onnx-coreml", tiny), network(blob)), reference(tiny)))

    assert causes(explanation) == ["i-wrong-output"]
    assert f"labelProbabilityLayerName is `{blob}`" in explanation.diagnoses[0].message
    assert "PyTorch's answer is in `classLabelProbs`" in explanation.diagnoses[0].message


def program(specification: Any) -> None:
    classify = next(op for op in mil_operations(specification) if op.type == "classify")
    read = classify.inputs["probabilities"].arguments[0]
    softmax = next(op for op in mil_operations(specification) if op.outputs and op.outputs[0].name == read.name)
    assert softmax.type == "softmax"
    read.name = softmax.inputs["x"].arguments[0].name


def test_a_program_that_classifies_by_the_logits() -> None:
    explanation = explained(broken(good("mlprogram-fp32", tiny), program), reference(tiny))

    assert causes(explanation) == ["i-wrong-output"]
    assert "the logits before softmax" in explanation.diagnoses[0].message


def test_a_program_without_classes_that_gives_the_logits() -> None:
    def exchange(specification: Any) -> None:
        operations = list(mil_operations(specification))
        softmax = next(op for op in operations if op.type == "softmax")
        logits = softmax.inputs["x"].arguments[0].name
        names = {logits: "classLabelProbs", softmax.outputs[0].name: logits}
        for operation in operations:
            for argument in operation.inputs.values():
                for binding in (one for one in argument.arguments if one.name in names):
                    binding.name = names[binding.name]
            for output in operation.outputs:
                output.name = names.get(output.name, output.name)

    batches = convert(tiny(), "mlprogram-fp32", _home(), dynamic="batch")

    explanation = explained(broken(batches, exchange), reference(tiny))

    assert causes(explanation) == ["i-wrong-output"]


def wrong_onnx(read: Callable[[Any], str], shape: list[Any]) -> Callable[[Any], None]:
    def break_it(model: Any) -> None:
        (output,) = model.graph.output
        value = read(model)
        node(model, "Softmax").output[0] = "right"
        model.graph.node.append(helper.make_node("Identity", [value], [output.name]))
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))

    return break_it


def logits(model: Any) -> str:
    return str(node(model, "Softmax").input[0])


def features(model: Any) -> str:
    return str(node(model, "Flatten").output[0])


@pytest.mark.parametrize(("read", "width"), [(logits, 8), (features, 96)])
def test_an_onnx_output_that_gives_another_value(read: Callable[[Any], str], width: int) -> None:
    explanation = explained(broken(good("onnx-torchscript", tiny), wrong_onnx(read, ["n", width])), reference(tiny))

    assert causes(explanation) == ["i-wrong-output"]
    assert "PyTorch's answer is in `right`" in explanation.diagnoses[0].message


def best_class(model: Any) -> None:
    behind_all(model, "ArgMax", axis=1, keepdims=1)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("classLabelProbs", TensorProto.INT64, ["n", 1]))


def best_logit(model: Any) -> None:
    best_class(model)
    softmax = node(model, "Softmax")
    node(model, "ArgMax").input[0] = softmax.input[0]
    model.graph.node.remove(softmax)


@pytest.mark.parametrize(
    ("change", "faults"),
    [(best_class, {"i-wrong-output"}), (best_logit, {"i-wrong-output", "head-softmax-missing"})],
)
def test_the_best_class_alone_is_no_answer(change: Callable[[Any], None], faults: set[str]) -> None:
    explanation = explained(broken(good("onnx-torchscript", tiny), change), reference(tiny))

    assert set(causes(explanation)) == faults
    assert "what ArgMax gives" in explanation.diagnoses[0].message


def test_beside_another_fault_the_softmax_that_nobody_reads_is_told() -> None:
    def break_it(model: Any) -> None:
        wrong_onnx(logits, ["n", 8])(model)
        swapped(model)

    explanation = explained(broken(good("onnx-torchscript", tiny), break_it), reference(tiny))

    assert set(causes(explanation)) == {"i-wrong-output", "pre-bgr-swap"}


def test_what_was_put_behind_the_right_value_is_not_the_outputs_fault() -> None:
    def twice(model: Any) -> None:
        behind_all(model, "Softmax", axis=1)

    def hundredfold(model: Any) -> None:
        behind_all(model, "Mul", [np.array(100, np.float32)])

    explanations: list[Explanation] = [
        explained(broken(good("onnx-torchscript", tiny), one), reference(tiny)) for one in (twice, hundredfold)
    ]

    assert [causes(one) for one in explanations] == [["head-softmax-twice"], ["head-percent"]]


def test_all_reports_tell_the_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    from parity.report.html import to_html
    from parity.report.markdown import to_markdown
    from parity.report.terminal import make_console, print_run

    run = check(tiny(), broken(good("onnx-torchscript", tiny), features_too), pictures(), backends=["onnxruntime"])
    print_run(run, make_console())

    for text in (capsys.readouterr().out, to_html(run), to_markdown(run)):
        assert "is read as the probabilities" in text
