from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4), (5, 1, 2, 3, 4)])
def test_flatten(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    lead = shape[:-3]

    close(run(lambda b: b.add_flatten("f", 0, "x", "y"), x=x), x.reshape(*lead, 24, 1, 1))
    close(run(lambda b: b.add_flatten("f", 1, "x", "y"), x=x), np.moveaxis(x, -3, -1).reshape(*lead, 24, 1, 1))


def test_reshape_to_three_sizes_keeps_sequence_and_batch() -> None:
    x = normal(2, 3, 4, 2, 5)

    found = run(lambda b: b.add_reshape("r", "x", "y", (10, 1, 4), 0), rank5=True, x=x)

    close(found, x.reshape(2, 3, 10, 1, 4))


def test_reshape_to_four_sizes_gives_another_sequence() -> None:
    x = normal(2, 3, 4, 2, 5)
    expected = np.stack([x[:, b].reshape(8, 1, 5, 2) for b in range(3)], 1)

    close(run(lambda b: b.add_reshape("r", "x", "y", (8, 1, 5, 2), 0), rank5=True, x=x), expected)


@pytest.mark.parametrize("target", [(6, 2, 2), (1, 6, 2, 2), (2, 3, 2, 2)])
def test_reshape_channel_last_tells_the_channels_off_fastest(target: tuple[int, ...]) -> None:
    x = normal(1, 1, 4, 2, 3)
    *sequence, channels, height, width = target
    told_off = x[0, 0].transpose(1, 2, 0).ravel()
    expected = np.moveaxis(told_off.reshape(*(sequence or [1]), 1, height, width, channels), -1, -3)

    close(run(lambda b: b.add_reshape("r", "x", "y", target, 1), rank5=True, x=x), expected)


@pytest.mark.parametrize(
    ("order", "axes"),
    [
        ((0, 3, 1, 2), (0, 1, 4, 2, 3)),
        ((3, 1, 2, 0), (4, 1, 2, 3, 0)),
        ((0, 3, 2, 1), (0, 1, 4, 3, 2)),
        ((), range(5)),
    ],
)
def test_permute(order: tuple[int, ...], axes: Any) -> None:
    x = normal(2, 3, 4, 5, 6)

    def add(b: Any) -> None:
        b.add_permute("p", order or (0, 1, 2, 3), "x", "y")
        if not order:
            b.nn_spec.layers[0].permute.ClearField("axis")

    close(run(add, rank5=True, x=x), x.transpose(*axes))


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4), (5, 6, 2, 3, 4)])
def test_concat(shape: tuple[int, ...]) -> None:
    other = (*shape[:-3], 7, *shape[-2:])
    a, b = normal(*shape), normal(*other, seed=1)

    found = run(lambda n: n.add_elementwise("c", ["a", "b", "a"], "y", "CONCAT"), a=a, b=b)

    close(found, np.concatenate([a, b, a], -3))


def test_concat_along_the_sequence() -> None:
    a, b = normal(2, 3, 1, 1, 4), normal(5, 3, 1, 1, 4, seed=1)

    found = run(lambda n: n.add_elementwise("c", ["a", "b"], "y", "SEQUENCE_CONCAT"), rank5=True, a=a, b=b)

    close(found, np.concatenate([a, b], 0))


def test_split() -> None:
    x = normal(2, 6, 2, 3)

    for found, expected in zip(
        run(lambda b: b.add_split("s", "x", ["p", "q", "r"]), outputs=("p", "q", "r"), x=x),
        np.split(x, 3, -3),
        strict=True,
    ):
        close(found, expected)


def test_split_of_a_number_of_channels_that_does_not_divide_is_refused() -> None:
    with pytest.raises(CoreMLError, match="7 channels cannot be split into 2 equal parts"):
        run(lambda b: b.add_split("s", "x", ["p", "q"]), outputs=("p", "q"), x=normal(7, 1, 1))


def test_sequence_repeat() -> None:
    x = normal(2, 1, 3, 1, 1)

    def once(b: Any) -> None:
        b.add_sequence_repeat("s", 3, "x", "y")
        b.nn_spec.layers[0].sequenceRepeat.ClearField("nRepetitions")

    close(run(lambda b: b.add_sequence_repeat("s", 3, "x", "y"), rank5=True, x=x), np.concatenate([x, x, x]))
    close(run(once, rank5=True, x=x), x)


@pytest.mark.parametrize("axis", ["channel", "height", "width"])
@given(st.integers(-6, 6), st.integers(-6, 8), st.integers(1, 3))
def test_slice(axis: str, start: int, end: int, stride: int) -> None:
    x = normal(2, 4, 5, 6)
    part = [slice(None)] * 4
    part[{"channel": 1, "height": 2, "width": 3}[axis]] = slice(start, end, stride)

    def add(b: Any) -> None:
        b.add_slice("s", "x", "y", axis, 0, end, stride)
        b.nn_spec.layers[0].slice.startIndex = start  # the builder refuses negative ones

    close(run(add, x=x), x[tuple(part)])


def test_crop() -> None:
    x, like = normal(2, 3, 6, 7), normal(2, 9, 2, 3)

    close(run(lambda b: b.add_crop("c", 1, 2, 1, 3, [], ["x"], "y"), x=x), x[:, :, 1:3, 1:5])
    close(run(lambda b: b.add_crop("c", 0, 0, 0, 0, [3, 2], ["x", "l"], "y"), x=x, l=like), x[:, :, 3:5, 2:5])
    close(run(lambda b: b.add_crop("c", 0, 0, 0, 0, [], ["x", "l"], "y"), x=x, l=like), x[:, :, :2, :3])


