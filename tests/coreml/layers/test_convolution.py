from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

Pair = tuple[int, int]


def _naive(
    x: np.ndarray, w: np.ndarray, pads: tuple[int, ...], stride: Pair, dilation: Pair, groups: int
) -> np.ndarray:
    """Sum over every place of the kernel; x [N, C, H, W], w [C_out, C / groups, kh, kw]."""
    top, bottom, left, right = pads
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    (kh, kw), (sh, sw), (dh, dw) = w.shape[2:], stride, dilation
    rows = (x.shape[2] - (kh - 1) * dh - 1) // sh + 1
    columns = (x.shape[3] - (kw - 1) * dw - 1) // sw + 1
    y = np.zeros((len(x), len(w), rows, columns))
    width = w.shape[1]
    for out in range(len(w)):
        first = out // (len(w) // groups) * width
        for i in range(rows):
            for j in range(columns):
                window = x[:, first : first + width, i * sh : i * sh + kh * dh : dh, j * sw : j * sw + kw * dw : dw]
                y[:, out, i, j] = (window[..., :kh, :kw] * w[out]).sum((1, 2, 3))
    return y


def _naive_deconvolution(x: np.ndarray, w: np.ndarray, stride: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """Lay the kernel down at every pixel; w [C, C_out / groups, kh, kw]; nothing is cut off."""
    (n, channels, height, width), (sh, sw), (dh, dw) = x.shape, stride, dilation
    wide, kh, kw = w.shape[1:]
    y = np.zeros((n, wide * groups, (height - 1) * sh + (kh - 1) * dh + 1, (width - 1) * sw + (kw - 1) * dw + 1))
    for c in range(channels):
        first = c // (channels // groups) * wide
        for i in range(height):
            for j in range(width):
                for u in range(kh):
                    for v in range(kw):
                        to = y[:, first : first + wide, i * sh + u * dh, j * sw + v * dw]
                        to += x[:, c, i, j, None] * w[c, :, u, v]
    return y


def _add(b: Any, w: np.ndarray, *, inputs: Any = "x", **settings: Any) -> None:
    """Add a (de)convolution; w as the layer stores it. The builder wants the kernel's axes in front."""
    deconvolution = settings.get("is_deconv", False)
    groups = settings.pop("groups", 1)
    stride, dilation = settings.pop("stride", (1, 1)), settings.pop("dilation", (1, 1))
    bias = settings.pop("bias", None)
    top, bottom, left, right = settings.pop("pads", (0, 0, 0, 0))
    b.add_convolution(
        "c",
        kernel_channels=w.shape[0] if deconvolution else w.shape[1],
        output_channels=w.shape[1] * groups if deconvolution else w.shape[0],
        height=w.shape[2],
        width=w.shape[3],
        stride_height=stride[0],
        stride_width=stride[1],
        border_mode=settings.pop("border_mode", "valid"),
        groups=groups,
        W=w.transpose(2, 3, 0, 1) if deconvolution else w.transpose(2, 3, 1, 0),
        b=bias,
        has_bias=bias is not None,
        input_name=inputs,
        output_name="y",
        dilation_factors=list(dilation),
        padding_top=top,
        padding_bottom=bottom,
        padding_left=left,
        padding_right=right,
        **settings,
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "pads", "groups"),
    [
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
        ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1), 1),
        ((3, 2), (2, 1), (1, 1), (0, 0, 2, 1), 1),
        ((2, 3), (1, 2), (2, 1), (1, 0, 0, 0), 2),
        ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 4),
        ((5, 5), (2, 2), (1, 1), (2, 2, 2, 2), 4),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolution(kernel: Pair, stride: Pair, dilation: Pair, pads: Any, groups: int, bias: bool) -> None:
    x, w = normal(2, 4, 7, 8), normal(8, 4 // groups, *kernel, seed=1)
    offset = normal(8, seed=2) if bias else None
    expected = _naive(x, w, pads, stride, dilation, groups) + (offset.reshape(-1, 1, 1) if bias else 0)

    found = run(lambda b: _add(b, w, stride=stride, dilation=dilation, pads=pads, groups=groups, bias=offset), x=x)

    close(found, expected, 2e-5)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.booleans(),
)
def test_same_padding_gives_size_by_stride_rounded_up(size: Pair, kernel: Pair, stride: Pair, lower: bool) -> None:
    x, w = normal(1, 1, *size), normal(1, 1, *kernel, seed=1)
    pads: list[int] = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        pads += [total - total // 2, total // 2] if lower else [total // 2, total - total // 2]
    mode = "TOP_LEFT_HEAVY" if lower else "BOTTOM_RIGHT_HEAVY"

    found = run(lambda b: _add(b, w, stride=stride, border_mode="same", same_padding_asymmetry_mode=mode), x=x)

    assert found.shape[2:] == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    close(found, _naive(x, w, tuple(pads), stride, (1, 1), 1), 2e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3, 5, 6), (2, 3, 3, 5, 6)])
