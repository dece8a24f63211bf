"""Preprocessing: what it refuses, and that it comes out as plain numbers whatever it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conversion import ConversionError, Preprocessing


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
    ],
)
def test_what_no_model_can_mean_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        Preprocessing(**wrong)
