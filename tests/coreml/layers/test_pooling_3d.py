from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

Triple = tuple[int, int, int]
_SIDES = ("front", "back", "top", "bottom", "left", "right")


def _add(b: Any, kind: str, kernel: Triple, stride: Triple, mode: str, pads: tuple[int, ...], exclude: bool) -> Any:
    names = {f"custom_padding_{side}": pad for side, pad in zip(_SIDES, pads, strict=True)}
    settings_ = {"padding_mode": mode, "average_pooling_count_excludes_padding": exclude, **names}
    return b.add_pooling3d("p", "x", "y", kind, *kernel, *stride, **settings_).pooling3d


def _naive(
    x: np.ndarray, kind: str, kernel: Triple, stride: Triple, pads: tuple[int, ...], exclude: bool
) -> np.ndarray:
    """Visit every window; what lies outside of the volume is NaN, and padding."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), pads[:2], pads[2:4], pads[4:]), constant_values=math.nan)
    counts = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], kernel, stride, strict=True)]
    y = np.zeros((*x.shape[:2], *counts))
    for place in np.ndindex(*counts):
        spans = [slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True)]
        window = padded[:, :, *spans]
        if kind == "MAX":
            y[:, :, *place] = np.nanmax(window, (2, 3, 4))
        elif exclude:
            y[:, :, *place] = np.nanmean(window, (2, 3, 4))
        else:
            y[:, :, *place] = np.nansum(window, (2, 3, 4)) / math.prod(kernel)
    return y


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE"])
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_custom(kind: str, exclude: bool, data: st.DataObject) -> None:
    kernel, stride = (data.draw(st.tuples(*[st.integers(1, 3)] * 3)) for _ in range(2))
    # A window has to meet the volume.
    pads = tuple(data.draw(st.integers(0, kernel[i // 2] - 1)) for i in range(6))
    # Negative, so that a padding of zeros would win.
    x = normal(2, 2, 3, 4, 3) - 5

    found = run(lambda b: _add(b, kind, kernel, stride, "CUSTOM", pads, exclude), x=x)

    close(found, _naive(x, kind, kernel, stride, pads, exclude))


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE"])
def test_same_gives_size_by_stride_rounded_up(kind: str, exclude: bool) -> None:
    x = normal(1, 2, 3, 4, 5)

    found = run(lambda b: _add(b, kind, (2, 3, 4), (1, 2, 3), "SAME", (0,) * 6, exclude), x=x)

    assert found.shape == (1, 2, 3, 2, 2)
    close(found, _naive(x, kind, (2, 3, 4), (1, 2, 3), (0, 1, 0, 1, 1, 1), exclude))


def test_valid_is_the_specifications_example() -> None:
    x = np.arange(1, 19).reshape(1, 1, 2, 3, 3)

    found = run(lambda b: _add(b, "MAX", (2, 2, 2), (1, 1, 1), "VALID", (0,) * 6, False), x=x)

    assert found.tolist() == [[[[[14, 15], [17, 18]]]]]


def test_the_axes_before_the_channels_are_a_batch() -> None:
    x = normal(2, 3, 1, 2, 2, 2)

    found = run(lambda b: _add(b, "MAX", (2, 2, 2), (1, 1, 1), "VALID", (0,) * 6, False), x=x)

    close(found, x.max((3, 4, 5), keepdims=True))


@pytest.mark.parametrize("shape", [(2, 3, 2, 3, 4), (2, 1, 3, 2, 3, 4)])
def test_global(shape: tuple[int, ...]) -> None:
    x = normal(*shape)

    close(run(lambda b: b.add_global_pooling3d("p", "x", "y", "MAX"), x=x), x.max((-3, -2, -1), keepdims=True))
    close(run(lambda b: b.add_global_pooling3d("p", "x", "y", "AVERAGE"), x=x), x.mean((-3, -2, -1), keepdims=True))


def test_a_stride_of_zero_is_refused() -> None:
    def add(b: Any) -> None:
        _add(b, "MAX", (1, 1, 1), (1, 1, 1), "VALID", (0,) * 6, False).strideDepth = 0

    with pytest.raises(CoreMLError, match=r"`stride` is \[0, 1, 1\], \(depth, height, width\)"):
        run(add, x=np.ones((1, 1, 1, 1, 1)))
