"""A compiled plan answers as its steps do, NaN included; what cannot be compiled goes the way of the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.coreml import Evaluator
from parity.coreml.program import Node, Value
from parity.coreml.running import fusing
from parity.coreml.running.fusing import Segment, can_fuse, fuse
from parity.coreml.running.plan import Plan, Step
from tests.coreml.programs import Builder, convert

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this build of PyTorch has no oneDNN graph compiler")

SHAPE = (1, 4, 12, 12)
ACTIVATIONS = {
    "relu": lambda x: Builder.relu(x=x),
    "clip": lambda x: Builder.clip(x=x, alpha=0.0, beta=6.0),
    "hard swish": lambda x: Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)),
    "silu": lambda x: Builder.silu(x=x),
    "gelu": lambda x: Builder.gelu(x=x),
    "threshold": lambda x: Builder.thresholded_relu(x=x, alpha=-3.0),
    "leaky": lambda x: Builder.leaky_relu(x=x, alpha=0.1),
    "none": lambda x: x,
}


def filters(*shape: int, seed: int) -> np.ndarray:
    """Draw weights that keep the size of what they are applied to."""
    scale = 1 / np.sqrt(np.prod(shape[1:]))
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def network(x: Any, activations: tuple[str, ...], residual: bool = True, scale: float = 1.0) -> Any:
    """Write convolutions in a row, 3 x 3 and 1 x 1 in turns, each with an activation; then a classifier's end."""
    for index, name in enumerate(activations):
        side = 3 if index % 2 else 1
        weight = filters(4, 4, side, side, seed=index) * np.float32(scale)
        y = ACTIVATIONS[name](Builder.conv(x=x, weight=weight, pad_type="same", bias=filters(4, 4, seed=9)[0]))
        x = Builder.add(x=x, y=y) if residual else y
    pooled = Builder.reduce_mean(x=x, axes=[2, 3], keep_dims=False)
    return Builder.softmax(x=Builder.linear(x=pooled, weight=filters(5, 4, seed=7)))


def evaluators(body: Any, precision: str = "fp32") -> tuple[Evaluator, Evaluator]:
    """Load a program twice: one that never compiles, and one that does so at once."""
    model = convert(body, SHAPE, precision=precision)
    return Evaluator(model, compile_after=None), Evaluator(model, compile_after=0)


def answer(evaluator: Evaluator, x: np.ndarray) -> np.ndarray:
    (values,) = evaluator.predict({evaluator.description.input[0].name: x}).values()
    return np.asarray(values)


def compiled(evaluator: Evaluator) -> list[Plan]:
    return list(evaluator._engine().compiled._plans.values())


def normal(seed: int = 0, size: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(SHAPE) * size).astype(np.float32)


rows = st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=4, max_size=6).map(tuple)


@settings(max_examples=12)
@given(rows, st.booleans())
def test_compiled_steps_answer_as_they_do_one_by_one(activations: tuple[str, ...], residual: bool) -> None:
    plain, quick = evaluators(lambda x: network(x, activations, residual))

    for seed in range(3):
        x = normal(seed)
        np.testing.assert_allclose(answer(quick, x), answer(plain, x), rtol=1e-4, atol=1e-5)

    (plan,) = compiled(quick)
    assert len(plan.steps) == 1


@settings(max_examples=8)
@given(rows)
def test_an_fp16_program_is_rounded_after_each_operation_when_compiled_too(activations: tuple[str, ...]) -> None:
    plain, quick = evaluators(lambda x: network(x, activations), precision="fp16")

    result, expected = answer(quick, normal()), answer(plain, normal())

    # Another order of summation moves a few sums to the next number of fp16, 5e-4 of them away.
    np.testing.assert_allclose(result, expected, atol=4e-3)
    np.testing.assert_array_equal(result, result.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize(("precision", "size"), [("fp32", np.inf), ("fp32", 1e38), ("fp32", np.nan), ("fp16", 6e4)])
def test_what_is_no_number_stays_none(activation: str, precision: str, size: float) -> None:
    plain, quick = evaluators(lambda x: network(x, (activation,) * 4, residual=False, scale=30.0), precision)
    answer(quick, normal())  # compiles for numbers of a usual size
    assert compiled(quick)
    x = np.full(SHAPE, size, np.float32)

    result, expected = answer(quick, x), answer(plain, x)

    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_pools_and_slices_are_compiled_too(precision: str) -> None:
    def body(x: Any) -> Any:
        x = Builder.relu(x=network_of_convolutions(x, 2))
        wide = Builder.pad(x=x, pad=[1, 2, 0, 1], mode="constant", constant_val=0.5)
        x = Builder.max_pool(x=wide, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1])
        x = Builder.avg_pool(x=x, kernel_sizes=[3, 3], pad_type="same", exclude_padding_from_average=True)
        x = Builder.slice_by_index(x=x, begin=[0, 0, 1, 0], end=[1, 4, 7, 6])
        return network_of_convolutions(x, 2, first=4)

    plain, quick = evaluators(body, precision)

    for seed in range(2):
        expected = answer(plain, normal(seed))
        allowed = 1e-5 if precision == "fp32" else 4e-3
        np.testing.assert_allclose(
            answer(quick, normal(seed)), expected, rtol=0, atol=allowed * np.abs(expected).max()
        )
    (plan,) = compiled(quick)
    assert len([step for step in plan.steps if step.node.type != "cast"]) == 1


