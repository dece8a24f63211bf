"""Compression that costs too much is named with its layers, and the file without them is tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from conversion import Artifact, Classifier, open_artifact
from parity.backends.reference import Reference, make_reference
from parity.core.results import Diagnosis, Subject
from parity.core.tolerance import Tolerance
from parity.diagnosis.causes import Explainer
from parity.formats import format_of
from parity.formats.editing import Editable, edited
from parity.formats.graph import read_graph
from parity.judging import BY_DEFAULT, Judging, judge_with_prediction
from parity.suite.images import load_images
from tests.parity.compressing import compressed, linear, palette, program, quantised_network, quantised_onnx, saved
from tests.parity.tiny import PREPROCESSING, pictures, shifted, swapped, tiny

BACKENDS = {"onnx": "onnxruntime"}
INT8 = linear(mode="linear_symmetric")


@cache
def reference() -> Reference:
    return make_reference(tiny(), load_images(pictures(), PREPROCESSING))


def explained(artifact: Artifact, judging: Judging = BY_DEFAULT) -> Subject:
    backend = BACKENDS.get(artifact.format, "coreml-evaluator")
    subject, prediction = judge_with_prediction(reference(), artifact, backend, judging)
    return Explainer(seconds=600)(subject, reference(), artifact, prediction)


def faults(subject: Subject) -> list[tuple[str, bool]]:
    return [(diagnosis.fault, diagnosis.confirmed) for diagnosis in subject.diagnoses]


@cache
def small() -> tuple[Artifact, Subject]:
    """Two bits for every weight: much more than is ever allowed."""
    artifact = saved(program(tiny(), "iOS16"), (palette(mode="kmeans", nbits=2),), "two-bits")
    return artifact, explained(artifact)


def test_the_layers_that_cost_most_are_proposed_and_the_file_without_them_agrees() -> None:
    _, subject = small()
    diagnosis: Diagnosis = subject.diagnoses[0]

    assert subject.verdict == "fail"
    assert subject.tolerance == 0.15
    assert "2-bit palettised weights: 3 times what they cost" in subject.tolerance_reason
    assert faults(subject) == [("p-weight-quant", True)]
    assert "The layer that costs most is `linear" in diagnosis.message
    assert "uncompressed" in diagnosis.evidence
    assert diagnosis.fix.startswith("cto.OptimizationConfig(global_config=config, op_name_configs={")


def test_what_the_fix_says_makes_a_file_that_agrees() -> None:
    _, subject = small()
    written = subject.diagnoses[0].fix.partition("op_name_configs=")[2].rstrip(")")
    names = eval(written)

    kept = saved(
        program(tiny(), "iOS16"), (palette(mode="kmeans", nbits=2, op_name_configs=names),), "two-bits-but-for"
    )

    left = {weight.name for weight in format_of(kept).compressed_weights(kept)}
    assert len(left) == 2 - len(names)
    assert judge_with_prediction(reference(), kept, "coreml-evaluator")[0].verdict == "pass"


@pytest.mark.parametrize("name", ["int8", "int8 of iOS18", "pruned int8"])
def test_what_is_compressed_within_bounds_passes(name: str) -> None:
    subject, _ = judge_with_prediction(reference(), compressed(name), "coreml-evaluator")

    assert subject.verdict == ("fail" if name.startswith("pruned") else "pass")


@pytest.mark.parametrize(
    ("artifact", "line"),
    [
        (lambda: quantised_onnx(8), "nodes_to_exclude=["),
        (lambda: quantised_network(8, "linear"), "layer.name not in"),
    ],
    ids=["onnx", "network"],
)
def test_other_formats_get_a_proposal_too(artifact: Callable[[], Artifact], line: str) -> None:
    subject = explained(artifact(), Judging(Tolerance(0.003)))

    assert faults(subject) == [("p-weight-quant", True)]
    assert line in subject.diagnoses[0].fix


def test_a_wrong_scale_is_named_and_undone(tmp_path: Path) -> None:
    subject = explained(with_scales(tmp_path, 20.0))

    assert subject.verdict == "fail"
    assert faults(subject) == [("p-weight-grid", True)]
    assert "of the error" not in subject.tolerance_reason
    assert "times the error" in subject.diagnoses[0].message


def with_scales(directory: Path, factor: float) -> Artifact:
    """Multiply the scale of the head's int8 weights."""
    import onnx
    from onnx import numpy_helper

    was = quantised_onnx()
    model = onnx.load(str(was.path))
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and "linear" in n.output[0])
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(factor), scale.name))
    path = directory / "scales.onnx"
    onnx.save(model, str(path))
    return open_artifact(path)


def test_a_zeroed_layer_of_a_compressed_file_is_named(tmp_path: Path) -> None:
    def zeroed(model: Editable) -> None:
        graph = read_graph(compressed("int8"))
        operation, place = next(
            (o, p) for o in graph.operations for p, a in o.weights.items() if a.shape == (8, 96)
        )
        model.set_weight(operation.name, place, 0 * operation.weights[place])

    subject = explained(edited(compressed("int8"), [zeroed], tmp_path))

    assert subject.verdict == "fail"
    assert faults(subject) == [("wt-zeroed", True)]


@pytest.mark.parametrize("make", [swapped, shifted])
def test_what_is_wrong_besides_is_found_as_without_compression(make: Callable[[], Classifier]) -> None:
    """A conversion of another model, compressed and not."""
    plain = program(make(), "iOS16")
    name = make.__name__

    without, with_ = (explained(saved(plain, verbs, f"{name}{len(verbs)}")) for verbs in ((), (INT8,)))

    assert (without.verdict, with_.verdict) == ("fail", "fail")
    assert without.diagnoses[0].confirmed
    assert faults(with_)[0] == faults(without)[0]


def test_what_compression_explains_is_called_no_fault() -> None:
    artifact = compressed("even 6-bit palette")
    subject, prediction = judge_with_prediction(reference(), artifact, "coreml-evaluator")
    assert subject.verdict == "pass"
    assert (subject.max_abs_diff or 0) > 0.01

    told = Explainer(thorough=True)(subject, reference(), artifact, prediction).diagnoses

    assert [diagnosis.fault for diagnosis in told] == ["p-weight-quant"]
    assert "is what 6-bit palettised weights predict for this model: no fault" in told[0].message