def test_leading_axes_are_a_batch(shape: tuple[int, ...]) -> None:
    x, w = normal(*shape), normal(2, 3, 3, 3, seed=1)

    expected = _naive(x.reshape(-1, 3, 5, 6), w, (0, 0, 0, 0), (1, 1), (1, 1), 1)

    close(run(lambda b: _add(b, w), rank5=True, x=x), expected.reshape(*shape[:2], 2, 3, 4), 2e-5)


def test_what_the_file_leaves_out_has_its_default() -> None:
    x, w = normal(1, 2, 5, 5), normal(2, 2, 3, 3, seed=1)

    def add(b: Any) -> None:
        _add(b, w)
        for field in ("kernelSize", "stride", "dilationFactor", "nGroups"):
            b.nn_spec.layers[0].convolution.ClearField(field)
        b.nn_spec.layers[0].convolution.valid.ClearField("paddingAmounts")

    close(run(add, x=x), _naive(x, w, (0, 0, 0, 0), (1, 1), (1, 1), 1), 2e-5)


def test_the_weights_may_be_an_input() -> None:
    x, w = normal(1, 4, 6, 6), normal(6, 2, 3, 3, seed=1)

    found = run(lambda b: _add(b, w, inputs=["x", "w"], stride=(2, 2), groups=2, pads=(1, 1, 1, 1)), x=x, w=w)

    close(found, _naive(x, w, (1, 1, 1, 1), (2, 2), (1, 1), 2), 2e-5)


