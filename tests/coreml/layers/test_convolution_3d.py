from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

Triple = tuple[int, int, int]
_SIDES = ("padding_front", "padding_back", "padding_top", "padding_bottom", "padding_left", "padding_right")


def _add(
    b: Any,
    w: np.ndarray,
    stride: Triple = (1, 1, 1),
    dilation: Triple = (1, 1, 1),
    groups: int = 1,
    bias: np.ndarray | None = None,
    pads: tuple[int, ...] = (0,) * 6,
    mode: str = "custom",
    output_shape: Triple | None = None,
    transposed: bool = False,
) -> Any:
    """Add a (de)convolution; w [C_out, C_in / groups, *kernel], transposed [C_in, C_out / groups, *kernel]."""
    wide, narrow = w.shape[0], w.shape[1] * groups
    names = [f"{kind}_{axis}" for kind in ("stride", "dilation") for axis in ("depth", "height", "width")]
    return b.add_convolution3d(
        "c",
        input_channels=wide if transposed else narrow,
        output_channels=narrow if transposed else wide,
        depth=w.shape[2],
        height=w.shape[3],
        width=w.shape[4],
        # The builder turns the first two axes of a deconvolution round.
        W=w.transpose(1, 0, 2, 3, 4) if transposed else w,
        b=bias,
        has_bias=bias is not None,
        groups=groups,
        is_deconv=transposed,
        output_shape=output_shape,
        padding_mode=mode,
        input_name="x",
        output_name="y",
        **dict(zip(names, stride + dilation, strict=True)),
        **dict(zip(_SIDES, pads, strict=True)),
    ).convolution3d


def _expected(
    x: np.ndarray, w: np.ndarray, pads: tuple[int, ...], stride: Triple, dilation: Triple, groups: int
) -> np.ndarray:
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), pads[:2], pads[2:4], pads[4:]))
    weight = torch.tensor(w, dtype=torch.float64)
    y = torch.nn.functional.conv3d(torch.tensor(padded), weight, None, stride, 0, dilation, groups)
    return y.numpy()


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_convolution(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(st.tuples(*[st.integers(1, 2)] * 3)) for _ in range(3))
    pads = data.draw(st.tuples(*[st.integers(0, 2)] * 6))
    groups, biased = data.draw(st.sampled_from([1, 2, 4])), data.draw(st.booleans())
    x, w = normal(2, 4, 3, 4, 5), normal(4, 4 // groups, *kernel, seed=1)
    bias = normal(4, seed=2) if biased else None

    found = run(lambda b: _add(b, w, stride, dilation, groups, bias, pads), x=x)

    expected = _expected(x, w, pads, stride, dilation, groups)
    close(found, expected + (bias.reshape(4, 1, 1, 1) if bias is not None else 0), 2e-5)


def test_the_specifications_example_of_same_padding() -> None:
    # Front and back 1 each, then 0 and 1 twice.
    x, w = normal(1, 3, 3, 8, 8), normal(2, 3, 3, 3, 3, seed=1)

    found = run(lambda b: _add(b, w, (2, 2, 2), mode="same"), x=x)

    assert found.shape == (1, 2, 2, 4, 4)
    close(found, _expected(x, w, (1, 1, 0, 1, 0, 1), (2, 2, 2), (1, 1, 1), 1), 2e-5)


def test_valid_ignores_the_custom_padding() -> None:
    x, w = normal(1, 1, 3, 3, 3), normal(1, 1, 2, 2, 2, seed=1)

    def add(b: Any) -> None:
        _add(b, w, mode="valid").customPaddingFront = 3

    close(run(add, x=x), _expected(x, w, (0,) * 6, (1, 1, 1), (1, 1, 1), 1), 2e-5)


def test_the_axes_before_the_channels_are_a_batch() -> None:
    x, w = normal(2, 3, 1, 3, 3, 3), normal(2, 1, 2, 2, 2, seed=1)

    expected = _expected(x.reshape(6, 1, 3, 3, 3), w, (0,) * 6, (1, 1, 1), (1, 1, 1), 1)

    close(run(lambda b: _add(b, w), x=x), expected.reshape(2, 3, 2, 2, 2, 2), 2e-5)


def _laid_down(x: np.ndarray, w: np.ndarray, stride: Triple, groups: int) -> np.ndarray:
    """Lay the kernel down at every voxel; w [C_in, C_out / groups, *kernel]; nothing is cut off."""
    sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], stride, w.shape[2:], strict=True)]
    wide = w.shape[1]
    y = np.zeros((len(x), wide * groups, *sizes))
    for channel, *place in np.ndindex(*x.shape[1:]):
        first = channel // (x.shape[1] // groups) * wide
        spans = [slice(p * s, p * s + k) for p, s, k in zip(place, stride, w.shape[2:], strict=True)]
        y[:, first : first + wide, *spans] += x[:, channel, *place, None, None, None, None] * w[channel]
    return y


