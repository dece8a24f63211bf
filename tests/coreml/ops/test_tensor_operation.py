from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.coreml.ops.tensor_operation import evenly_spaced
from tests.coreml.programs import Builder, call, compare_with_folded, run

_X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
_arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.integers(-3, 3))


@given(x=_arrays, data=st.data(), ascending=st.booleans())
def test_sorting_keeps_the_order_of_equals(x: np.ndarray, data: st.DataObject, ascending: bool) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    wanted = np.argsort(x if ascending else -x, axis=axis, kind="stable")

    np.testing.assert_array_equal(call("argsort", x=x, axis=axis, ascending=ascending), wanted)

    k = data.draw(st.integers(1, x.shape[axis]))
    first = np.take(wanted, range(k), axis=axis)
    values, indices = call("topk", x=x, k=k, axis=axis, ascending=ascending)
    np.testing.assert_array_equal(indices, first)
    np.testing.assert_array_equal(values, np.take_along_axis(x, first, axis))


def test_topk_gives_all_or_the_values_alone() -> None:
    x = np.float32([[3, 1, 2]])

    assert call("topk", x=x)[0].tolist() == [[3]]
    assert call("topk", x=x, k=-1)[0].tolist() == [[3, 2, 1]]
    assert call("topk", x=x, k=2, return_indices=False).tolist() == [[3, 2]]


def test_topk_indices_are_of_the_type_that_the_program_asks_for() -> None:
    def body(x: Any) -> list[Any]:
        values, indices = Builder.topk(x=x, k=2, output_indices_dtype="uint16")
        return [values, Builder.cast(x=indices, dtype="int32")]

    values, indices = run(body, np.float32([1, 3, 2]), target="iOS17")

    assert values.tolist() == [3, 2]
    assert indices.tolist() == [1, 2]


@given(lower=st.integers(-1, 4), upper=st.integers(-1, 4))
def test_band_part_keeps_a_band(lower: int, upper: int) -> None:
    m, n = np.indices((3, 4))
    band = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))

    np.testing.assert_array_equal(call("band_part", x=_X, lower=lower, upper=upper), _X * band)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_joins_and_interleaves(axis: int) -> None:
    y = -_X

    np.testing.assert_array_equal(call("concat", values=[_X, y], axis=axis), np.concatenate([_X, y], axis))

    found = call("concat", values=[_X, y], axis=axis, interleave=True)
    np.testing.assert_array_equal(np.take(found, range(0, found.shape[axis], 2), axis), _X)
    np.testing.assert_array_equal(np.take(found, range(1, found.shape[axis], 2), axis), y)


def test_concat_makes_a_vector_of_scalars() -> None:
    assert call("concat", values=[np.array(2), np.array(3)], axis=0).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [1, 3, 6]),
        ({"exclusive": True}, [0, 1, 3]),
        ({"reverse": True}, [6, 5, 3]),
        ({"exclusive": True, "reverse": True}, [5, 3, 0]),
    ],
)
def test_cumsum_runs_either_way_with_or_without_each_element(given: dict[str, bool], wanted: list[int]) -> None:
    x = np.float32([1, 2, 3])

    assert call("cumsum", x=x, **given).tolist() == wanted
    assert call("cumsum", x=x[None], axis=-1, **given).tolist() == [wanted]
    assert call("cumsum", x=x[:, None], axis=0, **given)[:, 0].tolist() == wanted


def test_fill_keeps_the_values_type() -> None:
    np.testing.assert_array_equal(call("fill", shape=(2, 3)), np.zeros((2, 3), np.float32))

    found = call("fill", shape=(2,), value=np.array(2**24 + 1, np.int32))
    assert found.dtype == np.int32
    assert found.tolist() == [2**24 + 1] * 2

    assert call("fill_like", ref_tensor=_X, value=np.array(True)).all()


