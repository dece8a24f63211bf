from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.coreml.networks import close, normal, run

_W, _B = normal(5, 24, seed=1), normal(5, seed=2)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 3, 24)])
def test_inner_product_takes_the_last_axis_up_to_rank_3(shape: tuple[int, ...], bias: bool) -> None:
    x = normal(*shape)

    found = run(lambda b: b.add_inner_product("i", _W, _B if bias else None, 24, 5, bias, "x", "y"), x=x)

    close(found, x @ _W.T + (_B if bias else 0), 1e-5)


@pytest.mark.parametrize("shape", [(3, 2, 3, 4), (2, 3, 2, 3, 4)])
def test_inner_product_takes_the_last_three_axes_from_rank_4(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    lead = shape[:-3]

    found = run(lambda b: b.add_inner_product("i", _W, _B, 24, 5, True, "x", "y"), x=x)

    close(found, (x.reshape(*lead, 24) @ _W.T + _B).reshape(*lead, 5, 1, 1), 1e-5)


def test_inner_product_with_weights_of_three_bits() -> None:
    # 0 1 2 3 4 5, three bits each: 000001010011100101 and six bits of filling.
    packed = bytes([0b00000101, 0b00111001, 0b01000000])

    def add(b: Any) -> None:
        b.add_inner_product("i", np.zeros((2, 3)), None, 3, 2, False, "x", "y")
        weights = b.nn_spec.layers[0].innerProduct.weights
        weights.ClearField("floatValue")
        weights.rawValue = packed
        weights.quantization.numberOfBits = 3
        weights.quantization.linearQuantization.scale.extend([11, 2])
        weights.quantization.linearQuantization.bias.extend([-2, 10])

    # 1 * -2 + 3 * 9 + 5 * 20 and 1 * 16 + 3 * 18 + 5 * 20
    close(run(add, x=[1, 3, 5]), [125, 170])


def test_inner_product_with_dynamic_quantization_uses_the_rounded_weights() -> None:
    weights = np.array([[-128, 127], [1, 0]], np.int8)

    def add(b: Any) -> None:
        b.add_inner_product(
            "i", weights.tobytes(), None, 2, 2, False, "x", "y", int_8_dynamic_quantize=True,
            is_quantized_weight=True, quantization_type="linear", nbits=8, quant_scale=np.array([0.5]),
        )  # fmt: skip

    close(run(add, x=[2, 4]), [-128 + 254, 1])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4, 3), (3, 5)),
        ((2, 4, 3), (3, 5)),
        ((2, 1, 4, 3), (6, 3, 5)),
        ((3,), (3, 5)),
        ((4, 3), (3,)),
        ((3,), (3,)),
    ],
)
def test_matrices_broadcast_and_vectors_become_rows_and_columns(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, z = normal(*a), normal(*b, seed=1)
    left, right = x[None] if x.ndim == 1 else x, z[:, None] if z.ndim == 1 else z

    close(run(lambda n: n.add_batched_mat_mul("m", ["x", "z"], "y"), x=x, z=z), left @ right, 1e-5)


def test_matrices_may_be_transposed() -> None:
    x, z = normal(2, 3, 4), normal(2, 5, 3, seed=1)

    found = run(lambda n: n.add_batched_mat_mul("m", ["x", "z"], "y", transpose_a=True, transpose_b=True), x=x, z=z)

    close(found, x.transpose(0, 2, 1) @ z.transpose(0, 2, 1), 1e-5)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_stored_matrix_is_kept_column_by_column(shape: tuple[int, ...], bias: bool) -> None:
    x, w, b = normal(*shape), normal(3, 5, seed=1), normal(5, seed=2)

    def add(n: Any) -> None:
        n.add_batched_mat_mul(
            "m", ["x"], "y", weight_matrix_rows=3, weight_matrix_columns=5, W=w, bias=b if bias else None
        )
        assert n.nn_spec.layers[0].batchedMatmul.weights.floatValue[1] == w[1, 0]

    close(run(add, x=x), x @ w + (b if bias else 0), 1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_embedding(bias: bool) -> None:
    w, b = normal(4, 6), normal(4, seed=1)  # the builder takes [C_out, words]
    x = np.array([[5, 0], [2, 2]]).reshape(2, 2, 1, 1, 1)
    expected = np.stack([w[:, i] + (b if bias else 0) for i in (5, 0, 2, 2)]).reshape(2, 2, 4, 1, 1)

    close(
        run(lambda n: n.add_embedding("e", w, b if bias else None, 6, 4, bias, "x", "y"), rank5=True, x=x), expected
    )


def test_embedding_nd() -> None:
    w, b = normal(4, 6), normal(4, seed=1)

    found = run(lambda n: n.add_embedding_nd("e", "x", "y", 6, 4, W=w, b=b), x=[[[5], [0], [1]]])

    close(found, [[w[:, 5] + b, w[:, 0] + b, w[:, 1] + b]])