def test_without_its_limits_a_compiled_plan_would_hide_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the limits are for: without them the compiler's relu answers zero, and this test would fail.
    monkeypatch.setattr(fusing, "_LEAST", {"fp16": np.inf, "fp32": np.inf})
    monkeypatch.setattr(fusing, "LARGEST", {"fp16": np.inf, "fp32": np.inf})
    monkeypatch.setattr(fusing, "COMPUTABLE", np.inf)
    plain, quick = evaluators(lambda x: network(x, ("relu",) * 4, residual=False))
    answer(quick, normal())
    x = np.full(SHAPE, np.inf, np.float32)

    assert np.isnan(answer(plain, x)).all()
    assert not np.isnan(answer(quick, x)).all()


def test_a_deep_network_of_fp32_is_looked_at_where_its_input_is() -> None:
    plain, _ = evaluators(lambda x: network(x, ("none", "relu", "clip", "hard swish", "none", "threshold")))
    plan = plain._engine().plan
    (segment,) = (part for part in fusing._parts(plan) if isinstance(part, Segment))

    measured = fusing._measure(segment, constants_of(plan), [torch.from_numpy(normal())])

    assert list(measured.limits) == list(segment.inputs)
    assert measured.finite


def test_what_no_limit_keeps_finite_is_not_compiled() -> None:
    def body(x: Any) -> Any:
        heavy = filters(4, 4, 1, 1, seed=1) * np.float32(1e30)
        x = Builder.conv(x=x, weight=heavy, pad_type="valid")
        return network(x, ("relu",) * 4, residual=False)

    plain, quick = evaluators(body)
    plan = plain._engine().plan
    (segment,) = (part for part in fusing._parts(plan) if isinstance(part, Segment))

    # A convolution of weights so large is infinite even for inputs of a usual size.
    assert not fusing._measure(segment, constants_of(plan), [torch.from_numpy(normal(size=1e7))]).finite
    np.testing.assert_array_equal(answer(quick, normal(size=1e7)), answer(plain, normal(size=1e7)))
    (chosen,) = compiled(quick)
    assert len(chosen.steps) == len(quick._engine().plan.steps)


def test_a_product_of_two_values_is_finite_or_goes_the_way_of_the_steps() -> None:
    def body(x: Any) -> Any:
        x = Builder.mul(x=network_of_convolutions(x, 4), y=np.float32(1e18))
        rows = Builder.reshape(x=x, shape=[1, 4, 144])
        # Infinity minus infinity, which the compiler's relu would make zero of.
        return Builder.relu(x=Builder.matmul(x=rows, y=rows, transpose_y=True))

    plain, quick = evaluators(body)

    result, expected = answer(quick, normal(size=1e4)), answer(plain, normal(size=1e4))

    assert not np.isfinite(expected).all()
    np.testing.assert_array_equal(result, expected)


def test_constants_that_a_step_gives_part_no_row() -> None:
    plain, _ = evaluators(lambda x: network(x, ("relu",) * 4))
    plan = plain._engine().plan
    node = Node("three", "const", (), (Value("three", "fp32", (1,)),), lambda: (torch.full((1,), 3.0),))
    last = len(plan.places)
    middle = len(plan.steps) // 2
    steps = (*plan.steps[:middle], Step(node, node.run, (), (last,), (last,)), *plan.steps[middle:])
    parted = replace(plan, steps=steps, initial=(*plan.initial, None))

    kinds = [type(part) for part in fusing._parts(parted)]

    assert kinds == [Step, Segment]


