from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conversion import Classifier, ConversionError, Preprocessing, convert
from conversion.deployed import (
    check_model,
    check_module,
    deployed_module,
    example_pixels,
    pixels_to_tensor,
    without_mha_fastpath,
)
from tests.conversion.classifiers import LABELS, TinyNet, expected, photos, tiny


class Answer(torch.nn.Module):
    """Answer with what a function makes of the tiny net's logits."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.net = tiny().module
        self.function = function

    def forward(self, image: torch.Tensor) -> Any:
        return self.function(self.net(image))


def answering(function: Callable[[torch.Tensor], Any]) -> Classifier:
    return tiny(module=Answer(function).eval())


def refusal(classifier: Classifier) -> str:
    """Return the one line with which a classifier is refused."""
    with pytest.raises(ConversionError) as caught:
        check_model(classifier)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("tiny: ")
    return message


# What is deployed


def test_the_tiny_classifier_tells_pictures_apart() -> None:
    probabilities = expected(tiny(), photos(6))

    assert len(set(probabilities.argmax(axis=1))) > 1
    assert np.ptp(probabilities, axis=0).max() > 0.1


def test_normalisation_and_softmax_are_inside() -> None:
    classifier = tiny()

    with torch.no_grad():
        answer = deployed_module(classifier)(pixels_to_tensor(photos(6))).numpy()

    np.testing.assert_allclose(answer, expected(classifier, photos(6)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("field", ["mean", "std"])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_every_channel_has_its_own_mean_and_std(field: str, channel: int) -> None:
    values = list(getattr(tiny().preprocessing, field))
    values[channel] *= 1.1
    other = tiny(preprocessing=dataclasses.replace(tiny().preprocessing, **{field: tuple(values)}))

    with torch.no_grad():
        answer = deployed_module(tiny())(pixels_to_tensor(photos(6))).numpy()

    assert np.abs(answer - expected(other, photos(6))).max() > 1e-3


numbers = st.floats(0, 1, width=32)


@given(
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(*[st.floats(0.0625, 1, width=32)] * 3),
    pixels=arrays.arrays(np.uint8, (2, 2, 1, 3)),
)
def test_any_statistics_are_applied_as_torchvision_applies_them(
    mean: tuple[float, ...], std: tuple[float, ...], pixels: np.ndarray
) -> None:
    steps = Preprocessing(size=(2, 1), mean=mean, std=std)
    classifier = Classifier("flat", torch.nn.Flatten().eval(), steps, tuple("abcdef"))

    answer = deployed_module(classifier)(pixels_to_tensor(pixels)).numpy()

    np.testing.assert_allclose(answer, expected(classifier, pixels), rtol=0, atol=1e-5)


def test_statistics_keep_the_rank_that_onnx_coreml_reads_and_nothing_divides() -> None:
    buffers = dict(deployed_module(tiny()).named_buffers())

    assert buffers["image_mean"].shape == buffers["image_scale"].shape == (3, 1, 1)
    torch.testing.assert_close(buffers["image_mean"].flatten(), torch.tensor([51.0, 127.5, 178.5]))
    torch.testing.assert_close(buffers["image_scale"].flatten(), 1 / torch.tensor([38.25, 76.5, 153.0]))


def test_example_pixels_are_all_values_and_the_same_each_time() -> None:
    example = example_pixels(tiny(), batch=2)

    assert example.shape == (2, 3, 32, 32)
    assert example.dtype == torch.float32
    assert set(example.flatten().tolist()) == set(range(256))
    assert torch.equal(example, example_pixels(tiny(), batch=2))


def test_pixels_become_planes_of_float32() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)

    tensor = pixels_to_tensor(pixels)

    assert tensor.dtype == torch.float32
    assert tensor.shape == (2, 3, 4, 5)
    assert tensor[1, 2, 3, 4] == pixels[1, 3, 4, 2]


# Classifiers that would become wrong models


def test_a_sound_classifier_passes() -> None:
    check_model(tiny())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda logits: logits.to(torch.complex64), "torch.complex64"),
        (lambda logits: logits > 0, "torch.bool"),
        (lambda logits: logits.to(torch.int64), "torch.int64"),
        (lambda logits: logits.half(), "torch.float16"),
        (lambda logits: logits.bfloat16(), "torch.bfloat16"),
    ],
)
def test_logits_of_another_type(change: Callable[[torch.Tensor], Any], kind: str) -> None:
    classifier = answering(change)

    assert refusal(classifier) == (
        f"tiny: the module's logits are of {kind}; a classifier answers numbers of fp32: let its forward return "
        "them, with .float() where they are of another type"
    )
    if kind == "torch.complex64":  # nor does PyTorch warn of what is thrown away
        with pytest.raises(ConversionError, match="logits are of torch.complex64"):
            convert(classifier, "onnx", "unused")


def test_another_number_of_labels() -> None:
    message = refusal(tiny(labels=LABELS[:7]))

    assert "7 labels" in message
    assert "8 outputs" in message
    assert "one name per output" in message


def test_duplicate_labels() -> None:
    message = refusal(tiny(labels=(*LABELS[:6], "crane", "三毛猫")))

    assert "'crane' at 3 and 6" in message
    assert "unique" in message


def test_training_mode() -> None:
    message = refusal(tiny(module=TinyNet().train()))

    assert "training mode (the module itself)" in message
    assert "call module.eval() first" in message


def test_training_mode_of_one_part() -> None:
    classifier = tiny()
    classifier.module.get_submodule("features.4").train()

    assert "training mode (features.4)" in refusal(classifier)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["features.3.weight", "features.4.running_var", "head.bias"])
def test_weights_that_are_not_finite(name: str, value: float) -> None:
    classifier = tiny()
    classifier.module.state_dict()[name].view(-1)[-1] = value

    message = refusal(classifier)

    assert f"`{name}` contain NaN or infinity" in message
    assert "load a sound checkpoint" in message


def test_weights_without_numbers_are_refused() -> None:
    classifier = tiny()
    classifier.module.head.to(device="meta")

    assert "the weights `head.weight` are on the device meta, which holds no numbers" in refusal(classifier)


def test_buffers_that_a_checkpoint_leaves_out_are_looked_at_too() -> None:
    classifier = tiny()
    classifier.module.head.register_buffer("offset", torch.tensor(torch.nan), persistent=False)

    assert "`head.offset`" in refusal(classifier)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda logits: logits[:, :, None, None], "answers shape [4, 8, 1, 1]"),
        (lambda logits: logits.flatten(), "answers shape [32]"),
        (lambda logits: logits[:1], "answers shape [1, 8]"),
        (lambda logits: logits.T, "answers shape [8, 4]"),
    ],
)
def test_an_output_that_is_not_one_row_of_logits_per_image(function: Callable[..., Any], found: str) -> None:
    message = refusal(answering(function))

    assert f"for 4 images the module {found}" in message
    assert "logits of shape [4, classes]" in message
    assert "Wrap the module" in message


def test_softmax_inside() -> None:
    message = refusal(answering(lambda logits: logits.softmax(dim=1)))

    assert "probabilities already" in message
    assert "softmax would be applied twice" in message
    assert "without its softmax" in message


def test_log_softmax_inside() -> None:
    message = refusal(answering(lambda logits: logits.log_softmax(dim=1)))

    assert "log-probabilities (log_softmax)" in message
    assert "the conversion adds softmax" in message


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid,
        lambda logits: logits - logits.amax(dim=1, keepdim=True),
        lambda logits: logits.softmax(dim=1) * 2,
    ],
    ids=["sigmoid", "below zero", "summing to 2"],
)
def test_logits_of_a_small_range_are_no_softmax(function: Callable[..., Any]) -> None:
    check_model(answering(function))


def test_one_class_alone_is_no_softmax() -> None:
    classifier = answering(lambda logits: torch.ones_like(logits[:, :1]))

    check_model(dataclasses.replace(classifier, labels=("cat",)))


def test_a_module_that_fails_on_the_declared_size() -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8)).eval()

    message = refusal(tiny(module=flat))

    assert "fails on an input of shape [4, 3, 32, 32]" in message
    assert "3072" in message
    assert "Preprocessing.size" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_that_gets_another_precision_later_is_told_what_to_do(dtype: torch.dtype) -> None:
    classifier = tiny(module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8)).eval())
    classifier.module.to(dtype)

    message = refusal(classifier)

    assert f"the weights `1.weight` are {dtype}, and the reference computes in fp32: module.float()" in message


def test_a_failure_of_several_lines_is_told_in_one() -> None:
    def fail(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("first line\n  second line\n")

    assert "first line second line;" in refusal(answering(fail))


def test_what_is_no_module() -> None:
    message = refusal(tiny(module=lambda image: image))

    assert "the module is a function" in message
    assert "torch.nn.Module" in message


def test_check_module_does_not_run_the_module() -> None:
    def fail(logits: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    check_module(answering(fail))


# The fast path of transformers


@pytest.mark.parametrize("before", [True, False])
def test_the_fast_path_is_off_inside_and_as_before_afterwards(before: bool) -> None:
    mha = torch.backends.mha
    mha.set_fastpath_enabled(before)
    try:
        with without_mha_fastpath():
            assert not mha.get_fastpath_enabled()
        assert mha.get_fastpath_enabled() is before

        with pytest.raises(KeyboardInterrupt), without_mha_fastpath():
            raise KeyboardInterrupt
        assert mha.get_fastpath_enabled() is before
    finally:
        mha.set_fastpath_enabled(True)
