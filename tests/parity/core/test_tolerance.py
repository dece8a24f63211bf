"""Budgets as documented, and what rounding costs PyTorch itself, against NumPy rounding after every operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion import Artifact, Classifier, Preprocessing
from parity import ParityError, Tolerance
from parity.backends.pytorch import load_reference
from parity.backends.reference import Reference, make_reference
from parity.core.results import Prediction
from parity.core.tolerance import measure_fp16_cost, measure_fp32_cost, scaled, tolerances_for, too_costly
from parity.judging import judge_prediction
from parity.suite.images import ImageSet, load_images
from tests.parity.tiny import pictures, tiny

# Nothing may be read from an artefact: a file that does not exist has a tolerance all the same.
NOWHERE = Path("nowhere") / "model.mlpackage"


def never(precision: str) -> float:
    raise AssertionError(f"the cost of {precision} was measured, but nothing needs it")


# Budgets


@pytest.mark.parametrize(
    ("format_name", "precision", "budget"),
    [("onnx", "fp32", 1e-5), ("mlprogram", "fp32", 1e-4), ("neuralnetwork", "fp32", 1e-4), ("onnx", "fp16", 1e-2)],
)
def test_what_the_floor_allows_needs_no_measuring(format_name: Any, precision: Any, budget: float) -> None:
    tolerance = next(tolerances_for(Artifact(NOWHERE, format_name, precision), never))

    assert tolerance.probability == budget
    assert tolerance.reason.startswith(precision)


@pytest.mark.parametrize(
    ("format_name", "cost", "budget"),
    [
        pytest.param("onnx", 0.0, 1e-5, id="floor"),
        pytest.param("onnx", 3e-6, 1e-5, id="below the floor"),
        pytest.param("onnx", 5e-6, 1.5e-5, id="three times"),
        pytest.param("onnx", 1.0, 1e-4, id="cap"),
        pytest.param("mlprogram", 3e-5, 1e-4, id="below the floor of Core ML"),
        pytest.param("mlprogram", 2e-4, 6e-4, id="three times, in Core ML"),
        pytest.param("neuralnetwork", 1e-2, 1e-3, id="cap of Core ML"),
    ],
)
def test_budget_of_fp32(format_name: Any, cost: float, budget: float) -> None:
    asked: list[str] = []
    artifact = Artifact(NOWHERE, format_name, "fp32")

    _, second = tolerances_for(artifact, lambda precision: asked.append(precision) or cost)

    assert second.probability == pytest.approx(budget, rel=1e-12)
    assert f"is off float64 on these images ({cost:.1e})" in second.reason
    assert asked == ["fp32"]


@pytest.mark.parametrize(
    ("cost", "budget"),
    [
        pytest.param(0.0, 1e-2, id="floor"),
        pytest.param(0.003, 1e-2, id="below the floor"),
        pytest.param(0.005, 0.015, id="three times"),
        pytest.param(0.0166, 0.0498, id="below the cap"),
        pytest.param(0.02, 5e-2, id="cap"),
        pytest.param(0.9, 5e-2, id="far above the cap"),
    ],
)
@pytest.mark.parametrize("format_name", ["mlprogram", "onnx"])
def test_budget_of_fp16(format_name: Any, cost: float, budget: float) -> None:
    first, second = tolerances_for(Artifact(NOWHERE, format_name, "fp16"), lambda precision: cost)

    assert first.probability == 1e-2
    assert second.probability == pytest.approx(budget, rel=1e-12)
    assert f"({cost:.1e})" in second.reason


@pytest.mark.parametrize("number", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_difference_of_probabilities_is_refused(number: float) -> None:
    with pytest.raises(ParityError, match=rf"between 0 and 1, not {number}"):
        Tolerance(number)


# What fp16 costs


PREPROCESSING = Preprocessing(size=(2, 2), resize=None)


class Small(torch.nn.Module):
    """Small enough to be computed by hand: ReLU, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(12, 3)
        random = np.random.default_rng(4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(random.normal(size=(3, 12))))
            self.linear.bias.copy_(torch.from_numpy(random.normal(size=3)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(torch.relu(image).flatten(1))
        return logits


def classifier_of(module: torch.nn.Module) -> Classifier:
    return Classifier("small", module.eval(), PREPROCESSING, ("ant", "bee", "cat"))


PIXELS = np.random.default_rng(6).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)


def by_hand(left_out: str = "") -> np.ndarray:
    """Compute the answers in float64, rounded to fp16 after every operation but those of one part.

    The dot product is one operation: its sum is rounded once, as hardware with a wide accumulator does.
    """

    def rounded(values: np.ndarray, part: str) -> np.ndarray:
        return (
            values if left_out in (part, "all") else values.astype(np.float32).astype(np.float16).astype(np.float64)
        )

    linear = Small().linear
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (linear.weight, linear.bias))
    mean = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1) * 255
    scale = 1 / (np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1) * 255)
    answers = []
    for picture in PIXELS:
        image = picture.transpose(2, 0, 1).astype(np.float64)
        image = rounded(image - rounded(mean, "normalisation"), "normalisation")
        image = rounded(image * rounded(scale, "normalisation"), "normalisation")
        features = np.maximum(image, 0).reshape(-1)
        logits = rounded(weight, "weights") @ features + rounded(bias, "weights")
        logits = rounded(logits, "activations")
        powers = np.exp(logits - logits.max())
        answers.append(rounded(powers / powers.sum(), "softmax"))
    return np.array(answers)


