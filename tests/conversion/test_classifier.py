"""Preprocessing and Classifier: what they refuse, and that what they keep is plain whatever they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conversion import Classifier, ConversionError, Preprocessing
from conversion.guards.torchvision_guard import torchvision

InterpolationMode: Any = torchvision().transforms.InterpolationMode


def test_lists_and_numpy_numbers_become_plain() -> None:
    mixed: Any = {
        "size": [np.int64(224), 192],
        "mean": np.array([0.5, 0.25, 0.125]),
        "std": [0.5, np.float32(0.25), 1],
        "resize": np.int64(256),
    }

    plain = Preprocessing(**mixed)

    assert plain == Preprocessing((224, 192), (0.5, 0.25, 0.125), (0.5, 0.25, 1.0), 256)
    assert {type(v) for v in (*plain.mean, *plain.std)} == {float}
    assert [type(plain.resize), type(plain.size[0])] == [int, int]


@pytest.mark.parametrize(("given", "kept"), [(None, None), (256, 256), ([240, 320], (240, 320))])
def test_resize_is_nothing_one_side_or_both(given: Any, kept: object) -> None:
    assert Preprocessing(resize=given).resize == kept


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": (0.5,)}, "takes 3 means and 3 stds"),
        ({"std": (0.2, 0.2)}, "takes 3 means and 3 stds"),
        ({"std": (0.2, 0.0, 0.2)}, "every std must be above 0"),
        ({"mean": (123.7, 116.3, 103.5)}, "divide values given for 0..255 by 255"),
        ({"size": (224,)}, r"size is \(height, width\)"),
        ({"size": (224, 0)}, r"size is \(height, width\)"),
        ({"size": 224}, r"size is \(height, width\)"),
        ({"size": None}, r"size is \(height, width\)"),
        ({"size": "96"}, r"size is \(height, width\)"),
        ({"size": ("96", "96")}, r"size is \(height, width\)"),
        ({"size": (96.5, 96)}, r"size is \(height, width\) in whole pixels, each above 0, got \(96.5, 96\)"),
        ({"size": (True, 96)}, r"size is \(height, width\)"),
        ({"size": (96, -1)}, r"size is \(height, width\)"),
        ({"size": ()}, r"size is \(height, width\)"),
        ({"size": (3, 96, 96)}, r"size is \(height, width\)"),
        ({"size": (10**6, 10**6)}, "size is 1000000x1000000 pixels, more than the limit of 67108864 altogether"),
        ({"size": (1, 2**26 + 1)}, "size is 1x67108865 pixels, more than the limit of 67108864"),
        ({"resize": 0}, "resize is a number for the shorter side, .*each above 0, or None, got 0"),
        ({"resize": -1}, "resize is a number for the shorter side, .*each above 0, or None, got -1"),
        ({"resize": (0, 5)}, "resize is a number for the shorter side"),
        ({"resize": (5, 5, 5)}, "resize is a number for the shorter side"),
        ({"resize": 256.5}, "resize is a number for the shorter side"),
        ({"resize": "256"}, "resize is a number for the shorter side"),
        ({"resize": float("nan")}, "resize is a number for the shorter side"),
        ({"resize": 10**6}, "resize is a side of 1000000 pixels, more than the limit of 67108864 altogether"),
        ({"resize": (10**6, 10**6)}, "resize is 1000000x1000000 pixels, more than the limit"),
        ({"mean": (float("nan"), 0.5, 0.5)}, r"every mean must be finite, got \(nan, 0.5, 0.5\)"),
        ({"mean": (float("-inf"), 0.5, 0.5)}, "every mean must be finite"),
        ({"mean": (float("inf"), 0.5, 0.5)}, "every mean must be finite"),
        ({"mean": 0.5}, "takes 3 means and 3 stds .*, as numbers; mean is 0.5"),
        ({"mean": None}, "as numbers; mean is None"),
        ({"mean": "0.5"}, "as numbers; mean is '0.5'"),
        ({"mean": ("0.5", "0.5", "0.5")}, "as numbers; mean is"),
        ({"mean": (0.5j, 0.5, 0.5)}, "as numbers; mean is"),
        ({"std": (float("nan"), 0.2, 0.2)}, "every std must be above 0, and finite"),
        ({"std": (float("inf"), 0.2, 0.2)}, "every std must be above 0, and finite"),
        ({"std": (-0.2, 0.2, 0.2)}, "every std must be above 0, and finite"),
        # 1 / (255 std) is not finite in fp32.
        ({"std": (1e-42, 0.2, 0.2)}, "every std must be above 0, and finite"),
        ({"std": b"abc"}, "as numbers; std is b'abc'"),
        ({"interpolation": "area"}, "interpolation is one of nearest, bilinear, bicubic, lanczos, not 'area'"),
        ({"interpolation": None}, "interpolation is one of nearest, bilinear, bicubic, lanczos, not None"),
        ({"interpolation": 2}, "interpolation is one of nearest, bilinear, bicubic, lanczos, not 2"),
    ],
)
def test_what_no_model_can_mean_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        Preprocessing(**wrong)

    assert "\n" not in str(caught.value)


def test_an_interpolation_may_be_torchvisions_own() -> None:
    given: Any = InterpolationMode.BICUBIC

    assert Preprocessing(interpolation=given).interpolation == "bicubic"


# Classifier


@pytest.mark.parametrize("labels", [["ant", "bee"], ("ant", "bee"), np.array(["ant", "bee"])])
def test_labels_are_any_list_of_names(labels: Any) -> None:
    assert Classifier("net", torch.nn.Identity(), Preprocessing(), labels).labels == ("ant", "bee")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "net: labels are a list of names, one per output of the model, not NoneType None"),
        ("ant", "not str 'ant'"),
        (b"ant", "not bytes b'ant'"),
        ((name for name in ("ant", "bee")), "not generator"),
        ({"ant", "bee"}, "not set"),
        ({0: "ant"}, "not dict"),
        (5, "not int 5"),
        (np.array("ant"), "not ndarray"),
        ((), "net: no labels"),
        (("ant", 5), "net: label 1 is 5, not text"),
        (("ant", None), "net: label 1 is None, not text"),
        (("ant", b"bee"), "net: label 1 is b'bee', not text"),
        (("ant", ""), "net: label 1 is empty"),
        (("ant", " "), "net: label 1 is empty"),
        (range(2), "net: label 0 is 0, not text"),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        Classifier("net", torch.nn.Identity(), Preprocessing(), labels)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", None, 5, b"net"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(ConversionError, match="^Classifier: name is .*; give it a name as text$"):
        Classifier(name, torch.nn.Identity(), Preprocessing(), ("ant", "bee"))
