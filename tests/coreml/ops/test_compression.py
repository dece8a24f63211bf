from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml.reading.mil import read_function
from tests.coreml.programs import Builder, call, convert, evaluator, run

with chatter_to():
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_ops as old
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as new
    from coremltools.optimize import _utils

_BITS = (1, 2, 3, 4, 6, 8)


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Pack numbers into bytes with coremltools' own function."""
    packed: np.ndarray = _utils.pack_elements_into_bits(numbers.astype(np.uint8), bits)
    return packed


def _narrow(numbers: Any, dtype: str) -> np.ndarray:
    """Make an array that coremltools writes as a type below a byte."""
    return np.asarray(numbers).astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


@given(
    rank=st.integers(1, 4),
    axis=st.integers(-1, 0),
    vectors=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
)
def test_affine_dequantize_is_coremltools(rank: int, axis: int, vectors: tuple[bool, bool], seed: int) -> None:
    random = _random(seed)
    data = random.integers(-128, 128, (3,) * rank)
    scale = np.float32(random.uniform(0.1, 2, 3 if vectors[0] else ()))
    zero_point = random.integers(-128, 128, 3 if vectors[1] else ())

    found = call(
        "constexpr_affine_dequantize",
        quantized_data=data.astype(np.int32),
        zero_point=np.asarray(zero_point, np.int32),
        scale=np.asarray(scale),
        axis=axis,
    )

    decompress = old.constexpr_affine_dequantize.decompress
    wanted = decompress(data.astype(np.int8), np.asarray(zero_point, np.int8), np.asarray(scale), axis)
    np.testing.assert_array_equal(found, wanted)


@given(bits=st.sampled_from(_BITS), shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
def test_packed_tables_are_coremltools(bits: int, shape: tuple[int, ...]) -> None:
    numbers = _random(bits).integers(0, 1 << bits, shape)
    lut = _random(0).normal(size=1 << bits).astype(np.float32)
    indices = _packed(numbers.reshape(-1), bits)

    found = call("constexpr_lut_to_dense", "iOS16", indices=indices.astype(np.int32), lut=lut, shape=shape)

    np.testing.assert_array_equal(found, lut[numbers])


def test_packed_sparse_numbers_are_apples_example() -> None:
    found = call(
        "constexpr_sparse_to_dense",
        "iOS16",
        nonzero_data=np.float32([1, 2, 4]),
        mask=np.int32([0b1011]),
        shape=(4, 1),
    )

    assert found.tolist() == [[1], [2], [0], [4]]


def test_blocks_have_a_scale_and_an_offset_each() -> None:
    # Apple's own numbers.
    data = np.int32([4, 8, 10, 13, 24, 5, 6, 9]).reshape(1, 2, 4)

    found = call(
        "constexpr_blockwise_shift_scale",
        data=data,
        scale=np.float32([[[4, 8]]]),
        offset=np.int32([[[4, 0]]]),
    )

    assert found.reshape(-1).tolist() == [0, 16, 80, 104, 80, 4, 48, 72]


@given(
    blocks=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    shifted=st.booleans(),
)
def test_blockwise_shift_scale_is_coremltools(blocks: list[tuple[int, int]], shifted: bool) -> None:
    random = _random(3)
    count = [n for n, _ in blocks]
    data = random.integers(-8, 8, [n * size for n, size in blocks])
    scale = random.uniform(0.1, 2, count).astype(np.float32)
    given: dict[str, Any] = {"offset": random.integers(-8, 8, count).astype(np.int8)} if shifted else {}

    found = call(
        "constexpr_blockwise_shift_scale",
        data=data.astype(np.int32),
        scale=scale,
        **{name: value.astype(np.int32) for name, value in given.items()},
    )

    decompress = new.constexpr_blockwise_shift_scale.decompress
    np.testing.assert_array_equal(found, decompress(data.astype(np.int8), scale, given.get("offset")))


def test_tables_of_blocks_are_apples_example() -> None:
    indices = np.int32([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]).reshape(6, 2)
    lut = np.float32([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)

    found = call("constexpr_lut_to_dense", indices=indices, lut=lut)

    assert found.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


@given(
    blocks=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=3),
    length=st.integers(1, 3),
    axis=st.integers(-3, 2),
    bits=st.sampled_from((1, 3, 4)),
)
def test_tables_of_vectors_are_coremltools(
    blocks: list[tuple[int, int]], length: int, axis: int, bits: int
) -> None:
    axis %= len(blocks)
    indices = _random(4).integers(0, 1 << bits, [n * size for n, size in blocks])
    lut = _random(5).normal(size=(*[n for n, _ in blocks], 1 << bits, length)).astype(np.float32)

    found = call("constexpr_lut_to_dense", indices=indices.astype(np.int32), lut=lut, vector_axis=axis)

    wanted = new.constexpr_lut_to_dense.decompress(indices.astype(np.uint8), lut, axis)
    np.testing.assert_array_equal(found, wanted)


_MASK = [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]


@pytest.mark.parametrize("length", [1, 2])
def test_sparse_tables_are_apples_example(length: int) -> None:
    lut = np.float32([2, 3]).reshape(1, 1, 2, 1).repeat(length, 3)
    given: dict[str, Any] = {"vector_axis": 0} if length > 1 else {}

    mask, values = call(
        "constexpr_lut_to_sparse",
        indices_mask=np.int32(_MASK),
        indices_nonzero_data=np.int32([0, 1, 1, 0, 1, 1, 0, 0, 1]),
        lut=lut,
        **given,
    )

    np.testing.assert_array_equal(mask, np.int32(_MASK).repeat(length, 0))
    rows = [[2, 3], [3, 2, 3], [3, 2, 2], [3]]
    assert values.tolist() == [value for row in rows for _ in range(length) for value in row]
    dense = call("constexpr_sparse_to_dense", nonzero_data=values, mask=mask)
    np.testing.assert_array_equal(dense[:length], [[2, 3, 0, 0, 0, 0]] * length)


def test_sparse_numbers_are_shifted_and_scaled_by_column() -> None:
    mask = np.int32([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])

    same, values = call(
        "constexpr_sparse_blockwise_shift_scale",
        data_mask=mask,
        nonzero_data=np.int32([10, 11, 3, 4, 5, 6, 7, 8, 9]),
        scale=np.float32([[0.1, 0.2, 0.3, 0.4]]),
        offset=np.int32([[1, 2, 3, 4]]),
    )

    np.testing.assert_array_equal(same, mask)
    # Apple's text counts its columns wrongly; this is its formula.
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-5)