EXACT = by_hand(left_out="all")


def test_the_cost_is_that_of_rounding_every_operation() -> None:
    expected = np.abs(by_hand() - EXACT).max()

    assert expected > 1e-5
    assert measure_fp16_cost(classifier_of(Small()), PIXELS, EXACT) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("part", ["weights", "normalisation", "activations", "softmax"])
def test_no_part_is_left_unrounded(part: str) -> None:
    # Each part alone changes the answers by more than the agreement asserted here.
    assert np.abs(by_hand(left_out=part) - by_hand()).max() > 1e-5
    assert measure_fp16_cost(classifier_of(Small()), PIXELS, by_hand()) <= 1e-7


class Written(Small):
    """The same network, but ReLU is written into memory that exists already, in one of many ways."""

    def __init__(self, relu: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.relu = relu

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.relu(image)
        logits: torch.Tensor = self.linear(image.flatten(1))
        return logits


def by_channel(image: torch.Tensor) -> None:
    for channel in range(3):
        image[:, channel].clamp_(min=0)


def by_mask(image: torch.Tensor) -> None:
    image[image < 0] = 0


def by_out(image: torch.Tensor) -> None:
    torch.clamp(image, min=0, out=image)


def by_transposed(image: torch.Tensor) -> None:
    image.transpose(2, 3).mul_((image > 0).transpose(2, 3))


@pytest.mark.parametrize(
    "relu", [torch.nn.ReLU(inplace=True), torch.Tensor.relu_, by_channel, by_mask, by_out, by_transposed]
)
def test_what_is_written_in_place_is_computed(relu: Callable[[torch.Tensor], Any]) -> None:
    assert measure_fp16_cost(classifier_of(Written(relu)), PIXELS, by_hand()) <= 1e-7


def test_what_is_written_in_place_is_rounded() -> None:
    class OutOfPlace(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image * 1.1 + 0.3)

    class InPlace(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            image.mul_(1.1).add_(0.3)
            return super().forward(image.relu_())

    cost = measure_fp16_cost(classifier_of(OutOfPlace()), PIXELS, EXACT)

    assert measure_fp16_cost(classifier_of(InPlace()), PIXELS, EXACT) == cost


def test_the_module_keeps_its_weights() -> None:
    classifier = tiny()
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    pixels = np.stack([np.asarray(picture) for picture in pictures()])

    cost = measure_fp16_cost(classifier, pixels, np.zeros((len(pixels), len(classifier.labels))))

    assert 0 < cost <= 1
    assert all(torch.equal(value, before[name]) for name, value in classifier.module.state_dict().items())


def test_a_network_that_overflows_in_fp16_gets_the_cap() -> None:
    module = Small()
    with torch.no_grad():
        module.linear.bias.fill_(1e6)

    cost = measure_fp16_cost(classifier_of(module), PIXELS, EXACT)

    *_, tolerance = tolerances_for(Artifact(NOWHERE, "mlprogram", "fp16"), lambda precision: cost)
    assert tolerance.probability == 5e-2


@pytest.mark.parametrize("measure", [measure_fp16_cost, measure_fp32_cost])
def test_no_images_cost_nothing(measure: Callable[..., float]) -> None:
    assert measure(classifier_of(Small()), PIXELS[:0], EXACT[:0]) == 0


# What fp32 costs


class Magnifying(Small):
    """Adds to its logits, and takes away, what leaves fp32 sixteen steps to a whole number; where asked to."""

    def __init__(self, where: Callable[[torch.Tensor], bool] = lambda image: True) -> None:
        super().__init__()
        self.where = where

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        return logits + 1e6 - 1e6 if self.where(image) else logits


def answers(module: torch.nn.Module) -> np.ndarray:
    return load_reference(classifier_of(module))(PIXELS).probabilities


def to_sixteenths() -> float:
    """Compute how far the answers are off where logits are rounded to sixteenths."""
    logits = np.log(EXACT)
    logits -= (logits - logits_by_hand()).mean(axis=1, keepdims=True)
    powers = np.exp(np.round(logits * 16) / 16)
    return float(np.abs(powers / powers.sum(axis=1, keepdims=True) - EXACT).max())


def logits_by_hand() -> np.ndarray:
    linear = Small().linear
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (linear.weight, linear.bias))
    mean, std = (np.array(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = ((PIXELS / 255 - mean) / std).transpose(0, 3, 1, 2)
    return np.maximum(images, 0).reshape(len(PIXELS), -1) @ weight.T + bias


def test_fp32_costs_what_it_is_off_float64() -> None:
    module = Magnifying()

    cost = measure_fp32_cost(classifier_of(module), PIXELS, answers(module))

    assert cost == pytest.approx(to_sixteenths(), abs=1e-5)
    assert cost > 1e-3
    assert measure_fp32_cost(classifier_of(Small()), PIXELS, answers(Small())) < 1e-6


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(lambda image: not torch._C._get_mkldnn_enabled(), id="plain kernels"),
        pytest.param(lambda image: image.is_contiguous(memory_format=torch.channels_last), id="channels_last"),
    ],
)
def test_the_unluckiest_of_the_kernels_counts(where: Callable[[torch.Tensor], bool]) -> None:
    module = Magnifying(where)
    enabled = torch.backends.mkldnn.enabled

    assert measure_fp32_cost(classifier_of(module), PIXELS, answers(module)) == pytest.approx(
        to_sixteenths(), abs=1e-5
    )
    assert torch.backends.mkldnn.enabled == enabled


def test_a_layout_that_a_module_refuses_is_left_out() -> None:
    class Viewing(Magnifying):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image.view(len(image), -1).view(image.shape))

    module = Viewing()

    assert measure_fp32_cost(classifier_of(module), PIXELS, answers(module)) == pytest.approx(
        to_sixteenths(), abs=1e-5
    )


