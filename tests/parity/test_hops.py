"""A chain that fails: the first hop that is to blame is named, and no runtime is believed without a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from conversion import Artifact
from conversion.classifier import Classifier
from parity import hops
from parity.backends import Predict
from parity.compare import compare
from parity.errors import ParityError
from parity.hops import SECOND_OPINIONS, guilty_hop
from parity.images import ImageSet
from parity.reference import Reference
from parity.results import Prediction
from parity.tolerance import Tolerance
from tests.parity.tiny import PREPROCESSING, Tiny

LABELS = ("cat", "dog")
RIGHT = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
# The second image is the worst.
WRONG = np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
ONNX = Artifact(Path("net.onnx"), "onnx", "fp32", "onnx")
MLPROGRAM = Artifact(Path("net.mlpackage"), "mlprogram", "fp32", "mlprogram-fp32")
CHAIN = Artifact(Path("net.mlmodel"), "neuralnetwork", "fp32", "onnx-coreml", None, Path("net.onnx"))


class Runtime:
    """Answer by the file's name, and remember for which images it was asked."""

    FORMATS = ("onnx", "mlprogram", "neuralnetwork")

    def __init__(self, answers: Mapping[str, np.ndarray | Exception | str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, list[int]]] = []

    def why_not(self) -> str | None:
        return next((answer for answer in self.answers.values() if isinstance(answer, str)), None)

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        answer = self.answers[artifact.path.name]

        def predict(pixels: np.ndarray) -> Prediction:
            images = [int(image.flat[0]) for image in pixels]
            self.asked.append((artifact.path.name, images))
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, np.ndarray)
            return Prediction(answer[images], LABELS)

        return predict


@pytest.fixture
def reference() -> Reference:
    """Make three images, each of whose pixels says which it is."""
    pixels = np.stack([np.full((2, 2, 3), i, np.uint8) for i in range(3)])
    classifier = Classifier("net", Tiny().eval(), PREPROCESSING, LABELS)
    return Reference(classifier, ImageSet(("a.png", "b.png", "c.png"), pixels), Prediction(RIGHT, LABELS))


def blamed(
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
    artifact: Artifact,
    backend: str,
    runtimes: Mapping[str, Runtime],
    found: np.ndarray = WRONG,
) -> str:
    """Name the guilty hop after `backend` answered `found`, where these are all runtimes."""
    monkeypatch.setattr(hops, "find_backend", runtimes.__getitem__)
    monkeypatch.setattr(hops, "open_artifact", lambda path: Artifact(path, "onnx", "fp32", "-"))
    failed = compare(reference.prediction, Prediction(found, LABELS), Tolerance(1e-3), reference.images.names)
    assert failed.verdict == "fail"
    return guilty_hop(reference, artifact, backend, failed)


def test_the_first_hop_of_a_chain_is_to_blame(monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
    onnx = Runtime({"net.onnx": WRONG})

    hop = blamed(monkeypatch, reference, CHAIN, "coreml-evaluator", {"onnxruntime": onnx})

    assert hop == "torch -> onnx"
    # One image is enough, the worst, so that slow runtimes can be asked too.
    assert onnx.asked == [("net.onnx", [1])]


def test_the_second_hop_of_a_chain_is_to_blame(monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
    onnx, native = Runtime({"net.onnx": RIGHT}), Runtime({"net.mlmodel": WRONG})

    runtimes = {"onnxruntime": onnx, "coreml-native": native}
    hop = blamed(monkeypatch, reference, CHAIN, "coreml-evaluator", runtimes)

    assert hop == "onnx -> neuralnetwork"
    assert native.asked == [("net.mlmodel", [1])]


@pytest.mark.parametrize("backend", ["coreml-evaluator", "coreml-native"])
def test_the_runtime_at_the_end_of_a_chain_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, backend: str
) -> None:
    runtimes = {
        "onnxruntime": Runtime({"net.onnx": RIGHT}),
        SECOND_OPINIONS[backend]: Runtime({"net.mlmodel": RIGHT}),
    }

    assert blamed(monkeypatch, reference, CHAIN, backend, runtimes) == f"neuralnetwork file -> {backend}"


@pytest.mark.parametrize(
    ("artifact", "backend", "second", "opinion", "hop"),
    [
        (ONNX, "onnxruntime", "onnx-reference", WRONG, "torch -> onnx"),
        (ONNX, "onnxruntime", "onnx-reference", RIGHT, "onnx file -> onnxruntime"),
        (ONNX, "onnx-reference", "onnxruntime", RIGHT, "onnx file -> onnx-reference"),
        (MLPROGRAM, "coreml-evaluator", "coreml-native", WRONG, "torch -> mlprogram"),
        (MLPROGRAM, "coreml-evaluator", "coreml-native", RIGHT, "mlprogram file -> coreml-evaluator"),
        (MLPROGRAM, "coreml-native", "coreml-evaluator", RIGHT, "mlprogram file -> coreml-native"),
        # A runtime that is not here, or that breaks, is no witness: the conversion stays to blame.
        (MLPROGRAM, "coreml-evaluator", "coreml-native", "needs macOS", "torch -> mlprogram"),
        (MLPROGRAM, "coreml-evaluator", "coreml-native", ParityError("broken"), "torch -> mlprogram"),
        (ONNX, "onnxruntime", "onnx-reference", RuntimeError("broken"), "torch -> onnx"),
    ],
)
def test_routes_of_one_hop(
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
    artifact: Artifact,
    backend: str,
    second: str,
    opinion: np.ndarray | Exception | str,
    hop: str,
) -> None:
    runtimes = {second: Runtime({artifact.path.name: opinion})}

    assert blamed(monkeypatch, reference, artifact, backend, runtimes) == hop


def test_an_answer_that_is_not_finite_is_the_worst(monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
    found = WRONG.copy()
    found[2] = np.nan
    second = Runtime({"net.onnx": RIGHT})

    hop = blamed(monkeypatch, reference, ONNX, "onnxruntime", {"onnx-reference": second}, found)

    assert hop == "onnx file -> onnxruntime"
    assert second.asked == [("net.onnx", [2])]


def test_an_intermediate_that_cannot_be_opened_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    torn = tmp_path / "net.onnx"
    torn.write_text("not a model", encoding="utf-8")
    artifact = Artifact(tmp_path / "net.mlmodel", "neuralnetwork", "fp32", "onnx-coreml", None, torn)
    monkeypatch.setattr(hops, "find_backend", lambda name: Runtime({}))
    failed = compare(reference.prediction, Prediction(WRONG, LABELS), Tolerance(1e-3), reference.images.names)

    assert guilty_hop(reference, artifact, "coreml-evaluator", failed) == "torch -> onnx"


def test_without_a_comparison_of_images_no_hop_is_named(reference: Reference) -> None:
    failed = compare(reference.prediction, Prediction(RIGHT[:, :1]), Tolerance(1e-3), reference.images.names)

    assert failed.verdict == "fail"
    assert guilty_hop(reference, ONNX, "onnxruntime", failed) == ""


def test_every_backend_has_another_of_its_formats_for_a_second_opinion() -> None:
    from parity.backends import BACKENDS, find_backend

    assert set(SECOND_OPINIONS) == set(BACKENDS)
    for backend, second in SECOND_OPINIONS.items():
        assert backend != second
        assert set(find_backend(backend).FORMATS) == set(find_backend(second).FORMATS)