@pytest.mark.parametrize(("groups", "biased"), [(1, False), (2, True)])
@pytest.mark.parametrize(
    ("settings_", "cuts"),
    [
        ({"mode": "valid"}, (0,) * 6),
        ({"pads": (1, 0, 0, 2, 1, 1)}, (1, 0, 0, 2, 1, 1)),
        # [2, 3, 3] becomes [4, 7, 8], of which [2, 6, 9] is wanted; an odd rest goes at the end.
        ({"mode": "same"}, (1, 1, 0, 1, 0, -1)),
        ({"pads": (2, 0, 0, 0, 0, 0), "output_shape": (2, 7, 8)}, (2, 0, 0, 0, 0, 0)),
        ({"pads": (0,) * 6, "output_shape": (2, 4, 8)}, (1, 1, 1, 2, 0, 0)),
    ],
)
def test_deconvolution(settings_: dict[str, Any], cuts: tuple[int, ...], groups: int, biased: bool) -> None:
    x, w = normal(2, 4, 2, 3, 3), normal(4, 3, 3, 3, 2, seed=1)
    bias = normal(3 * groups, seed=2) if biased else None
    full = np.pad(
        _laid_down(x, w, (1, 2, 3), groups), [(0, 0), (0, 0), *((max(-cut, 0),) * 2 for cut in cuts[1::2])]
    )
    starts = [before + max(-after, 0) for before, after in zip(cuts[::2], cuts[1::2], strict=True)]
    ends = [size - max(after, 0) for size, after in zip(full.shape[2:], cuts[1::2], strict=True)]
    expected = full[:, :, *map(slice, starts, ends)]

    found = run(lambda b: _add(b, w, (1, 2, 3), groups=groups, bias=bias, transposed=True, **settings_), x=x)

    close(found, expected + (bias.reshape(-1, 1, 1, 1) if bias is not None else 0), 2e-5)


def test_halves_as_weights() -> None:
    x, w = normal(1, 1, 2, 2, 2), normal(1, 1, 2, 2, 2, seed=1).astype(np.float16)

    def add(b: Any) -> None:
        weights = _add(b, w).weights
        weights.ClearField("floatValue")
        weights.float16Value = w.tobytes()

    close(run(add, x=x), (x * w).sum().reshape(1, 1, 1, 1, 1), 2e-5)


def _without_kernel(b: Any) -> None:
    _add(b, normal(1, 1, 1, 1, 1)).kernelHeight = 0


def _two_sizes(b: Any) -> None:
    del _add(b, normal(1, 1, 1, 1, 1), transposed=True, output_shape=(1, 1, 1)).outputShape[0]


def _three_groups(b: Any) -> None:
    _add(b, normal(4, 1, 1, 1, 1), transposed=True).nGroups = 3


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (_without_kernel, r"`kernel` is \[1, 0, 1\], \(depth, height, width\); each is at least 1"),
        (_two_sizes, "`outputShape` has 2 values; 3 are defined: depth, height, width"),
        (_three_groups, "4 channels in and 1 out cannot be divided into 3 groups"),
    ],
)
def test_what_is_wrong_with_the_layer_is_said(add: Callable[[Any], None], text: str) -> None:
    with pytest.raises(CoreMLError, match=text):
        run(add, x=np.ones((1, 1, 1, 1, 1)))