def test_a_module_that_cannot_run_in_float64_keeps_the_floor_and_says_so() -> None:
    class Casting(Magnifying):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image.to(torch.float32))

    module = Casting()

    *_, last = tolerances_for(
        Artifact(NOWHERE, "onnx", "fp32"),
        lambda _: measure_fp32_cost(classifier_of(module), PIXELS, answers(module)),
    )

    assert last.probability == 1e-5
    assert "; what fp32 costs the PyTorch module cannot be measured: " in last.reason


def test_the_module_stays_in_fp32() -> None:
    module = Small()
    measure_fp32_cost(classifier_of(module), PIXELS, answers(module))

    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert module.linear.weight.is_contiguous()


@pytest.mark.parametrize(("apart", "verdict"), [(5e-6, "pass"), (5e-5, "pass"), (2e-4, "fail")])
def test_only_what_magnifies_rounding_may_be_further_off(apart: float, verdict: str) -> None:
    pixels = np.stack([np.asarray(picture) for picture in pictures()])
    images = ImageSet(tuple(f"{index}.png" for index in range(len(pixels))), pixels)
    steady = tiny()

    class Magnified(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = steady.module

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.inner(image) + 1e4 - 1e4
            return logits

    magnified = Classifier("magnified", Magnified().eval(), steady.preprocessing, steady.labels)
    found = {}
    for classifier in (steady, magnified):
        reference = make_reference(classifier, images)
        moved = reference.prediction.probabilities.astype(np.float64)
        moved[0, :2] += apart, -apart
        artifact = Artifact(NOWHERE.with_name("net.onnx"), "onnx", "fp32")
        candidate = Prediction(moved, classifier.labels)
        found[classifier.name] = judge_prediction(reference, artifact, "onnxruntime", candidate)

    assert found["magnified"].verdict == verdict
    assert found["tiny"].verdict == ("pass" if apart < 1e-5 else "fail")
    # A step of fp32 beside 1e4 is a thousandth.
    assert found["magnified"].tolerance == (1e-5 if apart < 1e-5 else 1e-4)


def test_a_file_that_adds_up_better_than_pytorch_passes_and_says_so() -> None:
    classifier = tiny()
    exact = make_reference(classifier, load_images(pictures(), classifier.preprocessing))
    answers = np.asarray(exact.prediction.probabilities, np.float64)
    losing = Reference(classifier, exact.images, Prediction(answers * 1.0004, classifier.labels))
    artifact = Artifact(NOWHERE.with_name("net.onnx"), "onnx", "fp32")

    sound = judge_prediction(losing, artifact, "onnx-reference", Prediction(answers, classifier.labels))
    swapped = judge_prediction(losing, artifact, "onnx-reference", Prediction(answers[:, ::-1], classifier.labels))

    assert (sound.verdict, sound.tolerance, swapped.verdict) == ("pass", 1e-4, "fail")
    assert "this file was compared with PyTorch's logits, summed exactly" in sound.remarks[-1]
    assert not any("summed exactly" in remark for remark in swapped.remarks)


# Multiplied


@pytest.mark.parametrize(("scale", "budget"), [(1.0, 0.02), (0.5, 0.01), (10.0, 0.2), (1e9, 0.999)])
def test_a_tolerance_is_multiplied_and_says_so(scale: float, budget: float) -> None:
    found = scaled(Tolerance(0.02, "given"), scale)

    assert found.probability == pytest.approx(budget)
    assert found.reason == ("given" if scale == 1 else f"given, times {scale:g}")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_what_multiplies_no_tolerance(scale: float) -> None:
    with pytest.raises(ParityError, match="a number above 0"):
        scaled(Tolerance(0.02), scale)


# Modules that look at a weight through a view, or write into what they hold


class Token(Small):
    """Add a parameter that is seen through a view, as a vision transformer does with its class token."""

    def __init__(self, look: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.token = torch.nn.Parameter(torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1))
        self.look = look

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image + self.look(self.token))


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "itself": lambda token: token,
    "expand": lambda token: token.expand(1, -1, 2, 2),
    "reshape": lambda token: token.view(3).reshape(1, 3, 1, 1),
    "split": lambda token: torch.cat(token.split(1, dim=1), dim=1),
    "chunk and unbind": lambda token: torch.stack(token.view(3).unbind()).reshape(1, 3, 1, 1),
    "transpose": lambda token: token.transpose(0, 1).transpose(0, 1),
    "slice": lambda token: torch.cat([token[:, :1], token[:, 1:]], dim=1),
    "detach": lambda token: token.detach(),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_a_weight_is_as_rounded_as_the_weight(view: str) -> None:
    plain, viewed = classifier_of(Token(VIEWS["itself"])), classifier_of(Token(VIEWS[view]))
    before = viewed.module.token.detach().clone()  # type: ignore[operator]

    assert measure_fp16_cost(viewed, PIXELS, EXACT) == measure_fp16_cost(plain, PIXELS, EXACT)
    assert torch.equal(viewed.module.token, before)  # type: ignore[arg-type]


