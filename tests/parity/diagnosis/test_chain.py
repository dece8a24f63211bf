"""A chain that fails: the first hop that is to blame is named, and no runtime is believed without a second."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from conversion import Artifact, convert
from conversion.classifier import Classifier
from parity.backends import CannotRunError, Predict, find_backend
from parity.backends.reference import Reference, make_reference
from parity.core.compare import compare
from parity.core.errors import ParityError
from parity.core.results import Prediction
from parity.core.tolerance import Tolerance
from parity.diagnosis import chain
from parity.diagnosis.chain import guilty_hop
from parity.diagnosis.repair import only
from parity.diagnosis.second_look import JudgeAgain
from parity.judging import Judging, judge_prediction
from parity.suite.images import ImageSet, load_images
from tests.conversion.needs import needs_coreai
from tests.parity import sensitive
from tests.parity.diagnosis.injecting import change_weight, edited, nodes
from tests.parity.diagnosis.networks import LABELS as LABELS_OF
from tests.parity.diagnosis.networks import converted
from tests.parity.diagnosis.networks import reference as reference_of
from tests.parity.diagnosis.test_second_look import artifact as fp16_file
from tests.parity.diagnosis.test_second_look import reference as many
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


@needs_coreai
def test_the_chain_of_core_ai_has_core_ais_runtime_alone() -> None:
    hops = chain.chain(reference_of("residual"), converted("residual", "coreai"))

    assert [(hop.name, hop.verdict) for hop in hops] == [
        ("torch with normalisation and softmax", "pass"),
        ("coreai in fp32", "pass"),
    ]


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


# Many images: hops are looked at again as the leg is


SHIFT = np.array([1.0, -0.5, -0.5])


def judge_of(artifact: Artifact) -> JudgeAgain:
    """Judge a file as a leg over all pictures of tests.parity.sensitive is."""
    *_, widest = many().tolerances(artifact)
    return JudgeAgain(artifact, many().with_second_look(widest, artifact.precision), len(many().images.names))


def moved(artifact: Artifact, rows: Sequence[int], by: float) -> Prediction:
    """Let the evaluator answer, and move its answers to some pictures."""
    answers = find_backend("coreml-evaluator").load(artifact)(many().images.pixels)
    numbers = np.asarray(answers.probabilities, np.float64)
    numbers[list(rows)] += by * SHIFT
    return replace(answers, probabilities=numbers, outputs={}, top1=None)


class Native:
    """Stand in for Apple's runtime: it gives the pictures answers that are known beforehand."""

    def __init__(self, answers: Prediction) -> None:
        self.answers = answers

    def why_not(self) -> str | None:
        return None

    def load(self, artifact: Artifact, batch: int = 1) -> Predict:
        names = {pixels.tobytes(): place for place, pixels in enumerate(many().images.pixels)}
        return lambda pixels: self.answers.of([names[one.tobytes()] for one in pixels])


def with_native(monkeypatch: pytest.MonkeyPatch, answers: Prediction) -> None:
    """Let a runtime that gives these answers be Apple's."""
    able = chain.find_backend
    monkeypatch.setattr(
        chain, "find_backend", lambda name: Native(answers) if name == "coreml-native" else able(name)
    )


# The evaluator is 0.013 off on this picture; 0.01 is allowed, and rounding costs PyTorch more on it.
PICTURE = 58


@pytest.mark.parametrize(
    ("second", "native", "hop"),
    [
        (True, 0.0, "mlprogram file -> coreml-evaluator"),
        # The tolerance alone blames the file, whose other runtime is as near as rounding lets it be.
        (False, 0.0, "torch -> mlprogram"),
        # A runtime that is off by more than rounding costs is no witness, whatever is excused.
        (True, 0.15, "torch -> mlprogram"),
    ],
)
def test_a_hop_is_sound_that_is_off_by_what_rounding_costs_on_that_image(
    monkeypatch: pytest.MonkeyPatch, second: bool, native: float, hop: str
) -> None:
    file = fp16_file(sensitive.sensitive)
    # The file is as good in fp32: without that runtime fp16 would be to blame.
    monkeypatch.setattr(chain, "_rounds", lambda artifact: False)
    with_native(monkeypatch, moved(file, [PICTURE], native))
    judge = judge_of(file)
    failed = compare(
        many().prediction, moved(file, [PICTURE], 0.2), Tolerance(judge.allowed.distance), many().images.names
    )
    assert judge(many(), failed).verdict == "fail"

    named = guilty_hop(many(), file, "coreml-evaluator", judge(many(), failed), judge if second else None)

    assert named == hop


