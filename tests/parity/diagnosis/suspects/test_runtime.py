"""Files that are right, and runtimes of them that are not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Classifier, Preprocessing, convert
from conversion.artifact import open_artifact
from parity.backends import Predict, coreml_evaluator, coreml_native, onnxruntime
from parity.backends.reference import Reference, make_reference
from parity.core.results import Diagnosis, Prediction
from parity.diagnosis.causes import examine
from parity.diagnosis.search import explain
from parity.diagnosis.suspects import runtime
from parity.judging import judge_with_prediction
from parity.suite.images import load_images
from tests.parity.diagnosis.faulty import _home, good, reference
from tests.parity.tiny import LABELS, Tiny, pictures, tiny


@cache
def ceiling() -> Classifier:
    """Make a classifier whose pool begins its last window at the last column: onnx.reference is wrong there."""
    module = Tiny()
    module.convolution = torch.nn.Conv2d(3, 6, 3, stride=4, padding=1)
    module.pool = torch.nn.AvgPool2d(3, stride=3, ceil_mode=True)
    module.linear = torch.nn.Linear(54, len(LABELS))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return Classifier("ceiling", module.eval(), Preprocessing(size=(28, 28), resize=(28, 28)), LABELS)


def explained_on(backend: str, artifact: Artifact, against: Reference) -> tuple[Diagnosis, ...]:
    subject, prediction = judge_with_prediction(against, artifact, backend)
    assert subject.verdict == "fail"
    return explain(examine(subject, against, artifact, prediction)).diagnoses


def wrong(load: Any) -> Any:
    """Make a backend's `load` whose classes are exchanged."""

    def broken(artifact: Artifact, *arguments: Any, **options: Any) -> Predict:
        predict = load(artifact, *arguments, **options)

        def rolled(pixels: np.ndarray) -> Prediction:
            prediction = predict(pixels)
            values = np.asarray(prediction.probabilities, np.float64)
            return Prediction(values**3 / (values**3).sum(axis=1, keepdims=True)[:, ::-1], prediction.labels)

        return rolled

    return broken


def test_a_kernel_that_is_wrong_is_named_by_a_third_opinion() -> None:
    against = make_reference(ceiling(), load_images(pictures(), ceiling().preprocessing))
    artifact = convert(ceiling(), "onnx-torchscript", _home())

    (cause,) = explained_on("onnx-reference", artifact, against)

    assert (cause.fault, cause.confirmed) == ("v-runtime-regression", True)
    assert cause.evidence.startswith("the same file")
    assert cause.message.startswith("The ONNX reference evaluator ")
    assert "disagree on operation AveragePool" in cause.message
    assert "ONNX Runtime agrees with PyTorch" in cause.message


def test_the_optimiser_of_onnx_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "load", wrong(onnxruntime.load))

    (cause,) = explained_on("onnxruntime", good("onnx-torchscript", tiny), reference(tiny))

    assert (cause.fault, cause.confirmed) == ("v-runtime-regression", True)
    assert cause.evidence.startswith("the same file")
    assert "once it has optimised the graph" in cause.message
    assert cause.fix.endswith("ORT_DISABLE_ALL")


def test_apples_runtime_against_the_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreml_native, "why_not", lambda: None)
    monkeypatch.setattr(coreml_native, "load", wrong(coreml_evaluator.load))

    (cause,) = explained_on("coreml-native", good("mlprogram-fp32", tiny), reference(tiny))

    assert (cause.fault, cause.confirmed) == ("v-runtime-regression", True)
    assert cause.evidence.startswith("the same file")
    assert cause.message.startswith("Apple's runtime ")
    assert "the evaluator agrees with PyTorch" in cause.message


@pytest.fixture
def quantised(tmp_path: Path) -> Artifact:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(good("onnx-torchscript", tiny).path), str(tmp_path / "int8.onnx"))
    return open_artifact(tmp_path / "int8.onnx")


@pytest.mark.parametrize(("flags", "saturates"), [("sse2 avx2", True), ("sse2 avx512_vnni", False), ("", False)])
def test_sums_of_int8_that_saturate(
    flags: str, saturates: bool, quantised: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: some\nflags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(runtime, "CPU_INFO", tmp_path / "cpuinfo")
    right = onnxruntime.load(good("onnx-torchscript", tiny))
    monkeypatch.setattr(runtime, "_exact_sums", lambda artifact, batch: right)

    causes = explained_on("onnxruntime", quantised, reference(tiny))

    assert ("p-int8-saturation" in [c.fault for c in causes if c.confirmed]) == saturates


def test_exact_sums_of_int8_are_the_runtimes_own(quantised: Artifact) -> None:
    pixels = reference(tiny).images.pixels

    exact = runtime._exact_sums(quantised, 1)(pixels).probabilities

    # This machine's kernels do not saturate, or the weights are too small for it: both are the same.
    np.testing.assert_allclose(exact, onnxruntime.load(quantised)(pixels).probabilities, atol=0.05)