@pytest.mark.parametrize(
    ("shape", "axis", "wanted"),
    [
        ((3,), -1, (1, 3)),
        ((3,), 1, (3, 1)),
        ((4, 3), -1, (4, 3)),
        ((2, 3, 2), -1, (6, 2)),
        ((5, 5, 2), 1, (5, 10)),
    ],
)
def test_flatten2d_gives_apples_examples(shape: tuple[int, ...], axis: int, wanted: tuple[int, int]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    np.testing.assert_array_equal(call("flatten2d", x=x, axis=axis), x.reshape(wanted))


def test_non_zero_lists_indices_row_by_row() -> None:
    x = np.float32([[0, 2], [3, 0]])

    assert call("non_zero", x=x).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_one_hot_inserts_an_axis(axis: int) -> None:
    indices = np.int32([[0, 2], [1, 7]])

    found = call("one_hot", indices=indices, one_hot_vector_size=3, axis=axis)
    wanted = np.moveaxis(indices[..., None] == np.arange(3), -1, axis)
    np.testing.assert_array_equal(found, wanted)

    on, off = np.array(5, np.float32), np.array(-1, np.float32)
    found = call("one_hot", indices=indices, one_hot_vector_size=3, axis=axis, on_value=on, off_value=off)
    np.testing.assert_array_equal(found, np.where(wanted, 5, -1))


@given(st.data())
def test_pad_follows_numpy_on_the_last_axes(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * data.draw(st.integers(1, 5))))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mode = data.draw(st.sampled_from(["constant", "reflect", "replicate"]))
    count = data.draw(st.integers(1, len(shape)))
    # Wider than the axis too: coremltools folds it by numpy.pad, and Core ML answers it.
    pairs = [data.draw(st.tuples(*[st.integers(0, 9)] * 2)) for _ in range(count)]

    found = call("pad", x=x, pad=tuple(side for pair in pairs for side in pair), mode=mode, constant_val=7.0)

    every = [(0, 0)] * (len(shape) - count) + pairs
    how: dict[str, Any] = {"constant_values": 7.0} if mode == "constant" else {}
    np.testing.assert_array_equal(found, np.pad(x, every, "edge" if mode == "replicate" else mode, **how))


def test_padding_with_nothing_does_not_hand_out_memory_that_is_overwritten() -> None:
    x = np.ones((1, 1, 2, 2), np.float32)

    def body(x: Any) -> list[Any]:
        double = Builder.add(x=x, y=x)
        padded = Builder.pad(x=double, pad=[0, 0, 1, 0], mode="reflect")
        return [Builder.relu(x=padded), Builder.add(x=double, y=np.float32(1))]

    relu, more = run(body, x)

    assert (relu == 2).all()
    assert (more == 3).all()


def test_range_1d_excludes_its_end() -> None:
    def numbers(*values: float) -> dict[str, np.ndarray]:
        return {n: np.array(v) for n, v in zip(("start", "end", "step"), values, strict=True)}

    assert call("range_1d", **numbers(2, 9, 3)).tolist() == [2, 5, 8]
    assert call("range_1d", **numbers(1.0, 2.0, 0.25)).tolist() == [1, 1.25, 1.5, 1.75]
    assert call("range_1d", **numbers(5, 2, -1)).tolist() == [5, 4, 3]
    assert call("range_1d", **numbers(5, 2, 1)).tolist() == []


