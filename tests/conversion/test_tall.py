"""What is computed of flat tensors in the place of tall ones is what PyTorch computes of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from conversion.respellings import for_coreml

Step = Callable[[torch.Tensor], Any]


def whole(*sizes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(sizes))
    return torch.randint(-50, 50, sizes, generator=generator).float()


@st.composite
def steps(draw: st.DrawFn, sizes: list[int]) -> Step:
    """Draw a function of tensors of these sizes, by one of its spellings."""
    rank = len(sizes)
    axis = draw(st.integers(-rank, rank - 1))
    other = draw(st.integers(0, rank - 1))
    place = draw(st.integers(-sizes[axis], sizes[axis] - 1))
    run = list(range(other, draw(st.integers(other, rank - 1)) + 1))
    order = draw(st.permutations(range(rank)))
    index = (draw(st.integers(0, sizes[0] - 1)), slice(0, 2), draw(st.integers(0, sizes[2] - 1)))
    broadcast = whole(*[draw(st.sampled_from([size, 1])) for size in sizes[other:]])
    ways: list[Step] = [
        lambda x: x.permute(order),
        lambda x: torch.permute(x, dims=order),
        lambda x: x.transpose(axis, other),
        lambda x: torch.transpose(x, dim0=axis, dim1=other),
        lambda x: x.swapaxes(axis, other),
        lambda x: x.unsqueeze(axis),
        lambda x: x.flatten(1, 3),
        lambda x: x.squeeze(axis),
        lambda x: x.select(axis, place),
        lambda x: torch.select(x, dim=axis, index=place),
        lambda x: x[place % sizes[0]],
        lambda x: x[index],
        lambda x: x[..., :1],
        lambda x: x.unbind(axis)[place],
        lambda x: torch.unbind(x, dim=axis)[place],
        lambda x: x.chunk(2, axis)[-1],
        lambda x: torch.split(x, 2, dim=axis)[-1],
        lambda x: x.split([1] * sizes[axis], axis)[place],
        lambda x: x.amax(axis),
        lambda x: x.amin(dim=run),
        lambda x: x.sum((axis, other)) if axis % rank != other else x.sum(axis),
        lambda x: torch.sum(x, run, keepdim=True),
        lambda x: x.amax(axis, keepdim=True),
        lambda x: x.sum(),
        lambda x: x + broadcast,
        lambda x: broadcast - x,
        lambda x: torch.mul(broadcast, x),
        lambda x: torch.sub(x, broadcast, alpha=2),
        lambda x: 3 - x,
        lambda x: x + x.amax(axis, keepdim=True),
        lambda x: x.relu().clone(),
        lambda x: functional.relu(-x),
        lambda x: x.contiguous(),
        lambda x: x.cumsum(axis),
        lambda x: torch.cat([x, x.neg(), broadcast.expand(sizes)], axis),
        lambda x: torch.stack([x, x.neg()], dim=axis),
        lambda x: x @ whole(sizes[-1], 2),
        lambda x: torch.matmul(x.transpose(-1, -2), x[:, :1]),
        lambda x: whole(*sizes[:-2], 2, sizes[-2]) @ x,
    ]
    return draw(st.sampled_from(ways))


@given(st.lists(st.integers(1, 3), min_size=6, max_size=7), st.data())
def test_two_steps_of_tall_tensors_are_those_of_pytorch(sizes: list[int], data: st.DataObject) -> None:
    flat = whole(*sizes).reshape(-1, sizes[-1])
    first = data.draw(steps(sizes))
    middle = first(flat.view(sizes))
    second: Step = data.draw(steps(list(middle.shape))) if middle.dim() >= 6 else torch.clone
    answer = second(middle).reshape(-1)

    with for_coreml():
        anew = second(first(flat.view(sizes))).reshape(-1)

    assert torch.equal(anew, answer)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.permute(3, 0, 4, 2, 1, 5),
        lambda x: x.transpose(-1, 0),
        lambda x: torch.transpose(x, dim0=1, dim1=4),
        lambda x: x.select(-2, 2),
        lambda x: torch.select(x, dim=4, index=-1),
        lambda x: x[1],
        lambda x: x[1, 1:, :, 0, 1::2],
        lambda x: x.unbind(4)[2],
        lambda x: torch.unbind(x, dim=-2)[1],
        lambda x: x.chunk(2, 4)[1],
        lambda x: torch.split(x, [1, 3], dim=4)[1],
        lambda x: x.amax((1, 2)),
        lambda x: x.amin(-2, keepdim=True),
        lambda x: x.sum((0, 2)),
        lambda x: torch.sum(x, dim=3),
        lambda x: x[:1].amax(2, keepdim=True) + x,
        lambda x: x - x.amax(4, keepdim=True),
        lambda x: x.amax(1, keepdim=True) * x.amax((3, 4), keepdim=True),
        lambda x: whole(4, 1) - x,
        lambda x: torch.cat(tensors=[x, x], dim=-2),
        lambda x: torch.stack([x[0], x[1]], -1),
        lambda x: torch.stack([whole(2, 2, 1, 4, 2), x[0]], -6),
        lambda x: torch.log_softmax(x, 3),
        lambda x: torch.matmul(x, whole(2, 3)),
        lambda x: x.amax(1, keepdim=True) @ whole(2, 2, 1, 1, 2, 5),
        lambda x: functional.linear(x, whole(3, 2), whole(3)),
        lambda x: functional.linear(input=x, weight=whole(3, 2)),
        lambda x: torch.einsum("abcdef,abcdeg->abcdfg", x, x),
        lambda x: torch.einsum("abcdef, fg -> gabcde", x, whole(2, 3)),
        lambda x: torch.einsum("abcdef,bcg->agdef", x, whole(2, 2, 3)),
        lambda x: torch.einsum("abcdef,abc->abcdef", x, whole(2, 2, 2)),
        lambda x: torch.einsum("abcdef,ghijef->abcdghij", x[:1, :1], x[:1, 1:]),
        lambda x: torch.einsum("abcdef->fedcba", x),
        lambda x: torch.einsum("abcdef,abcdeg->abcdfg", x, x[:1]),
        lambda x: torch.einsum("abcdef,bcg->ade", x, whole(2, 2, 3)),
    ],
)
def test_a_step_is_that_of_pytorch(step: Step) -> None:
    flat = whole(16, 4)

    with for_coreml():
        anew = step(flat.view(2, 2, 2, 1, 4, 2)).reshape(-1)

    assert torch.equal(anew, step(flat.view(2, 2, 2, 1, 4, 2)).reshape(-1))


@pytest.mark.parametrize(
    "step",
    [
        lambda x: torch.softmax(x, 3),
        lambda x: functional.softmax(x, dim=-1),
        lambda x: x.mean((2, 3)),
        lambda x: x.softmax(1).mean(dim=-1),
        lambda x: functional.layer_norm(x, (2,), whole(2), whole(2), 1e-6),
        lambda x: functional.layer_norm(x, [1, 4, 2]),
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda x: functional.silu(x) + functional.hardswish(x),
        lambda x: x.mean(dim=(0, 1), keepdim=True),
        lambda x: torch.div(x, 3, rounding_mode="floor"),
        lambda x: torch.softmax(x, 3, torch.float64),
        lambda x: x / (1 + x.exp()),
    ],
)
def test_what_rounds_is_what_pytorch_answers(step: Step) -> None:
    flat = whole(16, 4) / 50

    with for_coreml():
        anew = step(flat.view(2, 2, 2, 1, 4, 2)).reshape(-1)

    torch.testing.assert_close(anew, step(flat.view(2, 2, 2, 1, 4, 2)).reshape(-1))


def writes_to_the_tall(flat: torch.Tensor) -> torch.Tensor:
    tall = flat.view(2, 2, 2, 2, 2, 2).permute(5, 1, 2, 3, 4, 0)
    tall += 5
    return tall.reshape(-1)


def writes_to_the_base(flat: torch.Tensor) -> torch.Tensor:
    tall = flat.view(2, 2, 2, 2, 2, 2).permute(5, 1, 2, 3, 4, 0)
    flat.mul_(3)
    return tall.reshape(-1)


def writes_to_a_part(flat: torch.Tensor) -> torch.Tensor:
    tall = flat.view(2, 2, 2, 2, 2, 2).permute(5, 1, 2, 3, 4, 0)
    query, key = tall.unbind(0)
    query.mul_(3)
    return torch.cat([query.reshape(-1), key.reshape(-1), tall.reshape(-1)])


def writes_in_relu(flat: torch.Tensor) -> torch.Tensor:
    tall = flat.view(2, 2, 2, 2, 2, 2).permute(5, 1, 2, 3, 4, 0)
    functional.relu(tall, inplace=True)
    return tall.reshape(-1)


@pytest.mark.parametrize("case", [writes_to_the_tall, writes_to_the_base, writes_to_a_part, writes_in_relu])
def test_what_is_written_later_is_seen(case: Step) -> None:
    with for_coreml():
        anew = case(whole(8, 8))

    assert torch.equal(anew, case(whole(8, 8)))


@pytest.mark.parametrize("open_trace", [False, True])
def test_a_trace_holds_no_sizes_where_it_is_open(open_trace: bool) -> None:
    class Turned(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.view(-1, 2, 2, 2, 2, 2)[:, 1].reshape(-1, 4, 4)

    with for_coreml(open_trace):
        module = torch.jit.trace(Turned(), whole(1, 32))

    if open_trace:
        assert torch.equal(module(whole(3, 32)), Turned()(whole(3, 32)))
    else:
        assert torch.equal(module(whole(1, 32)), Turned()(whole(1, 32)))
