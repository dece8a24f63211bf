"""Which weights are compressed is read from a file with their grids, on which the file's own numbers lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conversion import Artifact
from parity.formats import format_of
from parity.formats.compression import CompressedWeight, granularity, manner_of, snapped
from parity.formats.graph import read_graph
from tests.parity.compressing import PROGRAMS, compressed, quantised_network, quantised_onnx
from tests.parity.tiny import converted

NUMBERS = arrays(np.float64, (4, 6), elements=st.floats(-4, 4, width=32))
STEPS = st.floats(0.0625, 2, width=32)


def read(artifact: Artifact) -> tuple[CompressedWeight, ...]:
    return format_of(artifact).compressed_weights(artifact)


def held(artifact: Artifact) -> dict[str, np.ndarray]:
    """The weights that a file holds, decompressed, as all else of the harness reads them."""
    return {
        operation.sources.get(place) or f"{operation.name}.{place}": array
        for operation in read_graph(artifact).operations
        for place, array in operation.weights.items()
    }


EXPECTED = {
    "int8": ("linear", 8, "per channel", "int8"),
    "uint8 per tensor": ("linear", 8, "per tensor", "int8"),
    "int8 of iOS17": ("linear", 8, "per channel", "int8"),
    "int8 of iOS18": ("linear", 8, "per channel", "int8"),
    "int4 in blocks": ("linear", 4, "in blocks of 8", "int4"),
    "4-bit palette": ("palette", 4, "per tensor", "4-bit palettised"),
    "even 6-bit palette": ("palette", 6, "per tensor", "6-bit palettised"),
    "grouped palette": ("palette", 3, "in blocks of 2", "3-bit palettised"),
    "scaled palette": ("palette", 4, "in blocks of 2", "4-bit palettised"),
    "quantised palette": ("palette", 4, "per tensor", "4-bit palettised"),
    "vectors": ("palette", 4, "per tensor", "4-bit palettised"),
    "pruned": ("sparse", 0, "per tensor", "50 % pruned"),
    "pruned of iOS18": ("sparse", 0, "per tensor", "50 % pruned"),
    "pruned int8": ("joint", 8, "per channel", "50 % pruned int8"),
    "pruned palette": ("joint", 4, "per tensor", "50 % pruned 4-bit palettised"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_how_each_weight_is_compressed(name: str) -> None:
    artifact = compressed(name)
    weights, arrays_ = read(artifact), held(artifact)

    last = max(weights, key=lambda weight: int(np.prod(weight.shape)))
    manner = f"{last.kind, last.bits, last.granularity, manner_of(weights)}"
    assert manner == f"{EXPECTED[name]}"
    assert last.shape == (8, 96)
    for weight in weights:
        # Within fp16, in which the file holds the products of scale and step.
        np.testing.assert_allclose(
            snapped(weight, arrays_[weight.name]), arrays_[weight.name], rtol=2e-3, atol=1e-4
        )


@pytest.mark.parametrize(
    ("artifact", "kind", "bits", "manner"),
    [
        (lambda: quantised_onnx(), "linear", 8, "int8"),
        (lambda: quantised_onnx(8), "linear", 4, "int4"),
        (lambda: quantised_network(8, "linear"), "linear", 8, "int8"),
        (lambda: quantised_network(8, "linear_symmetric"), "linear", 8, "int8"),
        (lambda: quantised_network(6, "linear_lut"), "palette", 6, "6-bit palettised"),
    ],
    ids=["onnx", "onnx-blocks", "network", "network-symmetric", "network-palette"],
)
def test_other_formats_say_it_too(artifact, kind: str, bits: int, manner: str) -> None:  # type: ignore[no-untyped-def]
    weights, arrays_ = read(artifact()), held(artifact())

    assert {(weight.kind, weight.bits) for weight in weights} == {(kind, bits)}
    assert manner_of(weights) == manner
    for weight in weights:
        np.testing.assert_allclose(
            snapped(weight, arrays_[weight.name]), arrays_[weight.name], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("route", ["onnx-torchscript", "mlprogram", "onnx-coreml"])
def test_floats_are_not_compressed(route: str) -> None:
    assert read(converted(route)) == ()


@settings(max_examples=60, deadline=None)
@given(NUMBERS, arrays(np.float64, (4, 1), elements=STEPS), st.integers(2, 8), st.integers(-3, 3))
def test_a_linear_grid_is_met_within_half_a_step_and_once(
    numbers: np.ndarray, scale: np.ndarray, bits: int, zero: int
) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    weight = CompressedWeight(
        *("w", "linear", bits, "per channel", (4, 6), scale, np.full((1, 1), float(zero)), (low, high)),
    )

    met = snapped(weight, numbers)

    np.testing.assert_allclose(snapped(weight, met), met, atol=1e-12)
    inside = ((low - zero) * scale <= numbers) & (numbers <= (high - zero) * scale)
    assert (np.abs(met - numbers)[inside] <= (0.5 * scale + 1e-9).repeat(6, 1)[inside]).all()


@settings(max_examples=60, deadline=None)
@given(NUMBERS, arrays(np.float64, (2, 1, 5, 1), elements=st.floats(-4, 4, width=32)))
def test_the_nearest_entry_of_the_own_codebook_is_taken(numbers: np.ndarray, tables: np.ndarray) -> None:
    met = snapped(CompressedWeight("w", "palette", 3, "", (4, 6), codebook=tables), numbers)

    rows = tables[[0, 0, 1, 1], 0, :, 0]
    nearest = np.abs(numbers[..., None] - rows[:, None]).min(axis=-1)
    np.testing.assert_allclose(np.abs(met - numbers), nearest, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, arrays(np.float64, (1, 1, 3, 2), elements=st.floats(-4, 4, width=32)), st.sampled_from([0, 1]))
def test_vectors_are_looked_up_whole(numbers: np.ndarray, table: np.ndarray, axis: int) -> None:
    weight = CompressedWeight("w", "palette", 2, "", (4, 6), codebook=table, vector_axis=axis)

    vectors = np.moveaxis(numbers, axis, -1).reshape(-1, 2)
    met = np.moveaxis(snapped(weight, numbers), axis, -1).reshape(-1, 2)

    least = np.square(vectors[:, None] - table[0, 0]).sum(-1).min(1)
    np.testing.assert_allclose(np.square(met - vectors).sum(1), least, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.integers(0, 24))
def test_the_smallest_numbers_are_pruned(numbers: np.ndarray, kept: int) -> None:
    weight = CompressedWeight("w", "sparse", 0, "", (4, 6), kept=kept)

    met = snapped(weight, numbers)

    np.testing.assert_array_equal(snapped(weight, met), met)
    assert np.count_nonzero(met) <= kept
    lost = np.sort(np.abs(numbers), axis=None)[: 24 - kept]
    assert np.square(met - numbers).sum() == pytest.approx(np.square(lost).sum())


def test_a_block_of_scale_zero_holds_zeros() -> None:
    weight = CompressedWeight("w", "linear", 8, "", (1, 2), scale=np.zeros((1, 1)), levels=(-128, 127))

    np.testing.assert_array_equal(snapped(weight, np.array([[1.0, -2.0]])), [[0, 0]])


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ((1, 1, 1, 1), "per tensor"),
        ((8, 1, 1, 1), "per channel"),
        ((8, 2, 1, 1), "in blocks of 3"),
        ((), "per tensor"),
    ],
)
def test_granularity_is_said_in_words(blocks: tuple[int, ...], words: str) -> None:
    assert granularity(blocks, (8, 6, 3, 3)) == words