def test_the_image_that_is_not_excused_tells_though_others_are_further_off(monkeypatch: pytest.MonkeyPatch) -> None:
    file = fp16_file(sensitive.sensitive)
    # On a dark picture rounding costs next to nothing, and 0.02 is beyond all that it excuses.
    wrong = moved(file, [0], 0.02)
    wrong.probabilities[PICTURE] = moved(file, [PICTURE], -0.02).probabilities[PICTURE]
    asked: list[int] = []
    right = moved(file, [], 0.0)
    with_native(monkeypatch, right)
    monkeypatch.setattr(chain, "only", lambda whole, rows: asked.extend(rows) or only(whole, rows))
    judge = judge_of(file)
    failed = judge(
        many(), compare(many().prediction, wrong, Tolerance(judge.allowed.distance), many().images.names)
    )
    assert failed.cases[PICTURE].own_allowed
    assert (failed.cases[PICTURE].max_abs_diff or 0.0) > (failed.cases[0].max_abs_diff or 0.0)

    assert guilty_hop(many(), file, "coreml-evaluator", failed, judge) == "mlprogram file -> coreml-evaluator"
    assert asked == [0]


@pytest.mark.parametrize(("beyond", "hop"), [(7, "mlprogram file -> coreml-evaluator"), (8, "torch -> mlprogram")])
def test_of_a_leg_that_fails_by_how_many_are_excused_another_runtime_may_need_no_more_than_chance_explains(
    monkeypatch: pytest.MonkeyPatch, beyond: int, hop: str
) -> None:
    # Each image may be off by 0.045; of 70 chance explains seven that need it.
    monkeypatch.setattr("parity.backends.own_cost.own_cost", lambda *anything: lambda place, draw: 0.01)
    monkeypatch.setattr(chain, "_rounds", lambda artifact: False)
    file, dark = fp16_file(sensitive.sensitive), [n for n in range(70) if n not in sensitive.BRIGHT]
    judge = judge_of(file)
    wrong = moved(file, dark[:8], 0.03)
    failed = judge(
        many(), compare(many().prediction, wrong, Tolerance(judge.allowed.distance), many().images.names)
    )
    assert "images are beyond 0.01 where at most 7 are expected" in failed.reason
    with_native(monkeypatch, moved(file, dark[:beyond], 0.02))

    assert guilty_hop(many(), file, "coreml-evaluator", failed, judge) == hop


@pytest.mark.parametrize("fault", [0.0, 0.2])
def test_every_hop_of_many_images_is_judged_by_what_rounding_costs_on_them(fault: float) -> None:
    file = fp16_file(partial(sensitive.sensitive, fault))

    single, half = (hop for hop in chain.chain(many(), file, judge_of(file)) if hop.name.startswith("mlprogram"))

    assert (single.verdict, half.verdict) == (("fail",) * 2 if fault else ("pass",) * 2)
    assert half.tolerance == 0.01 < (half.max_abs_diff or 0.0)
    if not fault:
        assert half.reason.startswith("2 of 70 images are beyond 0.01, and within what rounding costs PyTorch")


def test_what_rounding_to_fp16_costs_does_not_excuse_the_same_file_in_fp32() -> None:
    # A fault that moves bright pictures by 0.0126: in fp16 they are excused, in fp32 it is seen.
    file = fp16_file(partial(sensitive.sensitive, -0.08))

    single, half = (hop for hop in chain.chain(many(), file, judge_of(file)) if hop.name.startswith("mlprogram"))

    assert (single.verdict, half.verdict) == ("fail", "pass")


@pytest.mark.parametrize(
    ("by", "chosen_of", "hop"),
    [
        (0.2, True, "mlprogram file -> coreml-evaluator"),
        (0.2, False, "torch -> mlprogram"),
        # Each is excused, so that the leg failed by their number, which so few cannot tell.
        (0.02, True, "torch -> mlprogram"),
    ],
)
def test_on_images_that_were_chosen_of_many_hops_are_judged_as_the_leg_was(
    monkeypatch: pytest.MonkeyPatch, by: float, chosen_of: bool, hop: str
) -> None:
    file = fp16_file(sensitive.sensitive)
    monkeypatch.setattr(chain, "_rounds", lambda artifact: False)
    with_native(monkeypatch, moved(file, [], 0.0))
    allowed, rows = judge_of(file).allowed, [PICTURE, 0, 1, 2]
    judging = Judging(Tolerance(allowed.distance), chosen_of=allowed if chosen_of else None)

    answers = moved(file, [PICTURE], -by).of(rows)
    subject = judge_prediction(only(many(), rows), file, "coreml-evaluator", answers, judging)

    assert (subject.verdict, subject.guilty_hop) == ("fail", hop)