def constants_of(plan: Plan) -> dict[int, Any]:
    first = len(plan.graph.inputs)
    return {first + i: value for i, value in enumerate(plan.initial) if value is not None}


@pytest.fixture
def plan() -> tuple[Plan, list[torch.Tensor]]:
    evaluator = Evaluator(convert(lambda x: network(x, ("relu",) * 4), SHAPE), compile_after=None)
    return evaluator._engine().plan, [torch.from_numpy(normal())]


def test_steps_stay_where_the_compiler_fails(
    plan: tuple[Plan, list[torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("not this one")

    monkeypatch.setattr(torch.jit, "trace", fail)

    fused = fuse(*plan)

    assert fused is not None
    assert fused.steps == plan[0].steps


def test_steps_stay_where_the_compiler_answers_otherwise(
    plan: tuple[Plan, list[torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = torch.jit.trace

    def wrong(function: Any, examples: Any, **options: Any) -> Any:
        right = trace(function, examples, **options)
        return lambda *inputs: (right(*inputs)[0] * 1.01, right(*inputs)[1])

    monkeypatch.setattr(torch.jit, "trace", wrong)

    fused = fuse(*plan)

    assert fused is not None
    assert fused.steps == plan[0].steps


@pytest.mark.parametrize("black", [False, True])
def test_steps_stay_where_the_compiler_makes_a_constant_of_a_value(
    black: bool, plan: tuple[Plan, list[torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [torch.zeros_like(value) if black else value for value in plan[1]]
    trace = torch.jit.trace

    def frozen(function: Any, examples: Any, **options: Any) -> Any:
        right = trace(function, examples, **options)
        return lambda *_: right(*examples)

    monkeypatch.setattr(torch.jit, "trace", frozen)

    fused = fuse(plan[0], inputs)

    assert fused is not None
    assert fused.steps == plan[0].steps


def test_too_few_operations_are_not_worth_compiling() -> None:
    evaluator = Evaluator(convert(lambda x: network(x, ("relu",) * 2), SHAPE), compile_after=None)

    assert fuse(evaluator._engine().plan, [torch.from_numpy(normal())]) is None


def test_operations_that_do_not_fuse_part_the_segments() -> None:
    def body(x: Any) -> Any:
        x = Builder.relu(x=network_of_convolutions(x, 4))
        x = Builder.exp(x=x)
        return network_of_convolutions(x, 4, first=4)

    plain, quick = evaluators(body)

    np.testing.assert_allclose(answer(quick, normal()), answer(plain, normal()), rtol=1e-4, atol=1e-5)
    (plan,) = compiled(quick)
    assert [step.node.type for step in plan.steps] == ["relu", "exp", "conv"]
    segments = [part for part in fusing._parts(plain._engine().plan) if isinstance(part, Segment)]
    assert [len(segment.steps) for segment in segments] == [5, 4]


def network_of_convolutions(x: Any, count: int, first: int = 0) -> Any:
    for index in range(first, first + count):
        x = Builder.conv(x=x, weight=filters(4, 4, 3, 3, seed=index), pad_type="same")
    return x


@pytest.mark.parametrize("enabled", [False, True])
def test_the_users_own_setting_of_the_compiler_is_back_afterwards(
    plan: tuple[Plan, list[torch.Tensor]], enabled: bool
) -> None:
    binding: Any = torch._C
    before = binding._jit_llga_enabled()
    binding._jit_set_llga_enabled(enabled)
    try:
        fuse(*plan)
        assert binding._jit_llga_enabled() is enabled
    finally:
        binding._jit_set_llga_enabled(before)


@pytest.mark.parametrize(("precision", "compiles"), [("fp16", False), ("fp32", True)])
def test_values_that_no_cache_holds_are_not_rounded_in_compiled_steps(
    precision: str, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusing, "_CACHED", 4 * int(np.prod(SHAPE)) - 1)
    plain, quick = evaluators(lambda x: network(x, ("relu",) * 4), precision)

    np.testing.assert_allclose(answer(quick, normal()), answer(plain, normal()), rtol=1e-4, atol=1e-5)

    (plan,) = compiled(quick)
    assert (len(plan.steps) < len(quick._engine().plan.steps)) is compiles
