"""A chain that fails: the first hop that is to blame is named, and no runtime is believed without a second."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from conversion import Artifact, convert
from conversion.classifier import Classifier
from parity.backends import CannotRunError, Predict
from parity.backends.reference import Reference, make_reference
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.core.tolerance import Tolerance
from parity.diagnosis import chain
from parity.diagnosis.chain import guilty_hop
from parity.suite.images import ImageSet, load_images
from tests.parity.diagnosis.injecting import change_weight, edited, nodes
from tests.parity.diagnosis.networks import LABELS as LABELS_OF
from tests.parity.diagnosis.networks import converted
from tests.parity.diagnosis.networks import reference as reference_of
from tests.parity.tiny import LABELS as TINY_LABELS
from tests.parity.tiny import PREPROCESSING, Tiny, pictures

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
    wrong: np.ndarray = WRONG,
) -> str:
    """Name the guilty hop after `backend` answered `wrong`, where these are all runtimes."""
    monkeypatch.setattr(chain, "find_backend", runtimes.__getitem__)
    monkeypatch.setattr(chain, "open_artifact", lambda path: Artifact(path, "onnx", "fp32", "-"))
    failed = compare(reference.prediction, Prediction(wrong, LABELS), Tolerance(1e-3), reference.images.names)
    assert failed.verdict == "fail"
    return guilty_hop(reference, artifact, backend, failed)


def test_the_first_hop_of_a_chain_is_to_blame(monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
    onnx = Runtime({"net.onnx": WRONG})

    hop = blamed(monkeypatch, reference, CHAIN, "coreml-evaluator", {"onnxruntime": onnx})

    assert hop == "torch -> onnx"
    # One image is enough, the worst, so that slow runtimes can be asked too.
    assert onnx.asked == [("net.onnx", [1])]


@pytest.mark.parametrize(("cost", "hop"), [(0.0, "torch -> onnx"), (3e-5, "onnx -> neuralnetwork")])
def test_a_hop_may_be_off_by_what_fp32_costs(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, cost: float, hop: str
) -> None:
    vars(reference)["fp32_cost"] = cost
    onnx = Runtime({"net.onnx": RIGHT + 5e-5})

    assert (
        blamed(monkeypatch, reference, CHAIN, "coreml-evaluator", {"onnxruntime": onnx, "coreml-native": onnx})
        == hop
    )


def test_a_hop_that_cannot_be_run_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unable(Runtime):
        def load(self, artifact: Artifact, batch: int = 1) -> Predict:
            raise CannotRunError("not its operators")

    able = chain.find_backend
    unable = {"onnx-reference": Unable({})}
    monkeypatch.setattr(chain, "find_backend", lambda name: unable.get(name) or able(name))

    last = chain.chain(reference_of("residual"), converted("residual", "onnx"))[-1]

    assert (last.name, last.verdict, last.reason) == ("onnx.reference", "skipped", "not its operators")


def test_the_second_hop_of_a_chain_is_to_blame(monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
    onnx, native = Runtime({"net.onnx": RIGHT}), Runtime({"net.mlmodel": WRONG})

    runtimes = {"onnxruntime": onnx, "coreml-native": native}
    hop = blamed(monkeypatch, reference, CHAIN, "coreml-evaluator", runtimes)

    assert hop == "onnx -> neuralnetwork"
    assert native.asked == [("net.mlmodel", [1])]


@pytest.mark.parametrize(
    ("backend", "others"),
    [
        ("coreml-evaluator", {"coreml-native": RIGHT}),
        ("coreml-native", {"coreml-evaluator": RIGHT}),
        # What was recorded elsewhere may be contradicted by either runtime that is here.
        ("recorded", {"coreml-native": "needs macOS", "coreml-evaluator": RIGHT}),
        ("recorded-phone", {"coreml-native": RIGHT, "coreml-evaluator": WRONG}),
    ],
)
def test_the_runtime_at_the_end_of_a_chain_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, backend: str, others: dict[str, np.ndarray | str]
) -> None:
    runtimes = {
        "onnxruntime": Runtime({"net.onnx": RIGHT}),
        **{other: Runtime({"net.mlmodel": opinion}) for other, opinion in others.items()},
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
    wrong = WRONG.copy()
    wrong[2] = np.nan
    second = Runtime({"net.onnx": RIGHT})

    hop = blamed(monkeypatch, reference, ONNX, "onnxruntime", {"onnx-reference": second}, wrong)

    assert hop == "onnx file -> onnxruntime"
    assert second.asked == [("net.onnx", [2])]


def test_an_intermediate_that_cannot_be_opened_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    torn = tmp_path / "net.onnx"
    torn.write_text("not a model", encoding="utf-8")
    artifact = Artifact(tmp_path / "net.mlmodel", "neuralnetwork", "fp32", "onnx-coreml", None, torn)
    monkeypatch.setattr(chain, "find_backend", lambda name: Runtime({}))
    failed = compare(reference.prediction, Prediction(WRONG, LABELS), Tolerance(1e-3), reference.images.names)

    assert guilty_hop(reference, artifact, "coreml-evaluator", failed) == "torch -> onnx"


def test_without_a_comparison_of_images_no_hop_is_named(reference: Reference) -> None:
    failed = compare(reference.prediction, Prediction(RIGHT[:, :1]), Tolerance(1e-3), reference.images.names)

    assert failed.verdict == "fail"
    assert guilty_hop(reference, ONNX, "onnxruntime", failed) == ""


def test_every_format_has_a_second_backend_for_a_second_opinion() -> None:
    from parity.backends import backends_for

    for form in ("onnx", "mlprogram", "neuralnetwork"):
        assert len(backends_for(form)) > 1


# Every hop


def test_every_hop_of_a_sound_chain_holds() -> None:
    hops = chain.chain(reference_of("residual"), converted("residual", "onnx-coreml"))

    assert [hop.name for hop in hops] == [
        "torch with normalisation and softmax",
        "onnx unoptimised",
        "onnx optimised",
        "onnx.reference",
        "neuralnetwork in fp32",
        "coreml-native",
    ]
    assert {hop.verdict for hop in hops[:-1]} == {"pass"}
    assert all(hop.max_abs_diff is not None and hop.max_abs_diff < 1e-5 for hop in hops[:-1])


@pytest.mark.skipif(sys.platform == "darwin", reason="there is Apple's runtime there")
def test_a_module_with_its_softmax_inside_holds_by_itself(tmp_path: Path) -> None:
    module = torch.nn.Sequential(Tiny(), torch.nn.Softmax(dim=1)).eval()
    inside = Classifier("inside", module, PREPROCESSING, TINY_LABELS, softmax="inside")
    reference = make_reference(inside, load_images(pictures(), PREPROCESSING))

    hops = chain.chain(reference, convert(inside, "onnx-torchscript", tmp_path))

    assert [hop.verdict for hop in hops] == ["pass"] * 4
    assert hops[0].name == "torch with normalisation and softmax"


def test_a_hop_that_cannot_run_says_why() -> None:
    native = chain.chain(reference_of("residual"), converted("residual", "mlprogram"))[-1]

    assert (native.name, native.verdict) == ("coreml-native", "skipped")
    assert "macOS" in native.reason


def test_a_program_is_run_in_fp32_and_in_fp16() -> None:
    hops = {hop.name: hop for hop in chain.chain(reference_of("residual"), converted("residual", "mlprogram"))}

    single, half = hops["mlprogram in fp32"], hops["mlprogram in fp16"]
    assert single.max_abs_diff is not None
    assert half.max_abs_diff is not None
    assert single.max_abs_diff < half.max_abs_diff < 0.01


def test_a_broken_file_fails_at_its_first_hop() -> None:
    broken = edited("residual", "onnx", lambda m: change_weight(m, nodes(m, "Conv")[0].input[2], lambda a: a + 3))

    first = next(hop for hop in chain.chain(reference_of("residual"), broken) if hop.verdict != "pass")

    assert (first.name, first.verdict) == ("onnx unoptimised", "fail")


def test_fp16_is_guilty_where_fp32_of_the_same_file_agrees() -> None:
    against, artifact = reference_of("residual"), converted("residual", "mlprogram")
    wrong = np.roll(against.prediction.probabilities, 1, axis=1)
    failed = compare(against.prediction, Prediction(wrong, LABELS_OF), Tolerance(0.01), against.images.names)

    assert guilty_hop(against, artifact, "coreml-evaluator", failed) == "mlprogram in fp32 -> mlprogram in fp16"


def test_optimisation_is_guilty_where_the_plain_graph_agrees() -> None:
    against, artifact = reference_of("residual"), converted("residual", "onnx")
    wrong = np.roll(against.prediction.probabilities, 1, axis=1)
    failed = compare(against.prediction, Prediction(wrong, LABELS_OF), Tolerance(1e-4), against.images.names)

    assert guilty_hop(against, artifact, "onnxruntime", failed) == "onnx unoptimised -> onnx optimised"
