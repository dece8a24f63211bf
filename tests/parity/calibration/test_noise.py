"""Noise: how far ways to compute the same lie apart, which of it is none, and that nothing of it is lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from conversion import Classifier
from parity.backends import Predict
from parity.backends.pytorch import load_reference
from parity.calibration.noise import Source, distance, farthest, flat, margin, measure, spread
from parity.calibration.sources import (
    FLOAT64,
    FP16,
    FP16_ONLY,
    REPEATED,
    _by_chance,
    backend_sources,
    fp16_sources,
    pytorch_sources,
)
from parity.core.results import Prediction
from parity.core.tolerance import measure_fp16_cost, measure_fp32_cost
from tests.parity.tiny import LABELS, PREPROCESSING, Tiny, converted, pictures, shifted, tiny, untrained

PIXELS = np.stack([np.asarray(picture) for picture in pictures()])
BATCHES = (PIXELS[:4], PIXELS[4:])


def answers(*rows: list[list[float]]) -> list[Prediction]:
    return [Prediction(np.array(row), ("ant", "bee")) for row in rows]


def way(*rows: list[float]) -> Predict:
    return lambda pixels: Prediction(np.array(rows), ("ant", "bee"))


# Measures, per image


def test_spread_is_between_the_extremes_of_all_ways() -> None:
    found = spread(answers([[0.5, 0.5], [0.1, 0.9]], [[0.4, 0.6], [0.1, 0.9]], [[0.7, 0.3], [0.1, 0.9]]))

    assert found.tolist() == pytest.approx([0.3, 0.0])


def test_farthest_is_from_the_first_way() -> None:
    found = farthest(answers([[0.5, 0.5]], [[0.4, 0.6]], [[0.7, 0.3]]))

    assert found.tolist() == pytest.approx([0.2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_is_as_far_as_can_be(bad: float) -> None:
    assert spread(answers([[0.5, 0.5], [0.5, 0.5]], [[0.5, bad], [0.5, 0.5]])).tolist() == [1.0, 0.0]


def test_distance_goes_by_label() -> None:
    reference = Prediction(np.array([[0.8, 0.2]]), ("ant", "bee"))

    assert distance([reference, Prediction(np.array([[0.25, 0.75]]), ("bee", "ant"))]).tolist() == pytest.approx(
        [0.05]
    )
    with pytest.raises(Exception, match="label 1 of the classifier, 'bee', is not there, and 'cat' is"):
        distance([reference, Prediction(np.array([[0.25, 0.75]]), ("cat", "ant"))])
    with pytest.raises(Exception, match=r"outputs of shape \[1, 3\] for 2 labels"):
        distance([reference, Prediction(np.zeros((1, 3)))])


def test_margin_is_between_the_two_most_probable() -> None:
    rows = Prediction(np.array([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]]), ("ant", "bee", "cat"))

    assert margin([rows]).tolist() == pytest.approx([0.5, 0.0])
    assert margin([Prediction(np.array([[1.0]]), ("ant",))]).tolist() == [1.0]


def test_flat_answers_are_told() -> None:
    assert flat(answers([[0.5, 0.5], [0.9, 0.1]])).tolist() == [1.0, 0.0]


# Measuring


def test_ways_that_are_shared_run_once_for_each_batch() -> None:
    runs = []

    def counted(pixels: np.ndarray) -> Prediction:
        runs.append(len(pixels))
        return Prediction(np.full((len(pixels), 2), 0.5))

    def other(pixels: np.ndarray) -> Prediction:
        return Prediction(np.full((len(pixels), 2), 0.25))

    found = measure([Source("a", (counted, other)), Source("b", (counted,))], BATCHES)

    assert runs == [4, 2]
    assert found["a"].differences == (0.25,) * 6
    assert found["b"].differences == (0.0,) * 6


def test_a_way_that_fails_is_the_trouble_of_its_source_alone() -> None:
    def fails(pixels: np.ndarray) -> Prediction:
        raise ZeroDivisionError("by\nnought")

    found = measure([Source("bad", (way([0.5, 0.5]), fails)), Source("good", (way([0.5, 0.5]),))], [PIXELS[:1]])

    assert (found["bad"].differences, found["good"].differences) == ((), (0.0,))
    assert found["bad"].trouble == "cannot be measured: ZeroDivisionError: by nought"
    assert found["good"].trouble == ""


def test_a_way_that_fails_later_leaves_no_half_of_the_numbers() -> None:
    def fails(pixels: np.ndarray) -> Prediction:
        if len(pixels) == 2:
            raise MemoryError
        return Prediction(np.full((len(pixels), 2), 0.5))

    assert measure([Source("bad", (fails,))], BATCHES)["bad"].differences == ()


def test_beyond_its_limit_it_is_no_noise() -> None:
    apart = (way([0.5, 0.5]), way([0.51, 0.49]))

    within = measure([Source("close", apart, 0.02)], [PIXELS[:1]])["close"]
    beyond = measure([Source("far", apart, 1e-4)], [PIXELS[:1]])["far"]

    assert within.trouble == ""
    assert beyond.trouble.startswith("the answers lie 1.0e-02 apart, more than the 0.0001 that rounding explains")
    assert beyond.largest == pytest.approx(0.01)


# PyTorch


def test_pytorch_against_itself_is_small_and_changes_nothing() -> None:
    classifier = tiny()
    reference = load_reference(classifier)
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    threads = torch.get_num_threads()

    found = measure([*pytorch_sources(classifier, reference), *fp16_sources(classifier, reference)], BATCHES)

    assert all(len(noise.differences) == 6 and not noise.trouble for noise in found.values())
    assert all(noise.largest < 1e-5 for name, noise in found.items() if name not in FP16_ONLY)
    assert found[REPEATED].largest == 0
    assert all(found[name].largest > 0 for name in FLOAT64)
    cost = measure_fp32_cost(classifier, PIXELS, reference(PIXELS).probabilities)
    assert max(found[name].largest for name in FLOAT64) == cost
    assert found[FP16].largest == measure_fp16_cost(classifier, PIXELS, reference(PIXELS).probabilities)
    assert torch.get_num_threads() == threads
    after = classifier.module.state_dict()
    assert all(
        torch.equal(value, after[name]) and value.dtype is after[name].dtype for name, value in before.items()
    )


def test_float64_is_computed_in_float64() -> None:
    class Cancels(Tiny):
        """Adds and takes away what fp32 has no digits beside."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return (super().forward(image) + 1e6) - 1e6

    classifier = Classifier("cancels", Cancels().eval(), PREPROCESSING, LABELS)

    found = measure(pytorch_sources(classifier, load_reference(classifier)), BATCHES)

    assert found["PyTorch, float64"].largest > 1e-3
    assert found["PyTorch, float64"].trouble == ""