@pytest.mark.parametrize(("dtype", "number"), [("fp16", np.float16), ("fp32", np.float32), ("int32", np.int32)])
@given(data=st.data())
def test_a_range_has_as_many_numbers_as_coremltools_infers(dtype: str, number: type, data: st.DataObject) -> None:
    tenths = st.integers(-300, 300).map(lambda n: number(n / 10))
    start, end = data.draw(tenths), data.draw(tenths)
    step = data.draw(tenths.filter(lambda n: n != 0))

    found = evenly_spaced(float(start), float(end), float(step), dtype)

    # The line of range_1d.type_inference; the program's numbers have NumPy's scalar types there.
    assert len(found) == max(0, math.ceil((end - start) / step))
    np.testing.assert_allclose(
        found, start.astype(float) + np.arange(len(found)) * float(step), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("steps", [3, 7, 10, 49, 61, 100])
def test_a_step_that_is_a_part_of_the_way_leads_to_as_many_numbers(precision: str, steps: int) -> None:
    end = np.float32([0.3 if steps == 3 else 1])

    def body(end: Any) -> list[Any]:
        last = Builder.squeeze(x=end)
        step = np.float32(0.1 if steps == 3 else 1 / steps)
        return [Builder.range_1d(start=np.float32(0), end=last, step=step)]

    found = run(body, end, precision=precision)[0]

    number = np.float32 if precision == "fp32" else np.float16
    step = number(np.float32(0.1 if steps == 3 else 1 / steps))
    assert len(found) == math.ceil((number(end[0]) - number(0)) / step)


def test_a_range_without_an_end_is_one_error() -> None:
    def numbers(*values: float) -> dict[str, np.ndarray]:
        return {n: np.array(v, np.float32) for n, v in zip(("start", "end", "step"), values, strict=True)}

    with pytest.raises(ValueError, match="the step from 0 to 3 is 0"):
        call("range_1d", **numbers(0, 3, 0))
    with pytest.raises(ValueError, match="their number is not finite"):
        call("range_1d", **numbers(0, np.inf, 1))


def test_shape_split_stack_tile_and_identity() -> None:
    assert call("shape", x=_X).tolist() == [2, 3, 4]
    assert call("shape", x=_X).dtype == np.int32
    np.testing.assert_array_equal(call("stack", values=[_X, -_X], axis=-1), np.stack([_X, -_X], -1))
    np.testing.assert_array_equal(call("tile", x=_X, reps=(1, 3, 2)), np.tile(_X, (1, 3, 2)))
    np.testing.assert_array_equal(call("identity", x=_X), _X)
    for found, wanted in zip(call("split", x=_X, axis=-1, num_splits=2), np.split(_X, 2, -1), strict=True):
        np.testing.assert_array_equal(found, wanted)
    sized = call("split", x=_X, axis=2, split_sizes=(1, 3), num_splits=2)
    for found, wanted in zip(sized, np.split(_X, [1], 2), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_all_agree_with_what_coremltools_folds() -> None:
    def body(x: Any) -> list[Any]:
        return [
            Builder.argsort(x=x, axis=1),
            Builder.band_part(x=x, lower=1, upper=0),
            Builder.concat(values=[x, x], axis=1),
            Builder.cumsum(x=x, axis=1, reverse=True),
            Builder.flatten2d(x=x, axis=2),
            Builder.pad(x=x, pad=[1, 0, 0, 2], mode="constant", constant_val=np.float32(3)),
            Builder.pad(x=x, pad=[1, 0, 2, 2], mode="reflect"),
            Builder.pad(x=x, pad=[1, 0, 2, 2], mode="replicate"),
            Builder.shape(x=x),
            *Builder.split(x=x, split_sizes=[1, 2], axis=1),
            Builder.stack(values=[x, x], axis=1),
            Builder.tile(x=x, reps=[2, 1, 3]),
            *Builder.topk(x=x, k=2, axis=1, ascending=True),
        ]

    x = np.random.default_rng(0).permutation(24).astype(np.float32).reshape(2, 3, 4)

    compare_with_folded(body, x)


def test_shapes_flow_through_a_program_as_numbers() -> None:
    def body(x: Any) -> list[Any]:
        index = Builder.cast(x=Builder.reduce_sum(x=x, axes=[0, 1, 2]), dtype="int32")
        hot = Builder.one_hot(indices=Builder.expand_dims(x=index, axes=[0]), one_hot_vector_size=4)
        filled = Builder.fill(shape=Builder.shape(x=x), value=np.float32(0.1))
        steps = Builder.range_1d(start=0, end=index, step=1)
        return [hot, Builder.add(x=filled, y=x), steps, Builder.non_zero(x=hot)]

    hot, filled, steps, found = run(body, np.full((1, 2, 1), 1.5, np.float32), precision="fp16")

    assert hot.tolist() == [[0, 0, 0, 1]]
    np.testing.assert_array_equal(filled.reshape(-1), np.float32(np.float16(1.5 + np.float64(np.float16(0.1)))))
    assert steps.tolist() == [0, 1, 2]
    assert found.tolist() == [[0, 3]]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Divide what two boxes (x, y, width, height) share by what they cover."""
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
        for i in (0, 1)
    ]
    shared = max(0, sides[0]) * max(0, sides[1])
    covered = a[2] * a[3] + b[2] * b[3] - shared
    return float(shared / covered) if covered else 0.0


def _chosen(boxes: np.ndarray, scores: np.ndarray, iou: float, least: float, most: int, own: bool) -> list[int]:
    """Choose the boxes of one example as Apple's reference does."""
    best, classes = scores.max(1), scores.argmax(1)
    able = [i for i in np.argsort(-best, kind="stable") if best[i] >= least] or [int(best.argmax())]
    chosen: list[int] = []
    for i in able:
        rivals = [j for j in chosen if not own or classes[j] == classes[i]]
        if all(_overlap(boxes[j], boxes[i]) <= iou for j in rivals):
            chosen.append(int(i))
    return chosen[:most]


@given(
    iou=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    least=st.sampled_from([-9.0, 0.3, 9.0]),
    most=st.sampled_from([1, 6, 40]),
    own=st.booleans(),
    seed=st.integers(0, 99),
)
def test_non_maximum_suppression_keeps_the_best_of_what_overlaps(
    iou: float, least: float, most: int, own: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Multiples of a quarter, so that no quotient is on both sides of a threshold.
    boxes = np.float32(random.integers(0, 16, (2, 15, 4)) / 4)
    scores = random.normal(size=(2, 15, 3)).astype(np.float32)
    given: dict[str, Any] = {"iou_threshold": iou, "max_boxes": most, "per_class_suppression": own}

    kept, points, indices, numbers = call(
        "non_maximum_suppression", "iOS16", boxes=boxes, scores=scores, score_threshold=least, **given
    )

    for n in range(2):
        wanted = _chosen(boxes[n].astype(np.float64), scores[n], iou, least, most, own)
        count = len(wanted)
        assert numbers[n] == count
        assert indices[n].tolist() == wanted + [-1] * (most - count)
        np.testing.assert_array_equal(kept[n, :count], boxes[n, wanted])
        np.testing.assert_array_equal(points[n, :count], scores[n, wanted])
        assert not kept[n, count:].any()
        assert not points[n, count:].any()
    if least == -9:
        turned = {"boxes": boxes.transpose(0, 2, 1).copy(), "scores": scores.transpose(0, 2, 1).copy()}
        newer = call("non_maximum_suppression", "iOS17", **turned, **given)
        np.testing.assert_array_equal(newer[0].transpose(0, 2, 1), kept)
        np.testing.assert_array_equal(newer[1].transpose(0, 2, 1), points)
        np.testing.assert_array_equal(newer[2], indices)


def test_non_maximum_suppression_of_nothing_chooses_nothing() -> None:
    kept, _, indices, numbers = call(
        "non_maximum_suppression",
        "iOS15",
        boxes=np.zeros((1, 0, 4), np.float32),
        scores=np.zeros((1, 0, 2), np.float32),
        iou_threshold=0.5,
        score_threshold=0.0,
        max_boxes=2,
    )

    assert (kept.shape, indices.tolist(), numbers.tolist()) == ((1, 2, 4), [[-1, -1]], [0])


def test_non_maximum_suppression_gives_apples_numbers_in_a_program() -> None:
    boxes = np.repeat(np.arange(4, dtype=np.float32), 4).reshape(1, 4, 4)
    scores = np.float32([[[-3.5], [9.4], [2.3], [0.7]]])

    def old(boxes: Any, scores: Any) -> Any:
        return Builder.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(0.2),
            score_threshold=np.float32(0.4),
            max_boxes=2,
            per_class_suppression=True,
        )

    def new(boxes: Any, scores: Any) -> Any:
        return Builder.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=np.float32(0.2), max_boxes=2
        )

    kept, points, indices, numbers = run(old, boxes, scores)
    columns = run(new, boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1), target="iOS17")

    assert kept.tolist() == [[[1] * 4, [2] * 4]]
    np.testing.assert_array_equal(points, np.float32([[[9.4], [2.3]]]))
    assert (indices.tolist(), numbers.tolist()) == ([[1, 2]], [2])
    assert [c.shape for c in columns] == [(1, 4, 2), (1, 1, 2), (1, 2)]
    assert columns[2].tolist() == [[1, 2]]
