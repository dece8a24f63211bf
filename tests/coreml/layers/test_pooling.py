from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

Pair = tuple[int, int]


def _naive(
    kind: str, x: np.ndarray, kernel: Pair, stride: Pair, pads: tuple[int, ...], counts: Pair, exclude: bool
) -> np.ndarray:
    """Visit every element of every window; what lies outside of the image is padding."""
    height, width = x.shape[2:]
    y = np.zeros((*x.shape[:2], *counts))
    for i, j in np.ndindex(*counts):
        inside, padded = [], 0
        for u, v in np.ndindex(*kernel):
            row, column = i * stride[0] + u - pads[0], j * stride[1] + v - pads[2]
            if 0 <= row < height and 0 <= column < width:
                inside.append(x[:, :, row, column].astype(np.float64))
            else:
                padded += 1
        if kind == "MAX":
            y[:, :, i, j] = np.max(inside, axis=0) if inside else -math.inf
        elif kind == "L2":
            y[:, :, i, j] = np.sqrt(sum(v**2 for v in inside))
        else:
            y[:, :, i, j] = sum(inside) / (len(inside) + (0 if exclude else padded))
    return y


def _add(b: Any, kind: str, kernel: Pair, stride: Pair, mode: str, exclude: bool, **settings: Any) -> None:
    b.add_pooling("p", *kernel, *stride, kind, mode, "x", "y", exclude_pad_area=exclude, **settings)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "L2"])
@given(st.data())
def test_valid(kind: str, exclude: bool, data: st.DataObject) -> None:
    kernel, stride = (data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    # A window has to meet the image.
    pads = tuple(data.draw(st.integers(0, kernel[i // 2] - 1)) for i in range(4))
    size = data.draw(st.tuples(st.integers(3, 6), st.integers(3, 6)))
    x = normal(1, 2, *size)
    counts = tuple((size[i] + pads[2 * i] + pads[2 * i + 1] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    names = dict(zip(("padding_top", "padding_bottom", "padding_left", "padding_right"), pads, strict=True))

    found = run(lambda b: _add(b, kind, kernel, stride, "VALID", exclude, **names), x=x)

    close(found, _naive(kind, x, kernel, stride, pads, counts, exclude))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "L2"])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((2, 4), (1, 3)), ((2, 2), (2, 2))])
def test_same(kind: str, exclude: bool, lower: bool, kernel: Pair, stride: Pair) -> None:
    x = normal(1, 2, 6, 7)
    pads: list[int] = []
    for n, k, s in zip((6, 7), kernel, stride, strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        pads += [total - total // 2, total // 2] if lower else [total // 2, total - total // 2]
    mode = "TOP_LEFT_HEAVY" if lower else "BOTTOM_RIGHT_HEAVY"

    found = run(lambda b: _add(b, kind, kernel, stride, "SAME", exclude, same_padding_asymmetry_mode=mode), x=x)

    counts = (-(-6 // stride[0]), -(-7 // stride[1]))
    close(found, _naive(kind, x, kernel, stride, tuple(pads), counts, exclude))


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "L2"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "counts"),
    [
        # Counts by hand, from the formula in the specification, for an image of 6 by 7.
        ((3, 3), (2, 2), (0, 0), (3, 3)),
        ((3, 3), (2, 2), (1, 1), (4, 4)),
        ((2, 2), (3, 3), (1, 1), (3, 3)),
        ((2, 2), (4, 3), (0, 1), (2, 3)),
        ((2, 4), (1, 2), (0, 0), (5, 3)),
        ((2, 2), (7, 8), (1, 1), (1, 1)),
    ],
)
def test_include_last_pixel(kind: str, exclude: bool, kernel: Pair, stride: Pair, pads: Pair, counts: Pair) -> None:
    x = normal(2, 3, 6, 7)
    amounts = {"padding_top": pads[0], "padding_bottom": pads[0], "padding_left": pads[1], "padding_right": pads[1]}

    found = run(lambda b: _add(b, kind, kernel, stride, "INCLUDE_LAST_PIXEL", exclude, **amounts), x=x)

    close(found, _naive(kind, x, kernel, stride, (pads[0], pads[0], pads[1], pads[1]), counts, exclude))


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 2, 3, 4)])
def test_global(shape: tuple[int, ...]) -> None:
    x = normal(*shape)

    def pool(kind: str) -> Any:
        return run(lambda b: _add(b, kind, (1, 1), (1, 1), "VALID", False, is_global=True), x=x)

    close(pool("MAX"), x.max((-2, -1), keepdims=True))
    close(pool("AVERAGE"), x.mean((-2, -1), keepdims=True))
    close(pool("L2"), np.sqrt((x**2).sum((-2, -1), keepdims=True)))


def test_leading_axes_are_a_batch_and_defaults_hold() -> None:
    x = normal(2, 2, 3, 5, 5)

    def add(b: Any) -> None:
        _add(b, "MAX", (2, 2), (2, 2), "VALID", False)
        b.nn_spec.layers[0].pooling.ClearField("kernelSize")
        b.nn_spec.layers[0].pooling.ClearField("stride")

    expected = _naive("MAX", x.reshape(4, 3, 5, 5), (3, 3), (1, 1), (0, 0, 0, 0), (3, 3), False)
    close(run(add, rank5=True, x=x), expected.reshape(2, 2, 3, 3, 3))


def test_include_last_pixel_pads_by_nothing_where_it_is_not_set() -> None:
    x = normal(1, 1, 6, 7)

    def add(b: Any) -> None:
        _add(b, "AVERAGE", (2, 2), (2, 2), "INCLUDE_LAST_PIXEL", False)
        b.nn_spec.layers[0].pooling.includeLastPixel.ClearField("paddingAmounts")

    close(run(add, x=x), _naive("AVERAGE", x, (2, 2), (2, 2), (0, 0, 0, 0), (3, 4), False))


def test_padding_that_is_not_set_is_refused() -> None:
    def add(b: Any) -> None:
        _add(b, "MAX", (2, 2), (2, 2), "VALID", False)
        b.nn_spec.layers[0].pooling.ClearField("valid")

    with pytest.raises(CoreMLError, match="the padding is none of `valid`, `same` and `includeLastPixel`"):
        run(add, x=normal(1, 1, 2, 2))
