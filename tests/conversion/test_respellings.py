"""What is spelled anew answers as PyTorch's own, and converts by both front ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional

from conversion import convert
from conversion.frontends import exported, traced
from conversion.guards.quiet import chatter_to, import_coremltools
from conversion.respellings import attention, fold, for_coreai, for_coreml, set_item, unfold
from conversion.shapes import OpenAxes
from parity.coreml import Evaluator
from tests.conversion.classifiers import answers, expected, photos, tiny

NUMBER = st.integers(1, 4)
PAIR = st.tuples(NUMBER, NUMBER)


class Through(torch.nn.Module):
    def __init__(self, operation: Callable[[Any], Any]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.operation(values)


def whole(*sizes: int) -> torch.Tensor:
    """Make floats that are whole numbers: sums of them are exact in any order."""
    generator = torch.Generator().manual_seed(len(sizes) + sum(sizes))
    return torch.randint(-50, 50, sizes, generator=generator).float()


@given(st.lists(NUMBER, min_size=1, max_size=4), st.data())
def test_windows_are_those_of_pytorch(sizes: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(sizes), len(sizes) - 1))
    size, step = data.draw(st.integers(1, sizes[axis])), data.draw(NUMBER)
    values = whole(*sizes)

    assert torch.equal(unfold(values, axis, size, step), values.unfold(axis, size, step))


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), PAIR, st.none() | PAIR, st.data())
def test_averages_are_those_of_pytorch(
    sizes: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int] | None, data: st.DataObject
) -> None:
    pads = tuple(data.draw(st.integers(0, length // 2)) for length in kernel)
    assume(all(size + 2 * pad >= length for size, pad, length in zip(sizes, pads, kernel, strict=True)))
    settings = (kernel, stride, pads, data.draw(st.booleans()), data.draw(st.booleans()))
    divisor = data.draw(st.sampled_from([None, 3]))
    values = whole(2, 3, *sizes)

    with for_coreai():
        answer = functional.avg_pool2d(values, *settings, divisor_override=divisor)

    torch.testing.assert_close(answer, functional.avg_pool2d(values, *settings, divisor_override=divisor))


def test_zeros_in_fp16_are_normalised_to_zeros() -> None:
    values = torch.tensor([[0.0, 0.0], [3.0, 4.0]])

    with for_coreai():
        answer = functional.normalize(values.half(), dim=-1)
        plain = functional.normalize(values, dim=-1)

    torch.testing.assert_close(answer.float(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]), atol=2**-11, rtol=0)
    assert torch.equal(plain, functional.normalize(values, dim=-1))


@pytest.mark.parametrize("size", [1, (1, 1), (2, 1), (None, 1)])
def test_the_average_of_all_is_that_of_pytorch(size: Any) -> None:
    values = whole(2, 3, 4, 6).to(memory_format=torch.channels_last)

    with for_coreai():
        answer = functional.adaptive_avg_pool2d(values, size)

    assert torch.equal(answer, functional.adaptive_avg_pool2d(values, size))


@pytest.mark.parametrize(
    ("pool", "shape"), [("adaptive_avg_pool1d", (2, 3, 4)), ("adaptive_avg_pool3d", (2, 3, 4, 2, 2))]
)
def test_the_average_over_other_axes_is_that_of_pytorch(pool: str, shape: tuple[int, ...]) -> None:
    values, average = whole(*shape), getattr(functional, pool)

    with for_coreai():
        answer = average(values, 1)

    assert torch.equal(answer, average(values, 1))


def test_a_number_of_no_axis_has_the_windows_of_pytorch() -> None:
    with for_coreml():
        windows = torch.tensor(3.0).unfold(0, 1, 1)

    assert torch.equal(windows, torch.tensor([3.0]))


@given(PAIR, PAIR, PAIR, PAIR, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from([None, 1, 2]))
def test_blocks_add_up_as_those_of_pytorch(
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
    output: tuple[int, int],
    batch: int | None,
) -> None:
    counts = [
        (o + 2 * p - d * (k - 1) - 1) // s + 1
        for o, p, d, k, s in zip(output, padding, dilation, kernel, stride, strict=True)
    ]
    assume(min(counts) > 0)
    blocks = whole(*([batch] if batch else []), 2 * kernel[0] * kernel[1], counts[0] * counts[1])
    settings = (output, kernel, dilation, padding, stride)

    assert torch.equal(fold(blocks, *settings), functional.fold(blocks, *settings))


def test_blocks_of_one_number_for_both_axes() -> None:
    blocks = whole(1, 9, 16)

    assert torch.equal(fold(blocks, 4, 3, padding=1), functional.fold(blocks, 4, 3, padding=1))


def test_a_tensor_may_be_named() -> None:
    with for_coreml():
        blocks = functional.fold(input=whole(1, 9, 16), output_size=4, kernel_size=3, padding=1)
        turned = torch.swapaxes(input=whole(2, 3), axis0=0, axis1=1)

    assert torch.equal(blocks, functional.fold(whole(1, 9, 16), 4, 3, padding=1))
    assert torch.equal(turned, whole(2, 3).T)


@given(st.lists(NUMBER, min_size=2, max_size=4), NUMBER, NUMBER, NUMBER, st.sampled_from(["", "causal", "mask"]))
def test_attention_of_many_axes_is_that_of_pytorch(
    batch: list[int], queries: int, keys: int, width: int, kind: str
) -> None:
    parts = [whole(*batch, count, width) / 50 for count in (queries, keys, keys)]
    mask = whole(queries, keys) / 50 if kind == "mask" else None
    settings = {"attn_mask": mask, "is_causal": kind == "causal"}

    anew = attention(*parts, **settings)

    if len(batch) < 3:
        assert anew is NotImplemented
    else:
        torch.testing.assert_close(anew, functional.scaled_dot_product_attention(*parts, **settings))


def test_attention_that_broadcasts_stays_as_it_is() -> None:
    one, two = torch.ones(1, 1, 2, 3, 4), torch.ones(2, 1, 2, 3, 4)

    assert attention(one, two, two) is NotImplemented
    assert attention(two, two, two, torch.ones(2, 1, 2, 3, 3)) is NotImplemented


@st.composite
def places(draw: st.DrawFn) -> tuple[list[int], tuple[int | slice, ...], list[int]]:
    """Draw sizes, an index of places and slices, and the sizes of a part that fits there."""
    sizes = draw(st.lists(NUMBER, min_size=1, max_size=4))
    index: list[int | slice] = []
    for size in sizes[: draw(st.integers(1, len(sizes)))]:
        start = draw(st.integers(0, size - 1))
        index.append(draw(st.sampled_from([start, start - size, slice(start, None), slice(None)])))
    fitting = list(torch.zeros(sizes)[tuple(index)].shape)
    ones = [draw(st.sampled_from([size, 1])) for size in fitting]
    return sizes, tuple(index), ones[draw(st.integers(0, len(ones))) :]


@given(places(), st.sampled_from([torch.int64, torch.float32]))
def test_what_is_written_at_a_place_is_there(
    drawn: tuple[list[int], tuple[int | slice, ...], list[int]], kind: torch.dtype
) -> None:
    sizes, index, fitting = drawn
    part = whole(*fitting)
    values, anew = torch.zeros(sizes, dtype=kind), torch.zeros(sizes, dtype=kind)
    values[index] = part

    if set_item(anew, index, part) is NotImplemented:
        assert not any(isinstance(item, int) for item in index)
    else:
        assert torch.equal(anew, values)


@pytest.mark.parametrize("index", [torch.tensor([True, False]), None, ..., True, ([0, 1], 0)])
def test_what_is_no_place_is_left_to_pytorch(index: Any) -> None:
    values, anew = torch.zeros(2, 3), torch.zeros(2, 3)
    values[index] = 4

    with for_coreml():
        anew[index] = 4

    assert torch.equal(anew, values)


def test_pytorch_refuses_a_part_that_does_not_fit() -> None:
    with for_coreml(), pytest.raises(RuntimeError, match=r"expanded|size|shape"):
        torch.zeros(2, 3)[0] = torch.ones(1, 2, 3)


def written(values: Any) -> Any:
    table = torch.zeros((3, 3), dtype=torch.int64)
    table[1:, 1:] = torch.arange(4).reshape(2, 2)
    table[0, 0:] = 7
    table[0:, -1] = torch.tensor([1, 2, 3])
    table[0, 0] = values.shape[1] - 2
    return values[:, table.view(-1)]


def windowed_attention(values: Any) -> Any:
    """Attend in windows as timm's hiera does: six axes, permuted and taken apart."""
    parts = values.reshape(1, 4, 2, 3, 2, 2).permute(3, 0, 4, 2, 1, 5)
    query, key, value = parts.unbind(0)
    query = query.view(1, 2, 2, 2, -1, 2).amax(dim=3)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 3).reshape(1, -1, 4)


