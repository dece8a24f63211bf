"""A file with compressed weights is held to PyTorch with those very weights, by the tolerance of its precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from conversion import Artifact, open_artifact
from parity.core.prediction import Prediction
from parity.core.tolerance import Tolerance
from parity.diagnosis.compression_cost import allowed_for
from parity.diagnosis.compression_twin import compressed_twin
from parity.formats.editing import Editable, edited
from parity.formats.graph import read_graph
from parity.judging import Judging, judge_prediction, judge_with_prediction
from tests.parity.compressing import PROGRAMS, answers, compressed, quantised_onnx, reference
from tests.parity.tiny import converted


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_fp32_the_twin_answers_as_the_file_does(name: str) -> None:
    artifact = compressed(name, "FLOAT32")
    twin = compressed_twin(reference(), artifact)

    assert twin is not None
    # A batch norm is folded in fp32, and unfolded again.
    assert np.abs(twin.prediction.probabilities - answers(artifact)).max() < 1e-4
    assert np.abs(twin.prediction.probabilities - reference().prediction.probabilities).max() > 1e-3


def test_the_twin_of_an_onnx_file_too() -> None:
    twin = compressed_twin(reference(), quantised_onnx(8))

    assert twin is not None
    assert np.abs(twin.prediction.probabilities - answers(quantised_onnx(8))).max() < 1e-4


def test_compressed_weights_that_nobody_can_place_have_none() -> None:
    """There mean and std are compressed too: what that costs is not the twin's."""
    assert compressed_twin(reference(), quantised_onnx()) is None


def test_a_file_without_compressed_weights_has_none() -> None:
    assert compressed_twin(reference(), converted("mlprogram")) is None


def with_another_head(directory: Path) -> Artifact:
    def other(model: Editable) -> None:
        operations = read_graph(compressed("int8")).operations
        operation, place = next((o, p) for o in operations for p, a in o.weights.items() if a.shape == (8, 96))
        model.set_weight(operation.name, place, operation.weights[place][::-1])

    return edited(compressed("int8"), [other], directory)


def test_weights_that_are_not_pytorchs_have_none(tmp_path: Path) -> None:
    """Else another checkpoint would be its own excuse."""
    assert compressed_twin(reference(), with_another_head(tmp_path)) is None


def with_rounded_pixels(path: Path) -> Artifact:
    """Round the pixels to whole numbers, as static quantisation rounds activations."""
    model = onnx.load(str(quantised_onnx(8).path))
    image = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["rounded" if name == image else name for name in node.input]
    scale = helper.make_tensor("pixel_scale", onnx.TensorProto.FLOAT, [], [1.0])
    zero = helper.make_tensor("pixel_zero", onnx.TensorProto.UINT8, [], [0])
    model.graph.initializer.extend([scale, zero])
    names = ["pixel_scale", "pixel_zero"]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["steps", *names], ["rounded"]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", [image, *names], ["steps"]))
    onnx.save(model, path)
    return open_artifact(path)


def test_rounded_activations_have_none(tmp_path: Path) -> None:
    """Their rounding is not the twin's."""
    assert compressed_twin(reference(), with_rounded_pixels(tmp_path / "rounded.onnx")) is None


def test_a_module_that_cannot_be_copied_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("no two of me")

    monkeypatch.setattr("parity.diagnosis.compression.copy", SimpleNamespace(deepcopy=fails))

    assert compressed_twin(replace(reference(), twins={}), compressed("int8")) is None


def shifted(share: float) -> Prediction:
    """Answer as the file of 4-bit palettes does, moved by a share of what these may cost."""
    artifact = compressed("4-bit palette")
    *_, allowed = allowed_for(reference(), artifact)
    rows = answers(artifact).astype(np.float64)
    moved = rows.copy()
    order = np.argsort(rows, axis=1)
    every = np.arange(len(rows))
    # From the best to the next, but never so far that the two change places.
    step = np.minimum(share * allowed.probability, rows[every, order[:, -1]] / 4)
    moved[every, order[:, 0]] += step
    moved[every, order[:, -1]] -= step
    return Prediction(moved, reference().prediction.labels)


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "pass"), (0.5, "fail")])
def test_what_compression_might_have_cost_and_did_not_fails(share: float, verdict: str) -> None:
    artifact = compressed("4-bit palette")
    subject = judge_prediction(reference(), artifact, "coreml-evaluator", shifted(share))

    assert subject.verdict == verdict
    assert subject.compressed_alike == (verdict == "fail")
    if verdict == "fail":
        assert "but these are PyTorch's own" in subject.reason
        assert subject.tolerance_reason.startswith("compressed alike: fp16")


def test_a_tolerance_that_somebody_states_is_the_only_one() -> None:
    judging = Judging(Tolerance(0.3))

    judged = judge_prediction(reference(), compressed("4-bit palette"), "coreml-evaluator", shifted(0.5), judging)

    assert (judged.verdict, judged.compressed_alike) == ("pass", False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_coremltools_compresses_still_passes_or_costs_too_much(name: str) -> None:
    subject, _ = judge_with_prediction(reference(), compressed(name), "coreml-evaluator")

    assert not subject.compressed_alike
