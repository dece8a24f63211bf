"""Declared types: rounding and wrapping against NumPy's own casts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.coreml.dtypes import CARRIERS, NUMPY, carry, settle, uncarry, unpack


@given(st.lists(st.floats(width=32), min_size=1))
def test_fp16_rounds_as_numpy_does(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)

    np.testing.assert_array_equal(settle(torch.from_numpy(array), "fp16").numpy(), expected.astype(np.float32))


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (65504.0, 65504.0),
        (65520.0, np.inf),
        (-65520.0, -np.inf),
        (2.0**-25, 0.0),
        (2.0**-24, 2.0**-24),
        (2049.0, 2048.0),
        (2051.0, 2052.0),
    ],
)
def test_fp16_overflows_underflows_and_rounds_to_even(value: float, rounded: float) -> None:
    assert settle(torch.tensor([value]), "fp16").item() == rounded


def test_a_double_is_rounded_to_fp16_once() -> None:
    # Above the middle of 1 and 1 + 2^-10 by less than float32 can say, so that by way of float32 it becomes 1.
    just_above_half_way = 1 + 2.0**-11 + 2.0**-40

    found = settle(torch.tensor([just_above_half_way], dtype=torch.float64), "fp16")

    assert found.tolist() == [1 + 2.0**-10]
    assert found.dtype is torch.float32


@pytest.mark.parametrize("target", CARRIERS)
@pytest.mark.parametrize("source", CARRIERS)
def test_every_type_becomes_every_other_as_numpy_casts_it(source: str, target: str) -> None:
    array = np.array([[0, 1], [1, 0]] if source in ("bool", "uint1") else [[0, 1], [3, 2]]).astype(NUMPY[source])
    if source.startswith("fp"):
        array = (array * np.array([[1, -1.75], [0.5, 1.5]])).astype(NUMPY[source])
    # What an unsigned integer makes of a float below zero is not defined.
    array = np.abs(array) if target.startswith("u") and source.startswith("fp") else array
    expected = array.astype(NUMPY[target])
    # NumPy has no single bit; 2 and 3 are more than one holds.
    expected = expected % 2 if target == "uint1" else expected

    settled = settle(carry(array, source), target)

    assert settled.dtype is CARRIERS[target]
    np.testing.assert_array_equal(uncarry(settled, target), expected)


def test_nan_stays_nan() -> None:
    assert torch.isnan(settle(torch.tensor([float("nan")]), "fp16")).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
@given(values=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_integers_wrap_as_numpy_does(dtype: str, values: list[int]) -> None:
    array = np.array(values, dtype=np.int32)

    found = settle(torch.from_numpy(array), dtype).numpy()

    np.testing.assert_array_equal(found, array.astype(NUMPY[dtype]).astype(np.int64))


@pytest.mark.parametrize("dtype", [name for name in CARRIERS if name not in ("int4", "uint64")])
def test_a_carried_array_comes_back(dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(NUMPY[dtype])

    found = uncarry(carry(array, dtype), dtype)

    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_a_read_only_view_is_carried_without_a_warning() -> None:
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False

    assert carry(array, "fp32").tolist() == [0, 1, 2, 3]


def test_rank_zero_stays_rank_zero() -> None:
    assert carry(np.array(2.5, np.float32), "fp32").shape == ()


@given(
    bits=st.sampled_from([1, 2, 3, 4, 6, 8]),
    numbers=st.lists(st.integers(0, 255), max_size=30),
)
def test_packed_numbers_follow_one_another_from_the_lowest_bit(bits: int, numbers: list[int]) -> None:
    numbers = [number % (1 << bits) for number in numbers]
    whole = sum(number << (bits * i) for i, number in enumerate(numbers))
    packed = np.frombuffer(whole.to_bytes(-(-bits * len(numbers) // 8), "little"), np.uint8)

    found = unpack(packed, bits, len(numbers))

    assert found.dtype == np.uint8
    assert found.tolist() == numbers


def test_too_few_bytes_give_fewer_numbers() -> None:
    assert unpack(np.uint8([0b10_01_00_11]), 2, 9).tolist() == [3, 0, 1, 2]
    assert unpack(np.uint8([255]), 3, 9).tolist() == [7, 7]
