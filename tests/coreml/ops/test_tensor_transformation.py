from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, compare_with_folded, run

_X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
# The examples of ReorganizeDataLayerParams in NeuralNetwork.proto: [C = 8, H = 1, W = 2].
_DEEP = np.arange(1, 17, dtype=np.float32).reshape(1, 8, 1, 2)
_DEPTH_TO_SPACE = np.float32([[[1, 5, 2, 6], [9, 13, 10, 14]], [[3, 7, 4, 8], [11, 15, 12, 16]]])[None]
_PIXEL_SHUFFLE = np.float32([[[1, 3, 2, 4], [5, 7, 6, 8]], [[9, 11, 10, 12], [13, 15, 14, 16]]])[None]


def test_depth_and_space_are_exchanged_as_in_apples_example() -> None:
    np.testing.assert_array_equal(call("depth_to_space", x=_DEEP, block_size=2), _DEPTH_TO_SPACE)
    np.testing.assert_array_equal(call("space_to_depth", x=_DEPTH_TO_SPACE, block_size=2), _DEEP)
    np.testing.assert_array_equal(call("pixel_shuffle", x=_DEEP, upscale_factor=2), _PIXEL_SHUFFLE)
    np.testing.assert_array_equal(call("pixel_unshuffle", x=_PIXEL_SHUFFLE, downscale_factor=2), _DEEP)


def test_space_to_batch_takes_each_position_within_a_block() -> None:
    x = np.arange(2 * 1 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4)

    found = call("space_to_batch", x=x, block_shape=(2, 3), paddings=(1, 0, 0, 2))

    padded = np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)])
    wanted = [padded[n, :, row::2, column::3] for row in range(2) for column in range(3) for n in range(2)]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(call("batch_to_space", x=found, block_shape=(2, 3), crops=(1, 0, 0, 2)), x)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [((0,), (1, 2, 3, 4)), ((-1,), (2, 3, 4, 1)), ((3, 0), (1, 2, 3, 1, 4)), ((-1, 1), (2, 1, 3, 4, 1))],
)
def test_expand_dims_counts_the_axes_of_the_result(axes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert call("expand_dims", x=_X, axes=axes).shape == shape


def test_squeeze_drops_axes_of_one_element_only() -> None:
    x = _X[:, None, ..., None]

    assert call("squeeze", x=x).shape == (2, 3, 4)
    assert call("squeeze", x=x, axes=(-1,)).shape == (2, 1, 3, 4)
    assert call("squeeze", x=x, axes=(0, 1)).shape == (2, 3, 4, 1)


def test_zero_in_a_shape_keeps_the_size_of_that_axis() -> None:
    np.testing.assert_array_equal(call("reshape", "iOS15", x=_X, shape=(0, -1)), _X.reshape(2, 12))
    np.testing.assert_array_equal(call("reshape", "iOS15", x=_X, shape=(4, 0, 2)), _X.reshape(4, 3, 2))


def test_from_ios17_on_zero_counts_from_the_right() -> None:
    x = np.arange(100, dtype=np.float32).reshape(2, 50)

    assert call("reshape", "iOS17", x=x, shape=(1, 0, -1, 0)).shape == (1, 1, 2, 50)
    assert call("reshape", "iOS17", x=x, shape=(0, 0)).shape == (2, 50)
    assert call("reshape", "iOS16", x=x, shape=(0, -1)).shape == (2, 50)


def test_reshape_like_joins_parts_of_other_shapes() -> None:
    found = call(
        "reshape_like",
        x=np.zeros((60, 3), np.float32),
        ref_tensors=[np.zeros((2, 3, 4)), np.zeros((1, 5, 6))],
        begins=[np.array(0), np.array(1)],
        ends=[np.array(2), np.array(0)],
        end_masks=[np.array(False), np.array(True)],
    )

    assert found.shape == (2, 3, 5, 6)


def test_reverse_turns_all_axes_unless_some_are_named() -> None:
    np.testing.assert_array_equal(call("reverse", x=_X), _X[::-1, ::-1, ::-1])
    np.testing.assert_array_equal(call("reverse", x=_X, axes=(-1, 0)), _X[::-1, :, ::-1])


def test_reverse_sequence_turns_the_first_elements_of_each_row() -> None:
    lengths = np.int32([3, 0])

    found = call("reverse_sequence", x=_X, lengths=lengths, seq_axis=2, batch_axis=0)

    wanted = _X.copy()
    wanted[0, :, :3] = _X[0, :, 2::-1]
    np.testing.assert_array_equal(found, wanted)
    turned = call(
        "reverse_sequence", x=np.ascontiguousarray(_X.transpose(2, 1, 0)), lengths=lengths, seq_axis=0, batch_axis=2
    )
    np.testing.assert_array_equal(turned, wanted.transpose(2, 1, 0))


@st.composite
def _slices(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 4))
    x = np.arange(5**rank, dtype=np.float32).reshape((5,) * rank)
    ends = st.tuples(*[st.integers(-7, 7)] * rank)
    masks = st.none() | st.tuples(*[st.booleans()] * rank)
    squeezed = draw(masks)
    begin = draw(ends)
    if squeezed:
        begin = tuple(max(-5, min(4, b)) if s else b for b, s in zip(begin, squeezed, strict=True))
    return {
        "x": x,
        "begin": begin,
        "end": draw(ends),
        "stride": draw(st.none() | st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * rank)),
        "begin_mask": draw(masks),
        "end_mask": draw(masks),
        "squeeze_mask": squeezed,
    }


