"""No value is larger than its bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.coreml import Evaluator
from parity.coreml.running.bounds import bound, computed
from parity.coreml.running.packing import gain
from tests.coreml.programs import Builder, convert

SHAPE = (1, 3, 5, 5)
CONSTANT = np.array([[[[-2.5]], [[0.5]], [[4.0]]]], np.float32)
STATISTICS = {
    "mean": np.array([1.0, -2.0, 0.0], np.float32),
    "variance": np.array([0.5, 4.0, 1e-3], np.float32),
    "gamma": np.array([-3.0, 1.0, 0.2], np.float32),
    "beta": np.array([0.0, 5.0, -5.0], np.float32),
}
OPERATIONS = {
    "add a constant": lambda x: Builder.add(x=x, y=CONSTANT),
    "from a constant": lambda x: Builder.sub(x=CONSTANT, y=x),
    "times a constant": lambda x: Builder.mul(x=x, y=CONSTANT),
    "add": lambda x: Builder.add(x=x, y=Builder.relu(x=x)),
    "sub": lambda x: Builder.sub(x=Builder.relu(x=x), y=x),
    "mul": lambda x: Builder.mul(x=x, y=Builder.relu(x=x)),
    "batch norm": lambda x: Builder.batch_norm(x=x, **STATISTICS),
    "clip": lambda x: Builder.clip(x=x, alpha=-0.5, beta=6.0),
    "gelu": lambda x: Builder.gelu(x=x),
    "silu": lambda x: Builder.silu(x=x),
    "leaky": lambda x: Builder.leaky_relu(x=x, alpha=-3.0),
    "hard sigmoid": lambda x: Builder.sigmoid_hard(x=x, alpha=2.0, beta=-1.0),
    "pad": lambda x: Builder.pad(x=x, pad=[0, 1, 2, 0], mode="constant", constant_val=50.0),
    "reflect": lambda x: Builder.pad(x=x, pad=[0, 1, 2, 0], mode="reflect"),
    "avg pool": lambda x: Builder.avg_pool(x=x, kernel_sizes=[2, 2], pad_type="same"),
    "max pool": lambda x: Builder.max_pool(x=x, kernel_sizes=[3, 3], pad_type="same"),
    "slice": lambda x: Builder.slice_by_index(x=x, begin=[0, 0, 1, 0], end=[1, 3, 4, 5]),
    "softmax": lambda x: Builder.softmax(x=x, axis=1),
    "mean": lambda x: Builder.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
    "concat": lambda x: Builder.concat(values=[x, Builder.relu(x=x)], axis=1),
    "transpose": lambda x: Builder.transpose(x=x, perm=[0, 2, 3, 1]),
    "conv": lambda x: Builder.conv(x=x, weight=weight(4, 3, 3, 3), bias=weight(4), pad_type="same"),
    "point": lambda x: Builder.conv(x=x, weight=weight(4, 3, 1, 1), bias=weight(4)),
    "linear": lambda x: Builder.linear(x=x, weight=weight(4, 5), bias=weight(4)),
}


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32) * 3


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=3),
    st.sampled_from(["fp32", "fp16"]),
    st.floats(0.125, 1e4, width=16),
    st.integers(0, 2**32 - 1),
)
def test_no_value_is_larger_than_its_bound(names: list[str], precision: str, size: float, seed: int) -> None:
    def body(x: Any) -> Any:
        for name in names:
            if x.rank == 4 and x.shape[1:] != SHAPE[1:]:
                break
            x = OPERATIONS[name](x)
        return Builder.relu(x=x)

    graph = Evaluator(convert(body, SHAPE, precision=precision), compile_after=None)._engine().plan.graph
    signs = torch.randint(0, 3, SHAPE, generator=torch.Generator().manual_seed(seed)) - 1.0
    values = {graph.inputs[0].name: signs * size} | dict(graph.constants)
    bounds = {name: float(value.abs().amax()) for name, value in values.items()}

    for node in graph.nodes:
        read = [values[name] for name in node.inputs]
        if node.type == "cast":  # of the program's boundary
            largest = bounds[node.inputs[0]]
        else:
            largest = bound(node, computed(node, [bounds[name] for name in node.inputs], read))
        for output, result in zip(node.outputs, node.run(*read), strict=True):
            peak = float(result.abs().amax())
            # The bound is a float32 sum too, in another order.
            assert peak <= largest * (1 + 1e-5), node.type
            assert not math.isnan(largest)
            values[output.name], bounds[output.name] = result, largest


def test_what_may_overflow_in_its_type_has_no_bound() -> None:
    def largest(precision: str) -> float:
        model = convert(lambda x: Builder.mul(x=x, y=np.float32(100.0)), SHAPE, precision=precision)
        (node,) = (n for n in Evaluator(model)._engine().plan.graph.nodes if n.type == "mul")
        return bound(node, computed(node, [1000.0], [torch.zeros(SHAPE)]))

    assert largest("fp32") == 1e5
    assert math.isinf(largest("fp16"))


def test_a_gain_is_the_largest_sum_of_a_filters_weights() -> None:
    filters = torch.tensor([[1.0, -2.0, 3.0], [4.0, 0.0, -1.0]])

    assert gain(filters, torch.tensor([0.5, -7.0])) == (6.0, 7.0)
    assert gain(filters, None) == (6.0, 0.0)


def test_a_largest_number_of_fp16_stays_one_and_what_is_above_does_not() -> None:
    model = convert(lambda x: Builder.relu(x=x), SHAPE, precision="fp16")
    (node,) = (n for n in Evaluator(model)._engine().plan.graph.nodes if n.type == "relu")

    assert bound(node, 65504.0) == 65504.0
    assert math.isinf(bound(node, 65505.0))
    assert math.isinf(bound(node, math.nan))