def test_they_are_worked_out_once_when_the_file_is_read() -> None:
    def body(x: Any) -> Any:
        cast = Builder.constexpr_cast(source_val=np.float16([[1, 2, 3, 4]]), output_dtype="fp32")
        weight = Builder.constexpr_affine_dequantize(
            quantized_data=np.uint8([[1, 2, 3, 4]]), zero_point=np.uint8(1), scale=np.float32(2), axis=0
        )
        return Builder.linear(x=Builder.add(x=x, y=cast), weight=weight)

    model = evaluator(body, (1, 4), target="iOS16")
    (name,) = [feature.name for feature in model.description.output]
    fed = {model.description.input[0].name: np.float32([[1, 1, 1, 1]])}

    assert {node.type for node in model._runnable.plan.graph.nodes} == {"add", "linear"}
    assert model.predict(fed)[name].tolist() == [[0 + 3 * 2 + 4 * 4 + 5 * 6]]
    assert "constexpr_cast_0" not in model.trace(fed)


def test_the_operations_of_iOS16_read_their_attributes() -> None:  # noqa: N802 - Apple's spelling
    numbers = _random(6).integers(0, 64, (5, 7))
    lut = _random(7).normal(size=64).astype(np.float32)
    mask = _random(8).integers(0, 2, 35)

    def body(x: Any) -> list[Any]:
        table = Builder.constexpr_lut_to_dense(
            indices=_packed(numbers.reshape(-1), 6), lut=lut, shape=np.uint32([5, 7])
        )
        sparse = Builder.constexpr_sparse_to_dense(
            nonzero_data=lut[: mask.sum()], mask=np.packbits(mask, bitorder="little"), shape=np.uint32([5, 7])
        )
        return [Builder.add(x=x, y=table), Builder.add(x=x, y=sparse)]

    table, sparse = run(body, np.zeros((5, 7), np.float32), target="iOS16")

    np.testing.assert_array_equal(table, lut[numbers])
    scattered = np.zeros(35, np.float32)
    scattered[mask == 1] = lut[: mask.sum()]
    np.testing.assert_array_equal(sparse, scattered.reshape(5, 7))


