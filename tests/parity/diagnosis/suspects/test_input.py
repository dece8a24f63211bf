"""Whatever is done to the pixels before they enter the network is measured, named and undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.diagnosis.suspects.input import turn
from tests.parity.diagnosis.faulty import (
    before_all,
    broken,
    causes,
    change_weight,
    examined,
    explained,
    good,
    reference,
    swapped,
)
from tests.parity.test_injected_faults import (
    mil_drop_normalisation,
    mil_nan,
    mil_swap_channels,
    nn_swap_channels,
)
from tests.parity.tiny import tiny

ONNX = "onnx-torchscript"
SIZE = 48


def coloured(name: str, values: Any) -> Callable[[Any], None]:
    """Make the fault of another normalisation: `image_mean` in 0..255, `image_scale` of a pixel."""

    def break_it(model: Any) -> None:
        change_weight(model, name, lambda was: np.broadcast_to(np.reshape(values, (-1, 1, 1)), was.shape))

    return break_it


def not_normalised(model: Any) -> None:
    coloured("image_mean", 0.0)(model)
    coloured("image_scale", 1.0)(model)


def divided_alone(model: Any) -> None:
    coloured("image_mean", 0.0)(model)
    coloured("image_scale", 1 / 255)(model)


def too_large(model: Any) -> None:
    before_all(model, "Mul", [np.array(255, np.float32)])


def offset(model: Any) -> None:
    before_all(model, "Add", [np.array([10, -20, 30], np.float32).reshape(1, 3, 1, 1)])


def green_first(model: Any) -> None:
    before_all(model, "Gather", [np.array([1, 0, 2])], axis=1)


def mirrored(model: Any) -> None:
    before_all(model, "Gather", [np.arange(SIZE)[::-1].copy()], axis=3)


def transposed(model: Any) -> None:
    before_all(model, "Transpose", [], perm=[0, 1, 3, 2])


def moved(model: Any) -> None:
    before_all(model, "Gather", [np.clip(np.arange(SIZE) - 1, 0, None)], axis=2)


def grey(model: Any) -> None:
    weights = np.tile(np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1), (3, 1, 1, 1))
    before_all(model, "Conv", [weights])


def curved(model: Any) -> None:
    before_all(model, "Sqrt", [])


@pytest.mark.parametrize(
    ("fault", "break_it", "figures"),
    [
        ("pre-missing-normalise", not_normalised, "pixels 0..255"),
        ("pre-missing-normalise", divided_alone, "pixels 0..1"),
        ("pre-range-0-1-vs-0-255", too_large, "255 times too large"),
        # 1/0.226 against 1/0.229, 1/0.224 and 1/0.225
        ("pre-scalar-std", coloured("image_scale", 1 / (255 * 0.226)), "(1.013, 0.9912, 0.9956)"),
        # 10 / (255 * 0.229), -20 / (255 * 0.224), 30 / (255 * 0.225)
        ("pre-bias-formula", offset, "(0.1712, -0.3501, 0.5229)"),
        ("pre-bias-formula", coloured("image_mean", 0.0), "it is missing"),
        ("pre-bgr-swap", swapped, "Red and blue"),
        ("pre-channel-order", green_first, "GRB"),
        ("pre-exif-orientation", mirrored, "mirrored left to right"),
        ("pre-exif-orientation", transposed, "transposed"),
        ("pre-crop-geometry", moved, "1 pixel(s) down"),
        ("pre-colour-mode", grey, "(0.299, 0.587, 0.114)"),
        ("pre-unknown-input", curved, "not PyTorch's normalised image"),
    ],
)
def test_an_input_is_named_and_undone(fault: str, break_it: Callable[[Any], None], figures: str) -> None:
    explanation = explained(broken(good(ONNX), break_it), reference())

    assert causes(explanation) == [fault]
    assert figures in explanation.diagnoses[0].message


@pytest.mark.parametrize(
    ("route", "break_it", "fault"),
    [
        ("mlprogram", mil_swap_channels, "pre-bgr-swap"),
        ("mlprogram", mil_drop_normalisation, "pre-missing-normalise"),
        ("mlprogram", mil_nan, "pre-non-finite"),
        ("onnx-coreml", nn_swap_channels, "pre-bgr-swap"),
    ],
)
def test_core_ml_inputs(route: str, break_it: Callable[[Any], None], fault: str) -> None:
    explanation = explained(broken(good(route, tiny), break_it), reference(tiny))

    assert causes(explanation) == [fault]


def test_a_neural_networks_preprocessing_is_an_input_too() -> None:
    def break_it(specification: Any) -> None:
        specification.neuralNetworkClassifier.preprocessing[0].scaler.channelScale = 0.5

    explanation = explained(broken(good("onnx-coreml", tiny), break_it), reference(tiny))

    assert causes(explanation) == ["pre-range-0-1-vs-0-255"]
    assert "0.5 times as large as they should be" in explanation.diagnoses[0].message


def test_bgr_pixels_with_the_right_statistics_are_one_fault() -> None:
    # The channels change places behind the normalisation: each keeps its own mean and std.
    def break_it(model: Any) -> None:
        swapped(model)
        change_weight(model, "image_mean", lambda was: was[::-1])
        change_weight(model, "image_scale", lambda was: was[::-1])

    assert causes(explained(broken(good(ONNX), break_it), reference())) == ["pre-bgr-swap"]


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram", "mlprogram-fp32"])
def test_a_sound_input_is_no_suspect(route: str) -> None:
    from parity.diagnosis.suspects.input import suspects

    assert list(suspects(examined(good(route), reference()))) == []


def test_turns_are_numpys() -> None:
    image = np.arange(6).reshape(1, 2, 3)

    assert turn(image, 1, False).tolist() == [[[2, 5], [1, 4], [0, 3]]]
    assert turn(image, 0, True).tolist() == [[[2, 1, 0], [5, 4, 3]]]
