from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from parity.coreml.ops.conv import same_padding
from parity.coreml.registry import find_operation
from tests.coreml.programs import Builder, call, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _naive_conv(
    x: np.ndarray,
    weight: np.ndarray,
    strides: tuple[int, ...],
    pad: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: int,
) -> np.ndarray:
    """Add up one product after the other, for any number of spatial axes."""
    rank = x.ndim - 2
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((pad[2 * i], pad[2 * i + 1]) for i in range(rank))])
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(rank)]
    result = np.zeros((x.shape[0], weight.shape[0], *sizes))
    per_group = weight.shape[0] // groups
    for n, out, *place in itertools.product(*map(range, result.shape)):
        first = out // per_group * weight.shape[1]
        for c, *tap in itertools.product(*map(range, weight.shape[1:])):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True))
            result[(n, out, *place)] += x[(n, first + c, *at)] * weight[(out, c, *tap)]
    return result


@st.composite
def _convolutions(draw: st.DrawFn) -> dict[str, object]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    per_axis = st.tuples(*[st.integers(1, 2)] * rank)
    kernel = draw(st.tuples(*[st.integers(1, 3)] * rank))
    sizes = draw(st.tuples(*[st.integers(5, 6)] * rank))
    pad = draw(st.tuples(*[st.integers(0, 2)] * (2 * rank)))
    x, weight = _normal(1, 2 * groups, *sizes), _normal(groups * draw(st.integers(1, 2)), 2, *kernel)
    return {
        "x": x,
        "weight": weight,
        "strides": draw(per_axis),
        "pad": pad,
        "dilations": draw(per_axis),
        "groups": groups,
    }


@given(_convolutions())
def test_conv_is_the_sum_of_products(given: dict[str, object]) -> None:
    found = call("conv", pad_type="custom", **given)

    np.testing.assert_allclose(found, _naive_conv(**given), rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]


def test_conv_without_parameters_is_valid_and_takes_a_bias() -> None:
    x, weight, bias = _normal(2, 3, 5, 6), _normal(4, 3, 3, 2), _normal(4)

    found = call("conv", x=x, weight=weight, bias=bias)

    wanted = _naive_conv(x, weight, (1, 1), (0, 0, 0, 0), (1, 1), 1) + bias.reshape(4, 1, 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_pad_counts_only_where_pad_type_is_custom() -> None:
    x, weight = _normal(1, 1, 4, 4), _normal(1, 1, 3, 3)

    assert call("conv", x=x, weight=weight, pad_type="valid", pad=(1, 1, 1, 1)).shape == (1, 1, 2, 2)
    assert call("conv", x=x, weight=weight, pad_type="custom", pad=(1, 1, 1, 1)).shape == (1, 1, 4, 4)
    assert call("conv", x=x, weight=weight, pad_type="custom").shape == (1, 1, 2, 2)


@given(size=st.integers(1, 12), kernel=st.integers(1, 5), stride=st.integers(1, 4), dilation=st.integers(1, 3))
def test_same_padding_gives_ceil_of_size_by_stride(size: int, kernel: int, stride: int, dilation: int) -> None:
    before, after = same_padding((size,), (kernel,), (stride,), (dilation,), lower=False)

    assert after - before in (0, 1)
    assert same_padding((size,), (kernel,), (stride,), (dilation,), lower=True) == (after, before)
    windows = (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
    assert windows == -(-size // stride)


@pytest.mark.parametrize(("pad_type", "pad"), [("same", (0, 1, 0, 1)), ("same_lower", (1, 0, 1, 0))])
def test_an_odd_element_of_same_padding_goes_after_or_before(pad_type: str, pad: tuple[int, ...]) -> None:
    x, weight = _normal(1, 2, 6, 6), _normal(3, 2, 3, 3)

    found = call("conv", x=x, weight=weight, strides=(2, 2), pad_type=pad_type)

    np.testing.assert_allclose(found, _naive_conv(x, weight, (2, 2), pad, (1, 1), 1), rtol=1e-4, atol=1e-5)


def test_conv_keeps_channels_last_for_what_follows() -> None:
    kernel = find_operation("conv", "iOS15")
    assert kernel is not None

    result = kernel.function(torch.randn(1, 8, 6, 6), torch.randn(8, 8, 3, 3))

    assert result.is_contiguous(memory_format=torch.channels_last)


def _naive_conv_transpose(
    x: np.ndarray, weight: np.ndarray, strides: tuple[int, ...], dilations: tuple[int, ...], groups: int
) -> np.ndarray:
    """Let each element spread its products over the whole result, before anything is cut off."""
    rank = x.ndim - 2
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(rank)]
    result = np.zeros((x.shape[0], weight.shape[1] * groups, *sizes))
    for n, c, *place in itertools.product(*map(range, x.shape)):
        first = c // (x.shape[1] // groups) * weight.shape[1]
        for out, *tap in itertools.product(*map(range, weight.shape[1:])):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True))
            result[(n, first + out, *at)] += np.float64(x[(n, c, *place)]) * weight[(c, out, *tap)]
    return result


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose_spreads_each_element(rank: int, groups: int) -> None:
    x, weight, bias = _normal(2, 4, *(3, 4, 2)[:rank]), _normal(4, 3, *(3, 2, 2)[:rank]), _normal(3 * groups)
    strides, dilations = (2, 1, 3)[:rank], (1, 2, 1)[:rank]
    whole = _naive_conv_transpose(x, weight, strides, dilations, groups)

    found = call(
        "conv_transpose", x=x, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups
    )

    np.testing.assert_allclose(found, whole + bias.reshape(-1, *(1,) * rank), rtol=1e-4, atol=1e-5)