def test_a_module_that_looks_at_the_whole_batch_is_told_so() -> None:
    class Batched(Tiny):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = super().forward(image)
            return logits + logits.mean(dim=0) * (len(image) > 1)

    classifier = Classifier("batched", Batched().eval(), PREPROCESSING, LABELS)

    found = measure(pytorch_sources(classifier, load_reference(classifier)), BATCHES)

    assert [name for name, noise in found.items() if noise.trouble] == ["PyTorch, one image or 16 at once"]


def test_a_module_that_cannot_be_changed_loses_those_sources_alone() -> None:
    class Viewed(Tiny):
        """Takes its tensors as contiguous fp32."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward((image.view(-1) + torch.zeros(1)).view(image.shape).to(torch.float32))

    classifier = Classifier("viewed", Viewed().eval(), PREPROCESSING, LABELS)

    found = measure(pytorch_sources(classifier, load_reference(classifier)), BATCHES)

    assert [name for name, noise in found.items() if noise.trouble] == [
        "PyTorch, channels_last",
        "PyTorch, float64",
        "PyTorch, channels_last or float64",
        "PyTorch, plain kernels or float64",
    ]
    assert all("cannot be measured: RuntimeError" in noise.trouble for noise in found.values() if noise.trouble)


# Rounding by chance


def test_chance_rounds_to_one_of_the_two_neighbours() -> None:
    exact = np.array([1.0, 1.0 + 2**-12, -1.0 - 2**-12, 0.0, 3e-8, 70000.0], np.float32)
    up, down = (_by_chance(exact, np.full(6, chance)) for chance in (0.0, 0.999))

    # Above 1, fp16 numbers stand 2**-10 apart; the smallest is 2**-24, the largest 65504, beyond which is infinity.
    assert down.tolist() == [1.0, 1.0, -1.0 - 2**-10, 0.0, 0.0, float("inf")]
    assert up.tolist() == [1.0, 1.0 + 2**-10, -1.0, 0.0, 2.0**-24, float("inf")]


def test_chance_is_free_of_bias() -> None:
    exact = np.full(40000, 1 + 2**-12, np.float32)

    found = _by_chance(exact, np.random.default_rng(0).random(exact.shape))

    # A quarter of the way: every fourth goes up, of 40,000 within 4 standard deviations (87 each).
    assert abs(int((found > 1).sum()) - Fraction(40000, 4)) < 4 * 87


# Backends


def test_a_file_is_set_against_itself() -> None:
    reference = load_reference(tiny())
    artifact = converted("onnx-torchscript")

    found = backend_sources(artifact, ["onnxruntime", "onnx-reference"], reference)
    noises = measure([s for sources in found.values() for s in (*sources.noise, sources.distance)], BATCHES)

    levels, between = (
        "onnx-torchscript: onnxruntime, optimisation levels",
        "onnx-torchscript: onnxruntime or onnx-ref",
    )
    assert [s.name for s in found["onnxruntime"].noise] == [levels, f"{between}erence"]
    assert [s.name for s in found["onnx-reference"].noise] == [f"{between}erence"]
    assert all(len(noise.differences) == 6 and noise.largest < 1e-4 for noise in noises.values())


def test_without_the_slow_backend_its_noise_is_not_measured() -> None:
    found = backend_sources(converted("onnx-torchscript"), ["onnxruntime"], load_reference(tiny()))

    assert [s.name for s in found["onnxruntime"].noise] == ["onnx-torchscript: onnxruntime, optimisation levels"]


def test_the_levels_of_optimisation_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    levels = []
    session = onnxruntime.InferenceSession

    def spied(path: str, options: onnxruntime.SessionOptions, **rest: object) -> object:
        levels.append(options.graph_optimization_level.name)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spied)
    found = backend_sources(converted("onnx-torchscript"), ["onnxruntime"], load_reference(tiny()))
    measure(found["onnxruntime"].noise, BATCHES)

    assert levels == ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"]


def test_another_model_is_far_from_pytorch_and_near_itself() -> None:
    found = backend_sources(converted("mlprogram", shifted), ["coreml-evaluator"], load_reference(tiny()))
    sources = found["coreml-evaluator"]

    noises = measure([*sources.noise, sources.distance], BATCHES)

    assert noises.pop(sources.distance.name).largest > 0.1
    assert list(noises) == [
        "mlprogram: coreml-evaluator, repeated",
        "mlprogram: coreml-evaluator, one thread or several",
    ]
    assert all(noise.largest < 1e-2 for noise in noises.values())


def test_a_file_that_cannot_be_opened_is_a_trouble(tmp_path: object) -> None:
    gone = replace(converted("onnx-torchscript"), path=converted("onnx-torchscript").path.with_name("gone.onnx"))

    (noise, *_) = measure(
        backend_sources(gone, ["onnxruntime"], load_reference(tiny()))["onnxruntime"].noise, BATCHES
    ).values()

    assert noise.differences == ()
    assert "ONNX Runtime cannot load it" in noise.trouble


def test_an_untrained_network_answers_flat() -> None:
    assert flat([load_reference(untrained())(PIXELS)]).tolist() == [1.0] * 6
    assert not any(flat([load_reference(tiny())(PIXELS)]))
