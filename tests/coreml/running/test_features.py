"""Inputs into tensors and tensors into answers, one feature at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conversion.guards.quiet import import_coremltools
from parity.core.errors import CoreMLError
from parity.coreml.program import Value
from parity.coreml.running.features import answer, feed, feed_default
from parity.coreml.shapes import Span

proto = import_coremltools().proto
ARRAY, IMAGE = proto.FeatureTypes_pb2.ArrayFeatureType, proto.FeatureTypes_pb2.ImageFeatureType
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def array(dtype: int = ARRAY.FLOAT32, shape: tuple[int, ...] = (), **default: Any) -> Any:
    feature = proto.Model_pb2.FeatureDescription(name="x")
    feature.type.multiArrayType.CopyFrom(ARRAY(shape=shape, dataType=dtype, **default))
    return feature


def image(space: int, width: int = 6, height: int = 4) -> Any:
    feature = proto.Model_pb2.FeatureDescription(name="x")
    feature.type.imageType.CopyFrom(IMAGE(width=width, height=height, colorSpace=space))
    return feature


def plain(kind: str) -> Any:
    feature = proto.Model_pb2.FeatureDescription(name="x")
    getattr(feature.type, kind).SetInParent()
    return feature


# Arrays


@pytest.mark.parametrize(
    ("described", "declared", "expected"),
    [
        (ARRAY.FLOAT32, "fp32", [0.1, 300.0, -2.7]),
        (ARRAY.FLOAT16, "fp16", [float(np.float16(0.1)), 300.0, float(np.float16(-2.7))]),
        (ARRAY.DOUBLE, "fp32", [0.1, 300.0, -2.7]),
        (ARRAY.INT32, "int32", [0, 300, -2]),
        (ARRAY.INT32, "fp32", [0, 300, -2]),
        (ARRAY.INT8, "int8", [0, 44, -2]),
        (ARRAY.INVALID_ARRAY_DATA_TYPE, "fp32", [0.1, 300.0, -2.7]),
    ],
)
def test_an_array_comes_in_the_type_of_the_file(described: int, declared: str, expected: list[float]) -> None:
    found = feed(array(described), [0.1, 300.0, -2.7], Value("x", declared, (3,)), "m")

    np.testing.assert_array_equal(found.numpy(), np.array(expected, found.numpy().dtype))


@pytest.mark.parametrize("given", [5, 5.0, np.float32(5), np.array(5), [5], np.array([5])])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_number_comes_with_and_without_an_axis(given: Any, shape: tuple[int, ...]) -> None:
    found = feed(array(), given, Value("x", "fp32", shape), "m")

    assert (found.shape, found.item()) == (shape, 5)


def test_what_fp16_cannot_hold_is_infinite_without_a_warning() -> None:
    assert feed(array(ARRAY.FLOAT16), [1e6], Value("x", "fp16", (1,)), "m").tolist() == [np.inf]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 5)), r"input `x` takes the shape \(1, 48\.\.96, any\) or \(7\), not \(2, 5\)"),
        (np.zeros((1, 47, 1)), r"not \(1, 47, 1\)"),
        ("text", "takes an array of fp32, not of <U4"),
        ([[1], [1, 2]], "takes an array of fp32: .*inhomogeneous"),
        ([None], "takes an array of fp32, not of object"),
        (torch.zeros(7, requires_grad=True), "takes an array of fp32: .*requires grad"),
    ],
)
def test_arrays_that_are_refused(given: Any, message: str) -> None:
    declared = Value("x", "fp32", (1, Span(48, 96), None), ((7,),))
    with pytest.raises(CoreMLError, match=message):
        feed(array(), given, declared, "m")


def test_an_unknown_type_of_array_is_refused() -> None:
    with pytest.raises(CoreMLError, match="`x` has the unknown array type 7; known are"):
        feed(array(7), [1], Value("x", "fp32", (1,)), "m")


@pytest.mark.parametrize("kind", ["stringType", "dictionaryType", "sequenceType", "int64Type"])
def test_an_input_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(CoreMLError, match=f"input `x` has the type {kind}"):
        feed(plain(kind), "text", Value("x", "fp32"), "m")


# Defaults


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ({"floatDefaultValue": 2.5}, 2.5),
        ({"intDefaultValue": -3}, -3),
        ({"doubleDefaultValue": 0.25}, 0.25),
        ({}, 0),
    ],
)
def test_the_default_of_an_optional_input(default: dict[str, Any], expected: float) -> None:
    found = feed_default(array(shape=(2, 3), **default), Value("x", "fp32", (2, 3)), "m")

    assert (found.shape, found.unique().tolist()) == ((2, 3), [expected])


def test_the_default_of_a_single_number() -> None:
    found = feed_default(array(shape=(1,), floatDefaultValue=2), Value("x", "fp32", ()), "m")

    assert (found.shape, found.item()) == ((), 2)


def test_a_default_of_a_wrong_size_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(CoreMLError, match=r"takes the shape \(2\), not \(1099511627776,\)"):
        feed_default(array(shape=(2**40,)), Value("x", "fp32", (2,)), "m")


def test_a_default_that_memory_does_not_hold_is_refused() -> None:
    with pytest.raises(CoreMLError, match=r"input `x`: a value of the shape \[1099511627776\] takes 4.1e.03 GiB"):
        feed_default(array(shape=(2**40,)), Value("x", "fp32", (None,)), "m")


def test_a_default_of_a_negative_size_is_refused() -> None:
    with pytest.raises(CoreMLError, match=r"`x` is missing, and its default shape \(-1,\) is none"):
        feed_default(array(shape=(-1,)), Value("x", "fp32", (None,)), "m")


def test_an_image_has_no_default() -> None:
    with pytest.raises(CoreMLError, match="`x` is missing, and only an array may have a default"):
        feed_default(image(IMAGE.RGB), Value("x", "fp32", (1, 3, 4, 6)), "m")


# Images in


@pytest.mark.parametrize(("space", "order"), [(IMAGE.RGB, [0, 1, 2]), (IMAGE.BGR, [2, 1, 0])])
def test_colours_come_in_the_order_of_the_file(space: int, order: list[int]) -> None:
    found = feed(image(space), Image.fromarray(PIXELS), Value("x", "fp32", (1, 3, 4, 6)), "m")

    np.testing.assert_array_equal(found[0].numpy(), PIXELS.transpose(2, 0, 1)[order])


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_other_modes_of_8_bits_are_converted(mode: str) -> None:
    given = Image.fromarray(PIXELS).convert(mode)
    found = feed(image(IMAGE.RGB), given, Value("x", "fp32", (1, 3, 4, 6)), "m")

    np.testing.assert_array_equal(found[0].numpy(), np.asarray(given.convert("RGB")).transpose(2, 0, 1))


def test_a_float16_image_is_rounded() -> None:
    given = Image.fromarray(np.full((4, 6), 0.1, np.float32))
    found = feed(image(IMAGE.GRAYSCALE_FLOAT16), given, Value("x", "fp32", (1, 1, 4, 6)), "m")

    assert found.unique().tolist() == [float(np.float16(0.1))]


def test_an_8_bit_image_for_a_float16_one() -> None:
    given = Image.fromarray(PIXELS[:, :, 0])
    found = feed(image(IMAGE.GRAYSCALE_FLOAT16), given, Value("x", "fp32", (1, 1, 4, 6)), "m")

    np.testing.assert_array_equal(found[0, 0].numpy(), PIXELS[:, :, 0])


@pytest.mark.parametrize("mode", ["F", "I", "I;16"])
@pytest.mark.parametrize("space", [IMAGE.RGB, IMAGE.GRAYSCALE])
def test_an_image_of_more_than_8_bits_is_refused(mode: str, space: int) -> None:
    channels = 3 if space == IMAGE.RGB else 1
    with pytest.raises(
        CoreMLError, match=rf"takes images of 6 x 4 \(width x height\) in a mode of 8 bits .* not {mode}"
    ):
        feed(image(space), Image.new(mode, (6, 4)), Value("x", "fp32", (1, channels, 4, 6)), "m")


def test_an_image_whose_shape_is_not_the_programs_is_refused() -> None:
    with pytest.raises(
        CoreMLError, match=r"make the shape \(1, 3, 4, 6\), but the model computes with \(1, 3, 8, 6\)"
    ):
        feed(image(IMAGE.RGB), Image.fromarray(PIXELS), Value("x", "fp32", (1, 3, 8, 6)), "m")


# Answers


@pytest.mark.parametrize(
    ("described", "expected", "dtype"),
    [
        (ARRAY.FLOAT32, [0.1, 1e6], np.float32),
        (ARRAY.DOUBLE, [float(np.float32(0.1)), 1e6], np.float64),
        # macOS returns arrays of fp16 as float32: CoreMLPythonUtils.mm, convertArrayValueToPython.
        (ARRAY.FLOAT16, [float(np.float16(0.1)), np.inf], np.float32),
        (ARRAY.INT32, [0, 1000000], np.int32),
        (ARRAY.INT8, [0, 64], np.int8),
        (ARRAY.INVALID_ARRAY_DATA_TYPE, [0.1, 1e6], np.float32),
    ],
)
def test_an_array_leaves_in_the_type_that_macos_returns(described: int, expected: list[float], dtype: Any) -> None:
    found = answer(array(described), torch.tensor([0.1, 1e6]), "m")

    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(expected, dtype))


def test_a_single_number_leaves_with_one_axis() -> None:
    assert answer(array(), torch.tensor(3.0), "m").tolist() == [3]
    assert answer(array(shape=(1, 1)), torch.tensor(3.0), "m").tolist() == [[3]]


def test_an_answer_is_the_callers_own() -> None:
    value = torch.tensor([1.0, 2.0])
    answer(array(), value, "m")[:] = 7

    assert value.tolist() == [1, 2]


@pytest.mark.parametrize(("space", "order"), [(IMAGE.RGB, [0, 1, 2]), (IMAGE.BGR, [2, 1, 0])])
def test_a_colour_image_leaves_as_rgba(space: int, order: list[int]) -> None:
    value = torch.from_numpy(PIXELS.transpose(2, 0, 1)[order].copy()).float()[None]
    found = answer(image(space), value, "m")

    assert (found.mode, found.size) == ("RGBA", (6, 4))
    np.testing.assert_array_equal(np.asarray(found)[:, :, :3], PIXELS)
    np.testing.assert_array_equal(np.asarray(found)[:, :, 3], 255)


def test_pixels_are_rounded_and_limited() -> None:
    value = torch.tensor([[[-7.0, 0.4, 1.6], [254.6, 300.0, torch.nan]]])
    found = answer(image(IMAGE.GRAYSCALE, 3, 2), value, "m")

    assert found.mode == "L"
    assert np.asarray(found).tolist() == [[0, 0, 2], [255, 255, 0]]


def test_a_float16_image_leaves_rounded_in_the_mode_f() -> None:
    found = answer(image(IMAGE.GRAYSCALE_FLOAT16, 3, 1), torch.tensor([[[[0.1, -3.0, 1e6]]]]), "m")

    assert found.mode == "F"
    assert np.asarray(found).tolist() == [[float(np.float16(0.1)), -3, np.inf]]


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (2, 3, 4, 6), (1, 4, 4, 6)])
def test_a_tensor_that_is_no_such_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        CoreMLError, match=r"output `x` is an image of 3 channel\(s\), but the model computes the shape"
    ):
        answer(image(IMAGE.RGB), torch.zeros(shape), "m")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("stringType", "cat", "cat"),
        ("int64Type", 7, 7),
        ("int64Type", torch.tensor([7.0]), 7),
        ("doubleType", torch.tensor([[0.5]]), 0.5),
        ("dictionaryType", {"cat": 0.5}, {"cat": 0.5}),
    ],
)
def test_other_answers(kind: str, value: Any, expected: Any) -> None:
    found = answer(plain(kind), value, "m")

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("feature", "value", "message"),
    [
        (plain("stringType"), 7, "has the type stringType, but the model computes a int"),
        (plain("int64Type"), "cat", "has the type int64Type, but the model computes a str"),
        (plain("dictionaryType"), torch.zeros(3), r"computes a tensor of the shape \(3,\)"),
        (plain("doubleType"), torch.zeros(3), r"computes a tensor of the shape \(3,\)"),
        (array(), "cat", "has the type multiArrayType, but the model computes a str"),
        (plain("sequenceType"), torch.zeros(1), "has the type sequenceType"),
        (array(), None, "nothing that ran gave it"),
    ],
)
def test_an_answer_of_another_kind_is_refused(feature: Any, value: Any, message: str) -> None:
    with pytest.raises(CoreMLError, match=f"^m: output `x`.*{message}"):
        answer(feature, value, "m")
