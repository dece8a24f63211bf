"""Outputs that are no class probabilities, read from files by their names, and what PyTorch answers beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from conversion import ConversionError, Model, OutputSpec, Task, open_artifact
from conversion.classifier import IMAGENET_MEAN, IMAGENET_STD
from parity import ParityError, check
from parity.backends import find_backend
from parity.backends.bound import bind
from parity.backends.reference import make_reference
from parity.core.metric import METRICS
from parity.core.tolerance import CostUnknownError
from parity.suite.images import ImageSet
from tests.coreml.programs import Builder, convert
from tests.parity.tasks import DENSE, DEPTH, MASK, segmenter
from tests.parity.tiny import converted, tiny

PIXELS = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


@pytest.fixture(autouse=True)
def _dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "dense", DENSE)


def saved(path: Path, *outputs: str) -> Path:
    """Write a network whose outputs are its image, doubled once more for each."""
    nodes = [
        helper.make_node("Mul", [before, "two"], [name])
        for before, name in zip(("image", *outputs), outputs, strict=False)
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in outputs]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph(nodes, "doubled", [image], results, [two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def task(*specs: OutputSpec) -> Task:
    return Task(specs)


def test_outputs_are_found_by_their_names_in_whatever_order(tmp_path: Path) -> None:
    artifact = bind(open_artifact(saved(tmp_path / "a.onnx", "depth", "mask")), task(MASK, DEPTH))

    found = find_backend("onnxruntime").load(artifact)(PIXELS)

    planes = PIXELS.transpose(0, 3, 1, 2).astype(np.float32)
    assert list(found.outputs) == ["mask", "depth"]
    np.testing.assert_array_equal(found.outputs["depth"], 2 * planes)
    np.testing.assert_array_equal(found.outputs["mask"], 4 * planes)


def test_the_only_output_is_the_one_whatever_it_is_called(tmp_path: Path) -> None:
    artifact = bind(open_artifact(saved(tmp_path / "a.onnx", "var_17")), task(MASK))

    assert artifact.bound == (("mask", "var_17"),)


def test_a_classifiers_output_is_settled_as_ever() -> None:
    artifact = converted("onnx-torchscript")

    assert bind(artifact, tiny().task) == artifact


def test_an_output_that_is_not_there_is_inconclusive(tmp_path: Path) -> None:
    run = check(segmenter(), saved(tmp_path / "a.onnx", "one", "two_"), PIXELS_AS_PICTURES, ["onnxruntime"])

    assert run.subjects[0].verdict == "inconclusive"
    assert run.subjects[0].reason.endswith("a.onnx: no output is called mask; the outputs are one, two_")
    assert [output.name for output in run.subjects[0].outputs] == ["mask"]


def pictures() -> list[Any]:
    from PIL import Image

    return [Image.fromarray(pixels) for pixels in PIXELS]


PIXELS_AS_PICTURES = pictures()


def test_a_core_ml_file_is_read_by_the_evaluator(tmp_path: Path) -> None:
    weight = segmenter().module.weight.detach().numpy()
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def body(image: Any) -> Any:
        scaled = Builder.mul(x=Builder.sub(x=image, y=255 * mean), y=1 / (255 * std))
        return Builder.sigmoid(x=Builder.conv(x=scaled, weight=weight, pad_type="same"), name="mask")

    convert(body, (1, 3, 8, 8)).save(str(tmp_path / "a.mlpackage"))

    run = check(segmenter(), tmp_path / "a.mlpackage", PIXELS_AS_PICTURES, ["coreml-evaluator"])

    assert [(s.verdict, s.tolerance, s.remarks) for s in run.subjects] == [("pass", 1e-4, ())]


# PyTorch


class Twofold(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return image.mean(1), image.amax((2, 3))


def twofold(*specs: OutputSpec) -> Model:
    return replace(segmenter(), module=Twofold().eval(), task=Task(specs))


def test_a_module_of_several_outputs_names_them_in_order() -> None:
    reference = make_reference(twofold(MASK, DEPTH), ImageSet(("a", "b"), PIXELS))

    assert {name: rows.shape for name, rows in reference.prediction.outputs.items()} == {
        "mask": (2, 8, 8),
        "depth": (2, 3),
    }
    with pytest.raises(CostUnknownError, match="of one output, and there are 2"):
        reference.cost("fp16")


def test_outputs_that_the_task_does_not_name_are_refused() -> None:
    with pytest.raises(
        ParityError, match=r"toy: the deployed module gives 2 outputs, and the task names 1 \(mask\)"
    ):
        make_reference(twofold(MASK), ImageSet(("a", "b"), PIXELS))


def test_what_rounding_costs_is_measured_by_the_metric() -> None:
    reference = make_reference(segmenter(), ImageSet(("a", "b"), PIXELS))

    largest = replace(reference.prediction, specs=(OutputSpec("mask", "largest"),))
    METRICS["largest"] = replace(DENSE, measure=lambda spec, one, other, named: _largest(one, other))
    try:
        other = replace(reference, prediction=largest).cost("fp16")
    finally:
        del METRICS["largest"]

    assert 0 < reference.cost("fp16") < other < 1e-2


def _largest(one: np.ndarray, other: np.ndarray) -> Any:
    from parity.core.metric import Measurement

    return (Measurement(float(apart.max())) for apart in np.abs(one - other))


def test_a_model_that_is_no_classifier_has_no_classes() -> None:
    reference = make_reference(segmenter(), ImageSet(("a", "b"), PIXELS))

    assert reference.model.labels == ()
    with pytest.raises(ParityError, match="toy is no classifier"):
        _ = reference.classifier


def test_a_task_refuses_what_it_cannot_use() -> None:
    def refuse(name: str, answer: Any) -> None:
        raise ConversionError(f"{name}: {tuple(answer.shape)} is no mask")

    with pytest.raises(ConversionError, match=r"toy: \(4, .*\) is no mask"):
        make_reference(replace(segmenter(), task=Task((MASK,), check=refuse)), ImageSet(("a",), PIXELS[:1]))
