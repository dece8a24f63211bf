"""onnx's own convolution with windows that are views: the same bits, and the same refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_conv import im2col

from parity.backends.onnx_reference import evaluator_of, window_columns


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[int], list[int]]:
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    pads = draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    strides = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    sizes = [draw(st.integers(size, size + 3)) for size in kernel]
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape), kernel, pads, strides


@given(windows())
def test_columns_are_those_of_onnx(drawn: tuple[np.ndarray, list[int], list[int], list[int]]) -> None:
    columns, counts = window_columns(*drawn)
    expected, shape = im2col(*drawn)

    np.testing.assert_array_equal(columns, expected)
    assert counts == shape


def convolution(shape: tuple[int, ...], filters: tuple[int, ...], **attributes: Any) -> onnx.ModelProto:
    weight = np.random.default_rng(1).standard_normal(filters).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(np.arange(filters[0], dtype=np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("shape", "filters", "attributes"),
    [
        ((2, 4, 9, 8), (6, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ((1, 4, 9, 8), (8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((1, 4, 9, 8), (6, 2, 3, 2), {"group": 2, "dilations": [2, 3]}),
        ((1, 4, 9, 8), (6, 4, 1, 1), {}),
        ((1, 4, 9, 8), (6, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 4, 9, 8), (6, 4, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ((2, 3, 11), (5, 3, 4), {"pads": [2, 1]}),
        ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"strides": [1, 2, 2]}),
    ],
)
def test_a_convolution_has_the_bits_of_onnx(
    shape: tuple[int, ...], filters: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    model = convolution(shape, filters, **attributes)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    (result,) = evaluator_of(model).run(None, {"x": x})
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})

    np.testing.assert_array_equal(result, expected)
    assert result.dtype == expected.dtype


@pytest.mark.parametrize("shape", [(1, 3), (1, 5, 9, 8)], ids=["no spatial axis", "other channels"])
def test_what_onnx_refuses_is_refused(shape: tuple[int, ...]) -> None:
    model = convolution(shape, (6, 4, 3, 3))
    x = np.zeros(shape, np.float32)

    for evaluator in (evaluator_of(model), ReferenceEvaluator(model)):
        with pytest.raises(ValueError, match="must have at least 3 dimensions|Shape inconsistencies"):
            evaluator.run(None, {"x": x})
