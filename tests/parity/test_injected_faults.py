"""Faults that users ship, put into a good file of each format: each must be told from the good one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conversion import Classifier, convert
from conversion.guards.quiet import import_coremltools
from conversion.provenance import KEY
from parity import check
from parity.core.results import Subject
from parity.suite.models import load_classifier
from tests.sampling import sample_of_each

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "fixtures" / "images" / "photos"
ROUTE_OF = {"onnx": "onnx", "mlprogram": "mlprogram", "neuralnetwork": "onnx-coreml"}
BACKEND_OF = {"onnx": "onnxruntime", "mlprogram": "coreml-evaluator", "neuralnetwork": "coreml-evaluator"}
BGR = 30  # FeatureTypes.proto: ImageFeatureType.ColorSpace


@cache
def classifier() -> Classifier:
    return load_classifier(f"{ROOT}/fixtures/models.py:efficientnet_lite0")


def onnx_swap_channels(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "image":
                node.input[i] = "swapped"
    swap = onnx.helper.make_node("Gather", ["image", "bgr"], ["swapped"], axis=1)
    model.graph.node.insert(0, swap)


def onnx_drop_normalisation(model: Any) -> None:
    for name, value in (("image_mean", 0.0), ("image_scale", 1.0)):
        onnx_set(model, name, value)


def onnx_permute_labels(model: Any) -> None:
    entry = next(e for e in model.metadata_props if e.key == KEY)
    entry.value = reversed_labels(entry.value)


def onnx_drop_softmax(model: Any) -> None:
    softmax = next(n for n in model.graph.node if n.op_type == "Softmax")
    before = next(n for n in model.graph.node if softmax.input[0] in n.output)
    before.output[list(before.output).index(softmax.input[0])] = softmax.output[0]
    model.graph.node.remove(softmax)


def onnx_nan(model: Any) -> None:
    onnx_set(model, "image_mean", np.nan)


def onnx_set(model: Any, name: str, value: float) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = np.full_like(numpy_helper.to_array(tensor), value)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def mil_swap_channels(spec: Any) -> None:
    spec.description.input[0].type.imageType.colorSpace = BGR


def mil_drop_normalisation(spec: Any) -> None:
    for operation in ("sub", "mul"):
        # The first of its kind is normalisation's; without it the network sees what came before.
        bypass(spec, next(op for op in mil_operations(spec) if op.type == operation), "x")


def mil_permute_labels(spec: Any) -> None:
    classify = next(op for op in mil_operations(spec) if op.type == "classify")
    classes = mil_constant(spec, classify.inputs["classes"].arguments[0])
    strings = classes.immediateValue.list.values or classes.immediateValue.tensor.strings.values
    if classes.immediateValue.WhichOneof("value") == "list":
        reverse_in_place(strings, lambda v: v.immediateValue.tensor.strings.values)
    else:
        names = list(strings)[::-1]
        del classes.immediateValue.tensor.strings.values[:]
        classes.immediateValue.tensor.strings.values.extend(names)


def mil_drop_softmax(spec: Any) -> None:
    bypass(spec, next(op for op in mil_operations(spec) if op.type == "softmax"), "x")


def mil_nan(spec: Any) -> None:
    sub = next(op for op in mil_operations(spec) if op.type == "sub")
    value = mil_constant(spec, sub.inputs["y"].arguments[0]).immediateValue.tensor
    if value.WhichOneof("value") == "bytes":
        count = len(value.bytes.values) // 2
        value.bytes.values = np.full(count, np.nan, np.float16).tobytes()
    else:
        value.floats.values[:] = [np.nan] * len(value.floats.values)


def mil_operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def mil_constant(spec: Any, binding: Any) -> Any:
    if binding.WhichOneof("binding") == "value":
        return binding.value
    const = next(op for op in mil_operations(spec) if op.type == "const" and op.outputs[0].name == binding.name)
    return const.attributes["val"]


def bypass(spec: Any, operation: Any, kept: str) -> None:
    source, name = operation.inputs[kept].arguments[0].name, operation.outputs[0].name
    for other in mil_operations(spec):
        for argument in other.inputs.values():
            for binding in argument.arguments:
                if binding.name == name and binding.WhichOneof("binding") == "name":
                    binding.name = source
    mil_operations(spec).remove(operation)


def reverse_in_place(items: Any, text_of: Callable[[Any], Any]) -> None:
    names = [text_of(item)[0] for item in items][::-1]
    for item, name in zip(items, names, strict=True):
        text_of(item)[0] = name


def nn_swap_channels(spec: Any) -> None:
    spec.description.input[0].type.imageType.colorSpace = BGR


def nn_drop_normalisation(spec: Any) -> None:
    nn_set(spec, "image_mean", 0.0)
    nn_set(spec, "image_scale", 1.0)


def nn_permute_labels(spec: Any) -> None:
    names = list(spec.neuralNetworkClassifier.stringClassLabels.vector)[::-1]
    spec.neuralNetworkClassifier.stringClassLabels.vector[:] = names


def nn_drop_softmax(spec: Any) -> None:
    layers = spec.neuralNetworkClassifier.layers
    softmax = next(layer for layer in layers if layer.WhichOneof("layer") == "softmax")
    before = next(layer for layer in layers if softmax.input[0] in layer.output)
    before.output[0] = softmax.output[0]
    layers.remove(softmax)


def nn_nan(spec: Any) -> None:
    nn_set(spec, "image_mean", np.nan)


def nn_set(spec: Any, name: str, value: float) -> None:
    layer = next(x for x in spec.neuralNetworkClassifier.layers if x.name == name)
    values = layer.loadConstant.data.floatValue
    values[:] = [value] * len(values)


def reversed_labels(note: str) -> str:
    import json

    content = json.loads(note)
    return json.dumps({**content, "labels": content["labels"][::-1]})


FAULTS: dict[str, dict[str, Callable[[Any], None]]] = {
    "onnx": {
        "swapped channels": onnx_swap_channels,
        "no normalisation": onnx_drop_normalisation,
        "permuted labels": onnx_permute_labels,
        "no softmax": onnx_drop_softmax,
        "NaN": onnx_nan,
    },
    "mlprogram": {
        "swapped channels": mil_swap_channels,
        "no normalisation": mil_drop_normalisation,
        "permuted labels": mil_permute_labels,
        "no softmax": mil_drop_softmax,
        "NaN": mil_nan,
    },
    "neuralnetwork": {
        "swapped channels": nn_swap_channels,
        "no normalisation": nn_drop_normalisation,
        "permuted labels": nn_permute_labels,
        "no softmax": nn_drop_softmax,
        "NaN": nn_nan,
    },
}


def broken(format_name: str, break_it: Callable[[Any], None], directory: Path) -> Path:
    """Copy the good artefact, break the copy, return its path."""
    good = convert(classifier(), ROUTE_OF[format_name], ROOT / ".parity").path
    path = directory / good.name
    if format_name == "onnx":
        model = onnx.load(str(good))
        break_it(model)
        onnx.save(model, str(path))
        return path
    utils = import_coremltools().utils
    spec = utils.load_spec(str(good))
    break_it(spec)
    if good.is_dir():
        shutil.copytree(good, path)
        (path / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(spec.SerializeToString())
    else:
        utils.save_spec(spec, str(path))
    return path


def judged(format_name: str, break_it: Callable[[Any], None], directory: Path) -> Subject:
    artifact, backends = broken(format_name, break_it, directory), [BACKEND_OF[format_name]]
    # Why it fails is another matter: tests/faults asks for the causes.
    run = check(classifier(), artifact, PHOTOS, backends=backends, explain=False)
    assert len(run.subjects) == 1
    assert run.exit_code == (0 if run.subjects[0].verdict == "pass" else 1)
    return run.subjects[0]


@pytest.mark.parametrize("format_name", FAULTS)
def test_the_untouched_copy_passes(format_name: str, tmp_path: Path) -> None:
    assert judged(format_name, lambda model: None, tmp_path).verdict == "pass"


# Each fault in one format at least; `make faults` injects more of them into more networks.
CHOSEN = sample_of_each(
    ([f"{name}/{fault}" for name, faults in FAULTS.items() if fault in faults] for fault in FAULTS["onnx"]), 9
)


@pytest.mark.parametrize(("format_name", "fault"), [name.split("/") for name in sorted(CHOSEN)])
def test_a_fault_is_told_from_the_good_model(format_name: str, fault: str, tmp_path: Path) -> None:
    subject = judged(format_name, FAULTS[format_name][fault], tmp_path)
    verdicts = {case.verdict for case in subject.cases}

    assert subject.verdict == "fail"
    if fault == "NaN":
        assert verdicts == {"error"}
        assert subject.required_tolerance is None
    elif fault == "no softmax":
        # The labels all agree: comparing top-1 alone would have passed this.
        assert subject.top1_agreement == 1.0
        assert verdicts == {"drift"}
    elif fault == "permuted labels":
        assert subject.top1_agreement == 0.0
        assert verdicts == {"flip"}
        # The numbers are the same, under other names.
        assert all(
            c.candidate.probability == pytest.approx(c.reference.probability, abs=0.02) for c in subject.cases
        )
    else:
        assert "flip" in verdicts
