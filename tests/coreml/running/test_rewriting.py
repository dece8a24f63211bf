"""Rewritten steps give what the steps give: the same bits in fp16, a few units in the last place for hard swish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from parity.coreml import Evaluator
from parity.coreml.running.fusing import Segment, _measure, _parts
from parity.coreml.running.rewriting import Piece, Row, rewrite
from tests.coreml.programs import Builder, convert

SHAPE = (1, 4, 12, 12)


def segment_of(body: Any, precision: str) -> tuple[Segment, dict[int, Any]]:
    # By itself coremltools would write some of these operations as others; to fp16 it does not come without passes.
    passes = "empty" if precision == "fp32" else None
    plan = Evaluator(convert(body, SHAPE, precision=precision, passes=passes), compile_after=None)._engine().plan
    (segment,) = (part for part in _parts(plan) if isinstance(part, Segment))
    first = len(plan.graph.inputs)
    return segment, {first + i: value for i, value in enumerate(plan.initial) if value is not None}


def pieces_of(segment: Segment, initial: dict[int, Any], x: torch.Tensor) -> list[Piece]:
    return rewrite(Row(segment.steps, segment.outputs, _measure(segment, initial, [x]).shapes))


def both(body: Any, precision: str) -> tuple[list[Piece], Segment, torch.Tensor, torch.Tensor]:
    """Return what a program is rewritten to, and what its steps and what these answer."""
    segment, initial = segment_of(body, precision)
    x = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * 4).half().float()
    pieces = pieces_of(segment, initial, x)
    (plain,) = segment.run(initial, [x], segment.outputs).values()
    (rewritten,) = segment.run(initial, [x], segment.outputs, pieces).values()
    return pieces, segment, plain, rewritten


def convolutions(x: Any, activation: Any, count: int = 4) -> Any:
    for index in range(count):
        weight = np.random.default_rng(index).standard_normal((4, 4, 3, 3)).astype(np.float32) / 3
        x = activation(Builder.conv(x=x, weight=weight, pad_type="custom", pad=[1, 1, 1, 1]))
    return x


@pytest.mark.parametrize(
    "activation",
    [
        lambda x: Builder.relu(x=x),
        lambda x: Builder.clip(x=x, alpha=0.0, beta=6.0),
        lambda x: Builder.clip(x=x, alpha=-0.1, beta=0.3),
        lambda x: Builder.relu6(x=x),
        lambda x: Builder.sigmoid(x=x),
        lambda x: x,
    ],
    ids=["relu", "clip", "clip at other numbers", "relu6", "sigmoid", "none"],
)
def test_fp16_is_rounded_to_the_same_bits(activation: Any) -> None:
    _, _, plain, rewritten = both(lambda x: convolutions(x, activation), "fp16")

    assert torch.equal(plain, rewritten)


def test_rounding_comes_behind_what_limits_a_value() -> None:
    pieces, segment, _, _ = both(lambda x: convolutions(x, lambda y: Builder.relu(x=y)), "fp16")

    x = torch.full(SHAPE, 1 / 3).half().float()
    (first,) = pieces[0].run(x)
    assert not torch.equal(first, first.half().float())  # a convolution's sums, as they are
    (second,) = pieces[1].run(first)
    assert torch.equal(second, second.half().float())
    assert segment.steps[1].node.type == "relu"


def test_a_value_that_others_read_too_is_rounded_before() -> None:
    def body(x: Any) -> Any:
        y = convolutions(x, lambda z: z, 4)
        return Builder.add(x=Builder.relu(x=y), y=y)

    pieces, segment, plain, rewritten = both(body, "fp16")

    assert torch.equal(plain, rewritten)
    (value,) = pieces[3].run(torch.full(SHAPE, 1 / 3))
    assert segment.steps[3].node.type == "conv"
    assert torch.equal(value, value.half().float())


@pytest.mark.parametrize("threshold", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_hard_swish_is_one_operation(threshold: bool, swapped: bool) -> None:
    def swish(x: Any) -> Any:
        x = Builder.thresholded_relu(x=x, alpha=-3.0) if threshold else x
        gate = Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)
        return Builder.mul(x=gate, y=x) if swapped else Builder.mul(x=x, y=gate)

    pieces, _, plain, rewritten = both(lambda x: convolutions(x, swish), "fp32")

    assert len(pieces) == 8
    torch.testing.assert_close(rewritten, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "swish",
    [
        lambda x: Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=0.2, beta=0.5)),
        lambda x: Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.4)),
        lambda x: Builder.mul(x=Builder.relu(x=x), y=Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)),
    ],
    ids=["another slope", "another offset", "of another value"],
)
def test_what_only_looks_like_a_hard_swish_stays(swish: Any) -> None:
    pieces, segment, plain, rewritten = both(lambda x: convolutions(x, swish), "fp32")

    assert len(pieces) == len(segment.steps)
    assert torch.equal(plain, rewritten)


@pytest.mark.parametrize("threshold", [False, True])
@pytest.mark.parametrize("slope", [1 / 6, 0.2])
def test_a_hard_swish_of_fp16_is_one_piece_and_rounds_twice(threshold: bool, slope: float) -> None:
    def swish(x: Any) -> Any:
        x = Builder.thresholded_relu(x=x, alpha=-3.0) if threshold else x
        return Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=slope, beta=0.5))

    pieces, segment, plain, rewritten = both(lambda x: convolutions(x, swish), "fp16")

    assert torch.equal(plain, rewritten)
    assert len(segment.steps) == (16 if threshold else 12)
    assert len(pieces) == 8
    x = torch.linspace(-5, 5, 576).reshape(SHAPE).half()
    gate = (x.float() * float(np.float16(slope)) + 0.5).clamp(0, 1).half()
    expected = torch.where(x < -3, 0, x) * gate if threshold else x * gate
    assert torch.equal(pieces[1].run(x.float())[0], expected.float())


def test_a_hard_swish_of_fp16_with_a_threshold_that_shows_stays() -> None:
    def swish(x: Any) -> Any:
        x = Builder.thresholded_relu(x=x, alpha=-1.0)
        return Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5))

    pieces, segment, plain, rewritten = both(lambda x: convolutions(x, swish), "fp16")

    assert len(pieces) == len(segment.steps)
    assert torch.equal(plain, rewritten)


def test_a_threshold_elsewhere_is_no_part_of_a_hard_swish() -> None:
    def swish(x: Any) -> Any:
        x = Builder.thresholded_relu(x=x, alpha=-1.0)
        return Builder.mul(x=x, y=Builder.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5))

    _, _, plain, rewritten = both(lambda x: convolutions(x, swish), "fp32")

    torch.testing.assert_close(rewritten, plain, rtol=1e-5, atol=1e-5)