def placed_attention(values: Any) -> Any:
    """Add what rows and columns weigh as timm's mvitv2 does."""
    rows, columns = (
        values.reshape(2, 4, 4, 3)[:1, :, :, :].unsqueeze(1),
        values.reshape(2, 4, 4, 3)[1:].unsqueeze(1),
    )
    grid = torch.cat([values, values, values], 1)[:, :144].reshape(1, 1, 16, 9) + 1
    return (grid.view(1, -1, 4, 4, 3, 3) + rows.unsqueeze(-1) + columns.unsqueeze(-2)).view(1, -1, 16, 9)


def shared_out(values: Any) -> Any:
    tall = values.view(1, 2, 2, 3, 2, 4).transpose(2, 4)
    one, other = (tall.softmax(dim=3) * 2 - 1).chunk(2, dim=1)
    return torch.cat([one[0, :, 1].flatten(1), other.sum((2, 3)).squeeze(1).reshape(1, 1, -1).flatten(1)], 1)


def joined(values: Any) -> Any:
    tall = values.view(1, 2, 2, 3, 2, 4)
    both = torch.cat([tall, tall.transpose(1, 2)], dim=2)
    products = both @ both.transpose(-1, -2)
    return torch.stack([products.cumsum(3), torch.einsum("abcdef,abcdge->abcdgf", products, products)]).flatten(1)