def _numpy_index(given: dict[str, Any]) -> tuple[Any, ...]:
    index: list[Any] = []
    for axis in range(given["x"].ndim):
        begin = None if given["begin_mask"] and given["begin_mask"][axis] else given["begin"][axis]
        end = None if given["end_mask"] and given["end_mask"][axis] else given["end"][axis]
        step = given["stride"][axis] if given["stride"] else 1
        squeezed = given["squeeze_mask"] and given["squeeze_mask"][axis]
        index.append((begin or 0) if squeezed else slice(begin, end, step))
    return tuple(index)


@given(_slices())
def test_slicing_is_numpys(given: dict[str, Any]) -> None:
    np.testing.assert_array_equal(call("slice_by_index", **given), given["x"][_numpy_index(given)])


@given(_slices())
def test_updating_replaces_what_slicing_takes(given: dict[str, Any]) -> None:
    x, index = given["x"], _numpy_index(given)
    update = np.asarray(-1 - np.arange(x[index].size, dtype=np.float32).reshape(x[index].shape))
    wanted = x.copy()
    wanted[index] = update

    np.testing.assert_array_equal(call("slice_update", update=update, **given), wanted)


def test_slice_by_size_takes_the_rest_for_minus_one() -> None:
    np.testing.assert_array_equal(call("slice_by_size", x=_X, begin=(0, 1, -3), size=(1, -1, 2)), _X[:1, 1:, 1:3])


@given(axis=st.integers(-3, 2), size=st.integers(1, 2), stride=st.integers(1, 3))
def test_sliding_windows_puts_the_elements_behind_the_windows(axis: int, size: int, stride: int) -> None:
    found = call("sliding_windows", x=_X, axis=axis, size=size, stride=stride)

    at = axis % 3
    firsts = range(0, _X.shape[at] - size + 1, stride)
    wanted = np.stack([np.take(_X, range(f, f + size), at) for f in firsts], at)
    np.testing.assert_array_equal(found, wanted)


def test_transpose_permutes() -> None:
    np.testing.assert_array_equal(call("transpose", x=_X, perm=(-1, 0, 1)), _X.transpose(2, 0, 1))


def test_all_agree_with_what_coremltools_folds() -> None:
    def body(x: Any) -> list[Any]:
        return [
            Builder.expand_dims(x=x, axes=[1, -1]),
            Builder.reshape(x=x, shape=[0, -1, 2]),
            Builder.reverse(x=x, axes=[1]),
            Builder.slice_by_index(
                x=x, begin=[1, 2, 0], end=[2, 0, 0], stride=[1, -1, 2], end_mask=[False, True, True]
            ),
            Builder.slice_by_index(
                x=x,
                begin=[1, 2, -1],
                end=[0, 0, 0],
                squeeze_mask=[True, False, True],
                end_mask=[False, True, False],
            ),
            Builder.slice_by_size(x=x, begin=[0, 1, 2], size=[-1, 1, 2]),
            Builder.squeeze(x=Builder.expand_dims(x=x, axes=[1]), axes=[1]),
            Builder.transpose(x=x, perm=[2, 0, 1]),
        ]

    compare_with_folded(body, _X)


def test_what_coremltools_does_not_fold_runs_in_a_program() -> None:
    def body(x: Any) -> list[Any]:
        return [
            Builder.batch_to_space(x=x, block_shape=[2, 2], crops=[[0, 0], [1, 0]]),
            Builder.space_to_batch(x=x, block_shape=[1, 2], paddings=[[0, 0], [1, 1]]),
            Builder.sliding_windows(x=x, axis=3, size=2),
            Builder.pixel_unshuffle(x=Builder.pixel_shuffle(x=x, upscale_factor=2), downscale_factor=np.uint32(2)),
            Builder.reshape_like(x=x, ref_tensors=(x,), begins=(0,), ends=(0,), end_masks=(True,)),
        ]

    x = np.arange(4 * 4 * 2 * 2, dtype=np.float32).reshape(4, 4, 2, 2)
    spread, gathered, windows, shuffled, same = run(body, x, target="iOS16", precision="fp16")

    np.testing.assert_array_equal(spread, call("batch_to_space", x=x, block_shape=(2, 2), crops=(0, 0, 1, 0)))
    np.testing.assert_array_equal(gathered, call("space_to_batch", x=x, block_shape=(1, 2), paddings=(0, 0, 1, 1)))
    np.testing.assert_array_equal(windows, x[..., None, :])
    np.testing.assert_array_equal(shuffled, x)
    np.testing.assert_array_equal(same, x)


def test_writing_over_a_view_leaves_what_it_looks_at() -> None:
    def body(x: Any) -> list[Any]:
        double = Builder.add(x=x, y=x)
        flat = Builder.reshape(x=double, shape=[-1])
        return [Builder.add(x=flat, y=np.float32(1)), Builder.mul(x=double, y=np.float32(2))]

    more, fourfold = run(body, _X)

    np.testing.assert_array_equal(more, 2 * _X.reshape(-1) + 1)
    np.testing.assert_array_equal(fourfold, 4 * _X)


def test_slice_update_leaves_its_input() -> None:
    def body(x: Any) -> list[Any]:
        double = Builder.add(x=x, y=x)
        changed = Builder.slice_update(x=double, update=np.float32([9.0]), begin=[1], end=[2])
        return [changed, Builder.mul(x=double, y=np.float32(2))]

    changed, fourfold = run(body, np.float32([1, 2, 3]), target="iOS18")

    assert changed.tolist() == [2, 9, 6]
    assert fourfold.tolist() == [4, 8, 12]
