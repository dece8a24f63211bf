from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coreml.programs import Builder, call, compare_with_folded, run

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (2, 3, 4)])
def test_linear_multiplies_by_the_transposed_weight(leading: tuple[int, ...]) -> None:
    x, weight, bias = _normal(*leading, 5), _normal(6, 5), _normal(6)

    np.testing.assert_allclose(call("linear", x=x, weight=weight), x @ weight.T, rtol=1e-5, atol=1e-6)
    found = call("linear", x=x, weight=weight, bias=bias)
    np.testing.assert_allclose(found, x @ weight.T + bias, rtol=1e-5, atol=1e-6)


def test_linear_takes_integers() -> None:
    x, weight, bias = np.int32([[1, 2]]), np.int32([[3, 4], [5, 6]]), np.int32([10, 20])

    np.testing.assert_array_equal(call("linear", x=x, weight=weight, bias=bias), [[21, 37]])


def test_weights_may_differ_in_type_from_the_input() -> None:
    x, weight = np.float32([[0.5, 2]]), np.int32([[3, 4], [5, 6]])

    assert call("linear", x=x, weight=weight).tolist() == [[9.5, 14.5]]
    assert call("linear", x=weight, weight=x, bias=np.float32([0.25])).tolist() == [[9.75], [14.75]]
    assert call("matmul", x=x, y=weight).tolist() == [[11.5, 14]]


@given(
    batch=st.sampled_from([((), ()), ((2,), (2,)), ((3, 1), (2,)), ((), (4,)), ((5,), ())]),
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    transpose_x=st.booleans(),
    transpose_y=st.booleans(),
)
def test_matmul_broadcasts_and_transposes(
    batch: tuple[tuple[int, ...], tuple[int, ...]],
    sizes: tuple[int, int, int],
    transpose_x: bool,
    transpose_y: bool,
) -> None:
    rows, inner, columns = sizes
    x, y = _normal(*batch[0], rows, inner), _normal(*batch[1], inner, columns)

    found = call(
        "matmul",
        x=np.swapaxes(x, -1, -2) if transpose_x else x,
        y=np.swapaxes(y, -1, -2) if transpose_y else y,
        transpose_x=transpose_x,
        transpose_y=transpose_y,
    )

    np.testing.assert_allclose(found, np.matmul(x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("x", "y"), [((4,), (4,)), ((4,), (10, 4, 3)), ((10, 3, 4), (4,))])
def test_matmul_takes_vectors_and_never_transposes_them(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    a, b = _normal(*x), _normal(*y)

    found = call("matmul", x=a, y=b, transpose_x=len(x) == 1, transpose_y=len(y) == 1)

    np.testing.assert_allclose(found, np.matmul(a, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("equation", "x", "y"),
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("nchw,nwhu->nchu", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
        ("abc,cbd->abd", (3, 1, 5), (5, 4, 6)),
    ],
)
def test_einsum_multiplies_over_the_shared_axis(equation: str, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    a, b = _normal(*x), _normal(*y)

    # As matrices: the axis -2 becomes a batch axis.
    wanted = np.moveaxis(np.matmul(np.moveaxis(a, -2, -3), np.moveaxis(b, -2, -3)), -3, -2)

    np.testing.assert_allclose(call("einsum", values=[a, b], equation=equation), wanted, rtol=1e-5, atol=1e-5)


def test_all_agree_with_what_coremltools_folds() -> None:
    x, y, weight, bias = _normal(2, 3, 4), _normal(2, 5, 4), _normal(6, 4), _normal(6)

    def body(x: object, y: object) -> list[object]:
        return [
            Builder.linear(x=x, weight=weight, bias=bias),
            Builder.matmul(x=x, y=y, transpose_y=True),
            Builder.matmul(x=y, y=x, transpose_y=True),
        ]

    compare_with_folded(body, x, y, rtol=1e-5, atol=1e-5)


def test_einsum_runs_in_a_program() -> None:
    x, y = _normal(2, 3, 4, 5), _normal(2, 5, 4, 6)

    found = run(lambda x, y: Builder.einsum(values=(x, y), equation="nchw,nwhu->nchu"), x, y)[0]

    np.testing.assert_allclose(found, np.einsum("nchw,nwhu->nchu", x, y), rtol=1e-5, atol=1e-5)


def test_fp16_rounds_the_sum_and_not_its_terms() -> None:
    x, weight = np.float32([[2048, 1, 1]]), np.float32([[1, 1, 1], [32, 0, 0]])

    found = run(lambda x: Builder.linear(x=x, weight=weight), x, precision="fp16")[0]

    np.testing.assert_array_equal(found, [[2050, np.inf]])