def grouped(values: Any) -> Any:
    """Project what lies in windows as timm's twins_svt does."""
    tall = values.view(1, 2, 2, 3, 2, 4).transpose(2, 3)
    weight = torch.arange(24.0).view(6, 4) / 24
    # So large an epsilon that dividing by what is small magnifies no rounding.
    normed = functional.layer_norm(functional.linear(tall, weight), (6,), eps=0.1)
    return functional.gelu(normed).reshape(1, 12, 2, 6)


CASES: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "windows": (lambda x: x.unfold(2, 3, 2), (1, 2, 8, 5)),
    "windows of both axes": (lambda x: x.unfold(2, 4, 2).unfold(3, 4, 2).reshape(1, 2, 6, -1), (1, 2, 8, 6)),
    "blocks": (lambda x: functional.fold(x, (7, 6), (3, 3), padding=1, stride=2), (2, 18, 12)),
    "places": (written, (1, 9)),
    "windowed attention": (windowed_attention, (1, 96)),
    "placed attention": (placed_attention, (1, 96)),
    "shares": (shared_out, (1, 96)),
    "products": (joined, (1, 96)),
    "rows": (grouped, (1, 96)),
}


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[None]:
    with chatter_to(tmp_path / "log"):
        yield


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("case", CASES)
def test_it_converts_and_answers_as_pytorch(case: str, frontend: str, quiet: None) -> None:
    ct = import_coremltools()
    operation, sizes = CASES[case]
    module, values = Through(operation).eval(), whole(*sizes) / 50
    if frontend == "trace":
        program = traced(module, values, OpenAxes())
        inputs = {"inputs": [ct.TensorType(name="values", shape=sizes)]}
    else:
        program, inputs = exported(ct, module, values, OpenAxes()), {}

    model = ct.convert(
        program, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32, skip_model_load=True, **inputs
    )

    (answer,) = Evaluator(model).predict({"values": values.numpy()}).values()
    np.testing.assert_allclose(answer, module(values).numpy(), rtol=2e-6, atol=2e-6)


def test_attention_of_five_axes_converts_to_onnx(tmp_path: Path) -> None:
    class Windows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 8, 4, stride=4)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            tokens = self.stem(image).flatten(2).transpose(1, 2)
            parts = tokens.reshape(tokens.shape[0], 1, 4, 16, 8)
            return functional.scaled_dot_product_attention(parts, parts, parts).mean(dim=(1, 2, 3))

    torch.manual_seed(0)
    classifier = tiny(module=Windows().eval())

    artifact = convert(classifier, "onnx", tmp_path)

    np.testing.assert_allclose(answers(artifact, photos(3)), expected(classifier, photos(3)), rtol=0, atol=5e-6)
