from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, compare_with_folded, run


@given(
    values=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    scale=st.sampled_from([0.1, 0.25, 1.0, 3.0]),
    zero_point=st.integers(0, 127),
    kind=st.sampled_from(["int8", "uint8"]),
)
def test_quantize_rounds_shifts_and_saturates(
    values: list[float], scale: float, zero_point: int, kind: str
) -> None:
    x = np.float32(values)

    found = call(
        "quantize", input=x, scale=np.float32(scale).reshape(()), zero_point=np.int32(zero_point), output_dtype=kind
    )

    low, high = (-128, 127) if kind == "int8" else (0, 255)
    wanted = np.clip(np.round(x / np.float32(scale)) + zero_point, low, high)
    np.testing.assert_array_equal(found, wanted)


def test_quantize_rounds_halves_to_the_even_neighbour() -> None:
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, np.inf])

    found = call("quantize", input=x, scale=np.float32(1).reshape(()), output_dtype="int8")

    assert found.tolist() == [0, 2, 2, 0, -2, 127, -128, 127]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_each_element_of_an_axis_has_its_own_scale(axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 3, 3)).astype(np.float32) * 20
    scale, zero_point = np.float32([0.5, 1, 2]), np.int32([0, 5, -9])

    found = call("quantize", input=x, scale=scale, zero_point=zero_point, axis=axis, output_dtype="int8")

    rows = [np.round(x.take(i, axis) / scale[i]) + zero_point[i] for i in range(3)]
    wanted = np.stack(rows, axis).clip(-128, 127)
    np.testing.assert_array_equal(found, wanted)
    back = call("dequantize", input=wanted.astype(np.int32), scale=scale, zero_point=zero_point, axis=axis)
    rows = [(wanted.take(i, axis) - zero_point[i]) * scale[i] for i in range(3)]
    np.testing.assert_array_equal(back, np.stack(rows, axis))


def test_dequantize_needs_no_zero_point() -> None:
    found = call("dequantize", input=np.int32([-128, 0, 127]), scale=np.float32(0.5).reshape(()))

    assert found.tolist() == [-64, 0, 63.5]


def test_there_and_back_in_a_program() -> None:
    scale, zero_point = np.float32([0.1, 0.5]), np.int8([3, -4])

    def body(x: Any) -> Any:
        steps = Builder.quantize(input=x, scale=scale, zero_point=zero_point, axis=1, output_dtype="int8")
        return Builder.dequantize(input=steps, scale=scale, zero_point=zero_point, axis=-1)

    found = run(body, np.float32([[0.17, 0.8], [100, -100]]), target="iOS17")[0]

    # 0.17 is 2 steps of 0.1; the saturated ones are (127 - 3) * 0.1 and (-128 + 4) * 0.5.
    np.testing.assert_allclose(found, [[0.2, 1.0], [12.4, -62.0]], rtol=1e-6)


def test_unsigned_numbers_keep_their_range_in_a_program() -> None:
    def body(x: Any) -> Any:
        steps = Builder.quantize(input=x, scale=np.float32(1), zero_point=np.uint8(100), output_dtype="uint8")
        return Builder.dequantize(input=steps, scale=np.float32(1))

    assert run(body, np.float32([-200, -1, 0, 155, 156]), target="iOS17")[0].tolist() == [0, 99, 100, 255, 255]


def test_quantize_agrees_with_what_coremltools_folds() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32) * 9

    def body(x: Any) -> Any:
        steps = Builder.quantize(input=x, scale=np.float32([0.1, 0.3]), axis=0, output_dtype="int8")
        return Builder.cast(x=steps, dtype="int32")

    compare_with_folded(body, x, target="iOS17")


def test_fp16_rounds_what_is_scaled_back() -> None:
    def body(x: Any) -> Any:
        steps = Builder.quantize(input=x, scale=np.float32(1), output_dtype="int8")
        return Builder.dequantize(input=steps, scale=np.float32(0.1))

    found = run(body, np.float32([3]), target="iOS17", precision="fp16")[0]

    assert found.tolist() == [np.float16(3 * np.float32(np.float16(0.1)))]