def test_conv_transpose_cuts_its_padding_off() -> None:
    x, weight, bias = _normal(1, 2, 4, 5), _normal(2, 3, 3, 4), _normal(3)
    whole = _naive_conv_transpose(x, weight, (2, 2), (1, 1), 1) + bias.reshape(3, 1, 1)

    found = call(
        "conv_transpose", x=x, weight=weight, bias=bias, strides=(2, 2), pad_type="custom", pad=(1, 0, 2, 1)
    )

    np.testing.assert_allclose(found, whole[:, :, 1:, 2:-1], rtol=1e-4, atol=1e-5)


def test_conv_transpose_same_gives_size_times_stride() -> None:
    x, weight, bias = _normal(1, 2, 4, 5), _normal(2, 3, 5, 1), _normal(3)
    whole = _naive_conv_transpose(x, weight, (2, 2), (1, 1), 1)

    found = call("conv_transpose", x=x, weight=weight, bias=bias, strides=(2, 2), pad_type="same")

    # 11 rows for 8: one of three is cut off before. 9 columns for 10: the missing one has nothing but the bias.
    wanted = np.pad(whole[:, :, 1:-2], [(0, 0), (0, 0), (0, 0), (0, 1)]) + bias.reshape(3, 1, 1)
    assert found.shape == (1, 3, 8, 10)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_conv_transpose_reaches_the_output_shape() -> None:
    x, weight = _normal(1, 2, 4, 4), _normal(2, 3, 3, 3)
    module = torch.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, bias=False)
    module.weight.data = torch.from_numpy(weight)

    found = call(
        "conv_transpose",
        x=x,
        weight=weight,
        strides=(2, 2),
        pad_type="custom",
        pad=(1, 1, 1, 1),
        output_shape=(1, 3, 8, 8),
    )

    np.testing.assert_allclose(found, module(torch.from_numpy(x)).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_type", ["valid", "same", "custom"])
def test_both_run_in_a_program_with_the_shapes_that_coremltools_infers(pad_type: str) -> None:
    x, weight = _normal(1, 4, 7, 6), _normal(4, 2, 3, 3)
    pad = {"pad": [1, 0, 2, 1]} if pad_type == "custom" else {}

    def body(x: object) -> list[object]:
        there = Builder.conv(x=x, weight=weight, strides=[2, 2], pad_type=pad_type, groups=2, **pad)
        back = Builder.conv_transpose(x=x, weight=weight, strides=[2, 2], pad_type=pad_type, **pad)
        shapes.extend([there.shape, back.shape])
        return [there, back]

    shapes: list[tuple[int, ...]] = []
    found = run(body, x)

    assert [f.shape for f in found] == shapes[:2]
    np.testing.assert_allclose(
        found[0],
        call(
            "conv", x=x, weight=weight, strides=(2, 2), pad_type=pad_type, groups=2, pad=tuple(pad.get("pad", ()))
        ),
        rtol=1e-5,
        atol=1e-6,
    )


def test_fp16_rounds_the_sum_and_overflows() -> None:
    x = np.float32([2048, 1, 1, 60000]).reshape(1, 4, 1, 1)
    weight = np.float32([[1, 1, 1, 0], [0, 0, 0, 2]]).reshape(2, 4, 1, 1)

    found = run(lambda x: Builder.conv(x=x, weight=weight), x, precision="fp16")[0]

    np.testing.assert_array_equal(found.reshape(-1), [2050, np.inf])


@pytest.mark.parametrize("channels", [1, 4])
def test_conv_quantized_scales_and_shifts_its_weights(channels: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 3, 6, 5)).astype(np.float32)
    weight, bias = random.integers(0, 256, (4, 3, 3, 2)), np.int32([1, 0, 200, 7])
    scale, shift = np.float32([0.5, 0.25, 1, 2])[:channels], np.float32([-64, -30, 3, 0])[:channels]

    found = call(
        "conv_quantized",
        x=x,
        weight=weight.astype(np.int32),
        bias=bias,
        quantization_type="linear",
        quant_scale=scale,
        quant_bias=shift,
        strides=(2, 1),
        pad_type="same",
    )

    real = np.float32(weight * scale.reshape(-1, 1, 1, 1) + shift.reshape(-1, 1, 1, 1))
    wanted = call("conv", x=x, weight=real, bias=np.float32(bias), strides=(2, 1), pad_type="same")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_conv_quantized_knows_no_tables() -> None:
    given = {"quant_scale": np.float32([1]), "quant_bias": np.float32([0])}

    with pytest.raises(CoreMLError, match="quantization_type `lut`.*allowed is linear"):
        call(
            "conv_quantized",
            x=np.zeros((1, 1, 2, 2), np.float32),
            weight=np.zeros((1, 1, 1, 1), np.int32),
            quantization_type="lut",
            **given,
        )


def test_conv_quantized_runs_in_a_program() -> None:
    def body(x: Any) -> Any:
        return Builder.conv_quantized(
            x=x,
            weight=np.uint8([[[[6]]]]),
            quantization_type="linear",
            nbits=3,
            quant_scale=np.float32([0.5]),
            quant_bias=np.float32([-1]),
        )

    assert run(body, np.float32([[[[3]]]]))[0].tolist() == [[[[6]]]]