@pytest.mark.parametrize("bits", _BITS)
@pytest.mark.parametrize("size", [2, 40])
def test_indices_of_every_width_come_out_of_the_file(bits: int, size: int) -> None:
    """Two numbers stand in the program itself, forty in the weight file."""
    numbers = _random(bits).integers(0, 1 << bits, size)
    lut = _random(0).normal(size=(1, 1 << bits, 1)).astype(np.float32)

    def body(x: Any) -> Any:
        indices = _narrow(numbers, f"uint{bits}")
        return Builder.add(x=x, y=Builder.constexpr_lut_to_dense(indices=indices, lut=lut))

    found = run(body, np.zeros(size, np.float32), target="iOS18")[0]

    np.testing.assert_array_equal(found, lut[0, numbers, 0])


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8"])
@pytest.mark.parametrize("size", [4, 40])
def test_quantised_numbers_of_every_type_come_out_of_the_file(dtype: str, size: int) -> None:
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[dtype]
    data = _random(1).integers(low, high, (2, size))
    data[0, :2] = low, high - 1
    scale, offset = np.float32([[0.5], [2]]), _random(2).integers(low, high, (2, 1))

    def body(x: Any) -> Any:
        weight = Builder.constexpr_blockwise_shift_scale(
            data=_narrow(data, dtype), scale=scale, offset=_narrow(offset, dtype)
        )
        return Builder.add(x=x, y=weight)

    found = run(body, np.zeros((2, size), np.float32), target="iOS18")[0]

    np.testing.assert_array_equal(found, scale * (data - offset))


def test_compressions_are_joined() -> None:
    mask = _random(1).integers(0, 2, (6, 8))
    mask[0, 0] = 1
    numbers = _random(2).integers(0, 4, int(mask.sum()))
    table, scale = np.int8([3, -5, 100, 7]), np.float32([[0.25]])

    def body(x: Any) -> Any:
        found_mask, steps = Builder.constexpr_lut_to_sparse(
            indices_mask=_narrow(mask, "uint1"),
            indices_nonzero_data=_narrow(numbers, "uint2"),
            lut=table.reshape(1, 1, 4, 1),
        )
        scaled_mask, values = Builder.constexpr_sparse_blockwise_shift_scale(
            data_mask=found_mask, nonzero_data=steps, scale=scale
        )
        return Builder.add(x=x, y=Builder.constexpr_sparse_to_dense(nonzero_data=values, mask=scaled_mask))

    found = run(body, np.zeros((6, 8), np.float32), target="iOS18")[0]

    wanted = np.zeros((6, 8))
    wanted[mask == 1] = table[numbers] * 0.25
    np.testing.assert_array_equal(found, wanted)


def test_fp16_rounds_what_is_scaled() -> None:
    def body(x: Any) -> Any:
        weight = Builder.constexpr_blockwise_shift_scale(data=np.int8([3]), scale=np.float16([0.1]))
        return Builder.add(x=x, y=Builder.cast(x=weight, dtype="fp32"))

    found = run(body, np.zeros(1, np.float32), target="iOS18")[0]

    assert found.tolist() == [np.float16(3 * np.float32(np.float16(0.1)))]


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="axis 0 of 5 elements cannot be cut into 2 equal blocks"):
        call("constexpr_blockwise_shift_scale", data=np.zeros(5, np.int32), scale=np.float32([1, 2]))
    with pytest.raises(ValueError, match=r"the mask has 2 one\(s\) for 1 number\(s\)"):
        call("constexpr_sparse_to_dense", nonzero_data=np.float32([1]), mask=np.int32([1, 1]))


def test_a_file_whose_weights_do_not_fit_says_which() -> None:
    def body(x: Any) -> Any:
        weight = Builder.constexpr_sparse_to_dense(
            nonzero_data=np.float32([1, 2]), mask=_narrow([1, 0, 1], "uint1"), name="thin"
        )
        return Builder.add(x=x, y=weight)

    specification = convert(body, (3,), target="iOS18").get_spec()
    function = specification.mlProgram.functions["main"]
    (operation,) = [
        o for o in function.block_specializations[function.opset].operations if o.type.startswith("constexpr")
    ]
    operation.inputs["mask"].arguments[0].value.immediateValue.tensor.bytes.values = bytes([0b1])

    with pytest.raises(CoreMLError, match=r"operation `thin` .*the mask has 1 one\(s\) for 2 number\(s\)"):
        read_function(specification, "m.mlpackage", None, None)
