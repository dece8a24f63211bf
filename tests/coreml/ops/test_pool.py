from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _naive_pool(
    kind: str,
    x: np.ndarray,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pad: tuple[int, ...],
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> np.ndarray:
    """Visit each window and each of its elements; all that lies beyond the data is padding."""
    rank = x.ndim - 2
    sizes = []
    for i in range(rank):
        span = x.shape[2 + i] + pad[2 * i] + pad[2 * i + 1] - kernel_sizes[i]
        count = (-(-span // strides[i]) if ceil_mode else span // strides[i]) + 1
        if ceil_mode and any(pad) and (count - 1) * strides[i] >= x.shape[2 + i] + pad[2 * i]:
            count -= 1
        sizes.append(count)
    result = np.zeros((*x.shape[:2], *sizes))
    for n, c, *place in itertools.product(*map(range, result.shape)):
        values, padded = [], 0
        for tap in itertools.product(*map(range, kernel_sizes)):
            at = [p * s + t - pad[2 * i] for i, (p, s, t) in enumerate(zip(place, strides, tap, strict=True))]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                values.append(float(x[(n, c, *at)]))
            else:
                padded += 1
        if kind == "max_pool":
            result[(n, c, *place)] = max(values)
        elif kind == "l2_pool":
            result[(n, c, *place)] = np.sqrt(sum(v * v for v in values))
        else:
            result[(n, c, *place)] = sum(values) / (len(values) + (0 if exclude_padding_from_average else padded))
    return result


@st.composite
def _pools(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * rank))
    strides = draw(st.tuples(*[st.integers(1, 3)] * rank))
    sizes = draw(st.tuples(*[st.integers(4, 7)] * rank))
    ceil_mode = draw(st.booleans())
    # A window of nothing but padding has no average; symmetric padding is what ceil_mode allows.
    before = [draw(st.integers(0, k - 1)) for k in kernel]
    after = before if ceil_mode else [draw(st.integers(0, k - 1)) for k in kernel]
    pad = tuple(itertools.chain.from_iterable(zip(before, after, strict=True)))
    if ceil_mode:
        # With a stride beyond the window, Apple's formula has windows that lie outside the data altogether.
        assume(all(s <= k for s, k in zip(strides, kernel, strict=True)))
    return {
        "x": _normal(1, 2, *sizes),
        "kernel_sizes": kernel,
        "strides": strides,
        "pad": pad,
        "ceil_mode": ceil_mode,
    }


@given(_pools())
def test_max_pool_takes_the_largest_of_each_window(given: dict[str, Any]) -> None:
    np.testing.assert_allclose(
        call("max_pool", pad_type="custom", **given), _naive_pool("max_pool", **given), rtol=1e-6
    )


@given(_pools(), st.booleans())
def test_avg_pool_counts_padding_unless_told_not_to(given: dict[str, Any], exclude: bool) -> None:
    found = call("avg_pool", pad_type="custom", exclude_padding_from_average=exclude, **given)

    wanted = _naive_pool("avg_pool", exclude_padding_from_average=exclude, **given)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@given(_pools())
def test_l2_pool_is_the_root_of_the_sum_of_squares(given: dict[str, Any]) -> None:
    assume(given["x"].ndim < 5)
    np.testing.assert_allclose(
        call("l2_pool", pad_type="custom", **given), _naive_pool("l2_pool", **given), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["avg_pool", "max_pool", "l2_pool"])
def test_strides_are_one_and_there_is_no_padding_unless_given(kind: str) -> None:
    x = _normal(2, 3, 5, 6)

    found = call(kind, x=x, kernel_sizes=(2, 3), pad_type="valid", pad=(1, 1, 1, 1))

    np.testing.assert_allclose(found, _naive_pool(kind, x, (2, 3), (1, 1), (0, 0, 0, 0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("pad_type", "pad"), [("same", (0, 1, 0, 1)), ("same_lower", (1, 0, 1, 0))])
@pytest.mark.parametrize("kind", ["avg_pool", "max_pool"])
def test_same_padding_ends_or_begins_with_the_odd_element(kind: str, pad_type: str, pad: tuple[int, ...]) -> None:
    x = _normal(1, 2, 6, 8)

    found = call(kind, x=x, kernel_sizes=(3, 3), strides=(2, 2), pad_type=pad_type)

    np.testing.assert_allclose(found, _naive_pool(kind, x, (3, 3), (2, 2), pad), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exclude", [False, True])
def test_ceil_mode_beside_padding_beyond_half_a_window(exclude: bool) -> None:
    # Windows of 5 at -3, -1, 1 and 3 over 4 elements with 3 of padding: the last one reaches one further.
    given: dict[str, Any] = {
        "x": _normal(1, 2, 4),
        "kernel_sizes": (5,),
        "strides": (2,),
        "pad": (3, 3),
        "ceil_mode": True,
        "exclude_padding_from_average": exclude,
    }

    found = call("avg_pool", pad_type="custom", **given)

    assert found.shape == (1, 2, 4)
    np.testing.assert_allclose(found, _naive_pool("avg_pool", **given), rtol=1e-5, atol=1e-6)


def test_avg_pool_divides_by_the_whole_window_where_ceil_mode_hangs_over() -> None:
    # What Core ML answers on a Mac, as apple/coremltools#2844 reports it; PyTorch says 9.5, 30.5, 42.5, ...
    x = np.arange(49, dtype=np.float32).reshape(1, 1, 7, 7)

    found = call("avg_pool", x=x, kernel_sizes=(2, 2), strides=(3, 3), pad_type="valid", ceil_mode=True)

    assert found[0, 0].tolist() == [[4, 7, 4.75], [25, 28, 15.25], [21.25, 22.75, 12]]


def test_padding_is_never_the_largest() -> None:
    x = np.full((1, 1, 2, 2), -5, np.float32)

    for pad in [(1, 1, 1, 1), (0, 1, 0, 1), (2, 2, 2, 2)]:
        found = call("max_pool", x=x, kernel_sizes=(3, 3), pad_type="custom", pad=pad)
        assert (found == -5).all()


def test_ceil_mode_is_pytorchs() -> None:
    x = _normal(1, 3, 13, 13)
    tensor = torch.from_numpy(x)

    largest = call("max_pool", x=x, kernel_sizes=(3, 3), strides=(2, 2), pad_type="valid", ceil_mode=True)
    padded = call(
        "avg_pool",
        x=x,
        kernel_sizes=(3, 3),
        strides=(3, 3),
        pad_type="custom",
        pad=(1, 1, 1, 1),
        ceil_mode=True,
    )

    np.testing.assert_array_equal(largest, F.max_pool2d(tensor, 3, 2, ceil_mode=True))
    np.testing.assert_allclose(padded, F.avg_pool2d(tensor, 3, 3, 1, ceil_mode=True), rtol=1e-6)


def test_a_window_beyond_unpadded_data_is_kept_as_apples_formula_says() -> None:
    x = _normal(1, 1, 1, 3)

    # ceil((3 - 1) / 3) + 1 = 2 windows, at 0 and 3; without padding Apple drops neither, PyTorch drops the second.
    found = call(
        "max_pool", x=x, kernel_sizes=(1, 1), strides=(1, 3), pad_type="valid", pad=(0, 0, 0, 0), ceil_mode=True
    )

    assert found.shape == (1, 1, 1, 2)
    assert found[0, 0, 0, 0] == x[0, 0, 0, 0]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_shapes_are_those_that_coremltools_infers(size: int, ceil_mode: bool) -> None:
    x = _normal(1, 2, size, size)
    common: dict[str, Any] = {"kernel_sizes": [2, 3], "strides": [3, 2], "ceil_mode": ceil_mode}
    pads: list[dict[str, Any]] = [{"pad_type": "valid"}, {"pad_type": "custom", "pad": [1, 1, 1, 1]}]
    if not ceil_mode:
        pads += [{"pad_type": "same"}, {"pad_type": "custom", "pad": [1, 0, 0, 2]}]
    shapes: list[tuple[int, ...]] = []

    def body(x: object) -> list[object]:
        results = [
            getattr(Builder, kind)(x=x, **common, **pad) for kind in ("max_pool", "avg_pool") for pad in pads
        ]
        shapes[:] = [result.shape for result in results]
        return results

    assert [found.shape for found in run(body, x)] == shapes


def test_fp16_rounds_the_average() -> None:
    x = np.float32([2048, 2050]).reshape(1, 1, 1, 2)

    found = run(lambda x: Builder.avg_pool(x=x, kernel_sizes=[1, 2], pad_type="valid"), x, precision="fp16")[0]

    assert found.item() == 2048