@pytest.mark.parametrize(
    ("stride", "dilation", "pads", "groups"),
    [((1, 1), (1, 1), (0, 0, 0, 0), 1), ((2, 3), (1, 1), (1, 0, 2, 1), 2), ((2, 2), (2, 1), (2, 3, 0, 0), 4)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_deconvolution(stride: Pair, dilation: Pair, pads: tuple[int, ...], groups: int, bias: bool) -> None:
    x, w = normal(2, 4, 4, 5), normal(4, 2, 3, 4, seed=1)
    offset = normal(2 * groups, seed=2) if bias else None
    full = _naive_deconvolution(x, w, stride, dilation, groups)
    top, bottom, left, right = pads
    expected = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]

    found = run(
        lambda b: _add(
            b, w, is_deconv=True, stride=stride, dilation=dilation, pads=pads, groups=groups, bias=offset
        ),
        x=x,
    )

    close(found, expected + (offset.reshape(-1, 1, 1) if bias else 0), 2e-5)


def test_deconvolution_is_quantized_by_output_channel_and_strides_by_1() -> None:
    x, w = normal(1, 3, 4, 4), np.random.default_rng(1).integers(0, 256, (3, 2, 3, 3))
    scale, offset = np.array([0.01, 0.5]), np.array([-1.0, 2.0])

    def add(b: Any) -> None:
        _add(b, np.zeros((3, 2, 3, 3)), is_deconv=True, border_mode="same")
        params = b.nn_spec.layers[0].convolution
        params.ClearField("stride")
        params.weights.ClearField("floatValue")
        params.weights.rawValue = w.astype(np.uint8).tobytes()
        params.weights.quantization.numberOfBits = 8
        params.weights.quantization.linearQuantization.scale.extend(scale)
        params.weights.quantization.linearQuantization.bias.extend(offset)

    real = w * scale.reshape(1, 2, 1, 1) + offset.reshape(1, 2, 1, 1)

    close(run(add, x=x), _naive_deconvolution(x, real, (1, 1), (1, 1), 1)[:, :, 1:5, 1:5], 1e-5)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_deconvolution_same_gives_size_times_stride(kernel: int, lower: bool) -> None:
    x, w = normal(1, 2, 4, 3), normal(2, 3, kernel, kernel, seed=1)
    full = _naive_deconvolution(x, w, (2, 2), (1, 1), 1)
    cut = kernel - 2
    before = cut - cut // 2 if lower else cut // 2
    mode = "TOP_LEFT_HEAVY" if lower else "BOTTOM_RIGHT_HEAVY"

    found = run(
        lambda b: _add(b, w, is_deconv=True, stride=(2, 2), border_mode="same", same_padding_asymmetry_mode=mode),
        x=x,
    )

    close(found, full[:, :, before : before + 8, before : before + 6], 2e-5)


def test_deconvolution_with_a_kernel_below_the_stride_ends_in_bias() -> None:
    x, w = normal(1, 1, 2, 2), normal(1, 1, 1, 1, seed=1)
    expected = np.full((1, 1, 6, 6), 7.0)
    expected[0, 0, ::3, ::3] += (x * w)[0, 0]

    close(run(lambda b: _add(b, w, is_deconv=True, stride=(3, 3), border_mode="same", bias=[7.0]), x=x), expected)


@pytest.mark.parametrize(
    ("pads", "shape", "before"),
    [
        ((0, 0, 0, 0), (6, 7), (1, 1)),  # the shape alone: 3 and 2 are cut off, the smaller half first
        ((3, 0, 0, 2), (6, 7), (3, 0)),  # amounts that lead to the shape say on which side
        ((0, 0, 0, 0), (10, 9), (0, 0)),  # one row more than there is
    ],
)
def test_deconvolution_with_an_output_shape(pads: Any, shape: Pair, before: Pair) -> None:
    x, w = normal(1, 2, 4, 4), normal(2, 3, 3, 3, seed=1)
    full = np.pad(_naive_deconvolution(x, w, (2, 2), (1, 1), 1), ((0, 0), (0, 0), (0, 1), (0, 0)))
    (top, left), (height, width) = before, shape

    found = run(lambda b: _add(b, w, is_deconv=True, stride=(2, 2), output_shape=shape, pads=pads), x=x)

    close(found, full[:, :, top : top + height, left : left + width], 2e-5)


def _clear_padding(b: Any) -> None:
    _add(b, normal(1, 1, 1, 1))
    b.nn_spec.layers[0].convolution.ClearField("valid")


def _third_output_size(b: Any) -> None:
    _add(b, normal(1, 1, 1, 1), is_deconv=True, output_shape=(1, 1))
    b.nn_spec.layers[0].convolution.outputShape.append(3)


def _one_weight_more(b: Any) -> None:
    _add(b, normal(1, 1, 1, 1))
    b.nn_spec.layers[0].convolution.weights.floatValue.append(1)


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (_clear_padding, "the padding is neither `valid` nor `same`"),
        (_third_output_size, "`outputShape` has 3 values; 2 are defined: height, width"),
        (_one_weight_more, r"`weights` holds 2 value\(s\), the shape \[1, 1, 1, 1\] takes 1"),
    ],
)
def test_what_is_wrong_with_the_layer_is_said(add: Any, text: str) -> None:
    with pytest.raises(
        CoreMLError, match=rf"layer `c` \(convolution\): {text}; the file is damaged, convert again"
    ):
        run(add, x=normal(1, 1, 2, 2))