class Remembering(Small):
    """Write into a buffer, whole and in part, and read it again."""

    def __init__(self, write: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.register_buffer("memory", torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1))
        self.write = write

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.write(self.memory)
        return super().forward(image + self.memory)


def by_slice(memory: torch.Tensor) -> None:
    memory[:, :2] = torch.tensor([4.0, 5.0]).reshape(1, 2, 1, 1)
    memory[:, 2] = 6.0


@pytest.mark.parametrize(
    "write",
    [
        lambda memory: memory.copy_(torch.tensor([4.0, 5.0, 6.0]).reshape(1, 3, 1, 1)),
        by_slice,
        lambda memory: memory.view(3).copy_(torch.tensor([4.0, 5.0, 6.0])),
    ],
)
def test_what_is_written_into_a_buffer_is_read_again(write: Callable[[torch.Tensor], Any]) -> None:
    class Shifted(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image + torch.tensor([4.0, 5.0, 6.0]).reshape(1, 3, 1, 1))

    cost = measure_fp16_cost(classifier_of(Shifted()), PIXELS, EXACT)

    assert measure_fp16_cost(classifier_of(Remembering(write)), PIXELS, EXACT) == cost


def test_a_buffer_and_a_view_of_it_made_before_share_what_is_written() -> None:
    class Shared(Remembering):
        def __init__(self) -> None:
            super().__init__(lambda memory: memory.copy_(torch.tensor([4.0, 5.0, 6.0]).reshape(1, 3, 1, 1)))
            self.seen = self.memory.view(3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.write(self.memory)
            return Small.forward(self, image + self.seen.reshape(1, 3, 1, 1))

    class Shifted(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image + torch.tensor([4.0, 5.0, 6.0]).reshape(1, 3, 1, 1))

    cost = measure_fp16_cost(classifier_of(Shifted()), PIXELS, EXACT)

    assert measure_fp16_cost(classifier_of(Shared()), PIXELS, EXACT) == cost


def test_attention_is_rounded_inside() -> None:
    """Three scores of a query with three keys overflow fp16, though what attention answers does not."""

    class Attending(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            tokens = torch.eye(3).expand(len(image), 3, 3) * 400.0
            mixed = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, torch.eye(3)[None], scale=1.0)
            return super().forward(image * mixed.mean() * 3)

    assert measure_fp16_cost(classifier_of(Attending()), PIXELS, answers(Attending())) == pytest.approx(5e-2)


@pytest.mark.parametrize(("cost", "said"), [(0.0166, False), (0.05, False), (0.073, True)])
def test_a_cost_above_the_cap_is_told(cost: float, said: bool) -> None:
    *_, last = tolerances_for(Artifact(NOWHERE, "mlprogram", "fp16"), lambda precision: cost)

    assert last.reason.endswith("at most 0.05, which is less than it costs") == said


def test_a_module_that_cannot_be_rounded_is_judged_by_the_floor_and_told_so() -> None:
    class Picky(Small):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            from torch.utils._python_dispatch import _get_current_dispatch_mode

            if _get_current_dispatch_mode() is not None:
                raise RuntimeError("no modes here")
            return super().forward(image)

    def cost(precision: str) -> float:
        return measure_fp16_cost(classifier_of(Picky()), PIXELS, EXACT)

    *_, last = tolerances_for(Artifact(NOWHERE, "mlprogram", "fp16"), cost)

    assert last.probability == 1e-2
    assert last.reason.endswith("what rounding the PyTorch module costs cannot be measured: no modes here")


# What fp16 cannot hold


FP16, IN_FP32 = Artifact(NOWHERE, "mlprogram", "fp16"), Artifact(NOWHERE, "mlprogram", "fp32")


@pytest.mark.parametrize(
    ("artifact", "cost", "apart", "said"),
    [
        (FP16, 7.3e-2, 6.3e-2, True),
        (FP16, 7.3e-2, 7.3e-2, True),
        (FP16, 7.3e-2, 8.0e-2, False),  # further off than rounding explains
        (FP16, 1.0e-2, 6.3e-2, False),
        (FP16, None, 6.3e-2, False),
        (FP16, 7.3e-2, None, False),
    ],
)
def test_a_network_that_fp16_cannot_hold_is_called_so(
    artifact: Artifact, cost: float | None, apart: float | None, said: bool
) -> None:
    reason = too_costly(artifact.precision, Tolerance(5e-2, "fp16", cost), apart)

    assert bool(reason) == said
    if said:
        assert "moves PyTorch's own answers by 7.3e-02, more than the 5.0e-02 allowed" in reason


@pytest.mark.parametrize(("apart", "said"), [(3.9e-4, True), (4.1e-4, False), (None, False)])
def test_a_network_that_magnifies_rounding_is_called_so(apart: float | None, said: bool) -> None:
    reason = too_costly("fp32", Tolerance(1e-4, "fp32", 4e-4), apart)

    assert bool(reason) == said
    if said:
        assert reason.startswith("in float64 PyTorch's own answers are others by 4.0e-04, more than the 1.0e-04")


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize(("apart", "said"), [(0.2, True), (0.22, False), (None, False)])
def test_a_compression_that_costs_more_than_is_allowed_is_called_so(
    precision: str, apart: float | None, said: bool
) -> None:
    reason = too_costly(precision, Tolerance(0.15, "int4", 0.21, "int4 weights"), apart)

    assert bool(reason) == said
    if said:
        assert reason.startswith(
            "int4 weights move PyTorch's own answers by 2.1e-01, more than the 1.5e-01 allowed"
        )
        assert "fp16" not in reason
