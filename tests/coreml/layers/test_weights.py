from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.coreml.layers.weights import border, pair, read_weights
from tests.coreml.networks import ct

_NN = ct.proto.NeuralNetwork_pb2


def _message(**fields: Any) -> Any:
    return _NN.WeightParams(**fields)


def _quantized(raw: bytes, bits: int, **kind: Any) -> Any:
    message = _message(rawValue=raw)
    message.quantization.numberOfBits = bits
    for name, values in kind.items():
        where = (
            message.quantization.lookupTableQuantization
            if name == "table"
            else message.quantization.linearQuantization
        )
        getattr(where, "floatValue" if name == "table" else name).extend(values)
    return message


def test_floats_and_halves_are_read_in_row_order() -> None:
    halves = np.array([1, 2, 3, 4, 0.5, 65504], np.float16)

    assert read_weights(_message(floatValue=[1, 2, 3, 4, 5, 6]), (2, 3), "w").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_weights(_message(float16Value=halves.tobytes()), (3, 2), "w").tolist() == [
        [1, 2],
        [3, 4],
        [0.5, 65504],
    ]


@pytest.mark.parametrize("shape", [(7,), (2, 4), (5,)])
def test_another_number_of_values_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`bias` holds 6 value\(s\), the shape .* takes"):
        read_weights(_message(floatValue=[0.0] * 6), shape, "bias")


@given(st.integers(1, 8), st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_bits_follow_one_another_highest_first(bits: int, numbers: list[int]) -> None:
    numbers = [n % (1 << bits) for n in numbers]
    text = "".join(f"{n:0{bits}b}" for n in numbers)
    text += "0" * (-len(text) % 8)
    raw = int(text, 2).to_bytes(len(text) // 8, "big")

    found = read_weights(_quantized(raw, bits, scale=[1.0], bias=[0.0]), (len(numbers),), "w")

    assert found.tolist() == numbers


def test_linear_quantization_counts_by_output_channel() -> None:
    message = _quantized(bytes([0, 1, 2, 3]), 8, scale=[10, 100], bias=[1, 2])

    assert read_weights(message, (2, 2), "w").tolist() == [[1, 11], [202, 302]]
    assert read_weights(message, (2, 2), "w", axes=(1,)).tolist() == [[1, 102], [21, 302]]


@pytest.mark.parametrize("scale", [[10, 100], [10, 100, 10, 100]])
def test_grouped_output_channels_have_scales_of_their_own_or_share_those_of_a_group(scale: list[float]) -> None:
    # [groups, C_in / groups, C_out / groups]
    found = read_weights(_quantized(bytes(range(8)), 8, scale=scale), (2, 2, 2), "w", axes=(0, 2))

    assert found.tolist() == [[[0, 100], [20, 300]], [[40, 500], [60, 700]]]


def test_grouped_output_channels_each_with_its_scale() -> None:
    found = read_weights(_quantized(bytes([1] * 8), 8, scale=[1, 2, 3, 4]), (2, 2, 2), "w", axes=(0, 2))

    assert found.tolist() == [[[1, 2], [1, 2]], [[3, 4], [3, 4]]]


def test_linear_quantization_with_one_scale_for_all_and_without_bias() -> None:
    assert read_weights(_quantized(bytes([0, 255]), 8, scale=[2]), (2,), "w").tolist() == [0, 510]


def test_a_vector_of_scales_goes_with_every_single_value() -> None:
    message = _quantized(bytes([1, 1, 1, 1]), 8, scale=[1, 2, 3, 4], bias=[0] * 4)

    assert read_weights(message, (1, 2, 2), "data").tolist() == [[[1, 2], [3, 4]]]


def test_a_look_up_table() -> None:
    message = _quantized(bytes([0b00011011]), 2, table=[10, 11, -3, -1])

    assert read_weights(message, (4,), "w").tolist() == [10, 11, -3, -1]


def test_signed_bytes_of_a_dynamically_quantized_layer() -> None:
    message = _message(int8RawValue=np.array([-128, 0, 127], np.int8).tobytes())
    message.quantization.numberOfBits = 8
    message.quantization.linearQuantization.scale.append(0.5)

    assert read_weights(message, (3,), "w").tolist() == [-64, 0, 63.5]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (_quantized(b"\1\2", 9, scale=[1]), "quantized to 9 bit"),
        (_quantized(b"\1\2", 0, scale=[1]), "quantized to 0 bit"),
        (_quantized(b"\1\2", 8), "neither by which scale nor by which table"),
        (_quantized(b"\1\2", 8, scale=[1, 2, 3]), r"w's scale has 3 values; allowed are 1 or 2"),
        (_quantized(b"\1\2", 8, table=[1.0, 2.0]), "look-up table of 2 values, and the index 2"),
        (_quantized(b"", 4, scale=[1]), r"holds 0 value\(s\)"),
        (_quantized(b"\1", 8, scale=[1]), r"holds 1 value\(s\)"),
        (_message(rawValue=b"\1", quantization={"numberOfBits": 5}), r"holds 1 byte\(s\), 2 value\(s\) of 5"),
    ],
)
def test_what_is_wrong_with_quantized_weights_is_said(message: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_weights(message, (2,), "w")


def test_a_pair_has_its_default_and_no_third_number() -> None:
    assert (pair([], 3, "kernelSize"), pair([2, 5], 3, "kernelSize")) == ((3, 3), (2, 5))
    with pytest.raises(ValueError, match="`kernelSize` has 1 values"):
        pair([2], 3, "kernelSize")


def test_border_amounts_are_top_bottom_left_right() -> None:
    amounts = _NN.BorderAmounts(
        borderAmounts=[{"startEdgeSize": 1, "endEdgeSize": 2}, {"startEdgeSize": 3, "endEdgeSize": 4}]
    )

    assert border(amounts) == (1, 2, 3, 4)
    assert border(_NN.BorderAmounts()) == (0, 0, 0, 0)
    del amounts.borderAmounts[1]
    with pytest.raises(ValueError, match="`borderAmounts` has 1 entries"):
        border(amounts)