_MODES = {"constant": "constant", "reflection": "reflect", "replication": "edge"}


def _pad_of(shape: tuple[int, ...], amounts: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    top, bottom, left, right = amounts
    return [(0, 0)] * (len(shape) - 2) + [(top, bottom), (left, right)]


@pytest.mark.parametrize("kind", _MODES)
@pytest.mark.parametrize(
    ("shape", "amounts"),
    [
        # As coremltools' test_fusion_with_pad_reflective_op_0 pads: wider than the image.
        ((11, 6, 2, 3), (1, 2, 3, 4)),
        ((2, 1, 1), (3, 2, 0, 5)),
        ((1, 2, 3), (17, 8, 9, 11)),
    ],
)
def test_padding_wider_than_the_image(
    kind: str, shape: tuple[int, ...], amounts: tuple[int, int, int, int]
) -> None:
    x = normal(*shape)
    how = {"constant_values": 7.5} if kind == "constant" else {}
    top, bottom, left, right = amounts

    def add(b: Any) -> None:
        b.add_padding("p", left, right, top, bottom, 7.5, "x", "y", padding_type=kind)

    close(run(add, x=x), np.pad(x, _pad_of(shape, amounts), _MODES[kind], **how))


@pytest.mark.parametrize("kind", _MODES)
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_padding(shape: tuple[int, ...], kind: str) -> None:
    x = normal(*shape)
    amounts = [(0, 0)] * (len(shape) - 2) + [(2, 1), (0, 3)]
    more = {"constant_values": 7.5} if kind == "constant" else {}

    found = run(lambda b: b.add_padding("p", 0, 3, 2, 1, 7.5, "x", "y", padding_type=kind), x=x)

    close(found, np.pad(x, amounts, _MODES[kind], **more))


def test_padding_by_nothing() -> None:
    x = normal(1, 2, 3)

    def add(b: Any) -> None:
        b.add_padding("p", input_name="x", output_name="y")
        b.nn_spec.layers[0].padding.ClearField("paddingAmounts")

    close(run(add, x=x), x)


# The example of the specification, C = 8, H = 1, W = 2.
_DEEP = np.arange(1, 17).reshape(8, 1, 2)
_WIDE = np.array([[[1, 5, 2, 6], [9, 13, 10, 14]], [[3, 7, 4, 8], [11, 15, 12, 16]]])
_SHUFFLED = np.array([[[1, 3, 2, 4], [5, 7, 6, 8]], [[9, 11, 10, 12], [13, 15, 14, 16]]])


@pytest.mark.parametrize("lead", [(), (1,), (1, 1)])
@pytest.mark.parametrize(
    ("mode", "x", "expected"),
    [("DEPTH_TO_SPACE", _DEEP, _WIDE), ("SPACE_TO_DEPTH", _WIDE, _DEEP), ("PIXEL_SHUFFLE", _DEEP, _SHUFFLED)],
)
def test_reorganize_data(mode: str, x: np.ndarray, expected: np.ndarray, lead: tuple[int, ...]) -> None:
    found = run(lambda b: b.add_reorganize_data("r", "x", "y", mode, 2), x=x.reshape(*lead, *x.shape))

    close(found, expected.reshape(*lead, *expected.shape))


@given(st.integers(2, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_depth_to_space_undoes_space_to_depth(block: int, channels: int, height: int, width: int) -> None:
    x = normal(2, channels, height * block, width * block)

    def add(b: Any) -> None:
        b.add_reorganize_data("d", "x", "t", "SPACE_TO_DEPTH", block)
        b.add_reorganize_data("s", "t", "y", "DEPTH_TO_SPACE", block)

    close(run(add, x=x), x)


def _field(kind: str, **fields: Any) -> Any:
    """Make a layer of this kind with these fields, whatever the builder thinks of them."""

    def add(b: Any) -> None:
        layer = b.nn_spec.layers.add(name="layer", input=["x"], output=["y"])
        getattr(layer, kind).SetInParent()
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(getattr(layer, kind), name).extend(value)
            else:
                setattr(getattr(layer, kind), name, value)

    return add


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (_field("reshape", targetShape=[1, 2]), r"`targetShape` is \[1, 2\]"),
        (_field("permute", axis=[0, 1, 1, 2]), r"`axis` is \[0, 1, 1, 2\], which is no permutation"),
        (_field("slice", stride=0), "`stride` is 0"),
        (_field("padding"), "the padding is none of"),
        (_field("reorganizeData", blockSize=1), "`blockSize` is 1"),
        (_field("upsample", fractionalScalingFactor=[1.5]), "`fractionalScalingFactor` has 1 values"),
        (_field("loadConstant", shape=[2, 3]), r"`shape` is \[2, 3\]; allowed is \[C, H, W\]"),
    ],
)
def test_fields_without_a_meaning_are_refused(add: Any, text: str) -> None:
    with pytest.raises(CoreMLError, match=rf"layer `layer` \(.*\): {text}.*; the file is damaged, convert again"):
        run(add, x=normal(1, 1, 1))
