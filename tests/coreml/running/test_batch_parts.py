"""A large batch goes through compiled steps in parts, and only where every operation keeps images apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conversion.guards.quiet import chatter_to
from parity.coreml import Evaluator
from parity.coreml.running import fusing
from parity.coreml.running.batch_parts import in_parts, keeps_images_apart, part_size
from parity.coreml.running.fusing import _parts
from parity.coreml.running.graph_compiler import can_fuse
from parity.coreml.running.segments import Segment

IMAGES = 6
SHAPE = (IMAGES, 4, 12, 12)
BYTES = 4 * 4 * 12 * 12
Body = Callable[[torch.Tensor], torch.Tensor]


class Network(torch.nn.Module):
    """Convolve as often as compiling wants, with something behind the second convolution."""

    def __init__(self, behind: Body) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = torch.nn.ModuleList(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))
        self.behind = behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x).relu()
            x = self.behind(x) if index == 1 else x
        return x


# In each of them an image's answer depends on its neighbours, or on its place among them.
MIXING: dict[str, Body] = {
    "the mean of the batch": lambda x: x - x.mean(0, keepdim=True),
    "softmax over the batch": lambda x: x.softmax(0),
    "rows of the wrong axis": lambda x: x.reshape(-1, 576).t().reshape(-1, 4, 12, 12),
    "channels for images": lambda x: x.transpose(0, 1).reshape(-1, 4, 12, 12),
    "the first image beside all": lambda x: x + x[:1],
    "its neighbour": lambda x: x + torch.cat([x[1:], x[:1]]),
    "a shape with the number of images": lambda x: x.reshape(IMAGES, 576).reshape(IMAGES, 4, 12, 12),
}
APART: dict[str, Body] = {
    "nothing": lambda x: x,
    "softmax over channels": lambda x: x.softmax(1),
    "the mean of each": lambda x: x - x.mean((2, 3), keepdim=True),
    "a row for each": lambda x: x.reshape(-1, 576).reshape(-1, 4, 12, 12),
    "channels last and first again": lambda x: x.permute(0, 2, 3, 1).sigmoid().permute(0, 3, 1, 2),
    "a number for each channel": lambda x: x * torch.arange(4.0).reshape(4, 1, 1),
    "joined channels": lambda x: torch.cat([x, x.sigmoid()], 1)[:, 2:6],
}


def program(behind: Body, precision: str = "FLOAT32", images: int | None = None) -> Any:
    """Convert a network that takes any number of images, or so many."""
    size = ct.RangeDim(1, 2 * IMAGES, default=IMAGES) if images is None else images
    with chatter_to():
        return ct.convert(
            torch.jit.trace(Network(behind).eval(), torch.zeros(SHAPE), check_trace=False),
            inputs=[ct.TensorType("image", (size, *SHAPE[1:]))],
            compute_precision=getattr(ct.precision, precision),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def segment_of(model: Any) -> tuple[Segment, dict[int, Any]]:
    plan = Evaluator(model, compile_after=None)._engine().plan
    (segment,) = (part for part in _parts(plan) if isinstance(part, Segment))
    first = len(plan.graph.inputs)
    return segment, {first + i: value for i, value in enumerate(plan.initial) if value is not None}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("alike", [False, True], ids=["different images", "one image several times"])
def test_what_mixes_images_is_seen(name: str, alike: bool) -> None:
    segment, initial = segment_of(program(MIXING[name]))
    x = torch.from_numpy(images())

    assert not keeps_images_apart(segment, initial, [x[:1].expand(x.shape) if alike else x])


@pytest.mark.parametrize("name", APART)
def test_what_keeps_images_apart_is_seen(name: str) -> None:
    segment, initial = segment_of(program(APART[name]))

    assert keeps_images_apart(segment, initial, [torch.from_numpy(images())])


def test_a_single_image_has_no_parts() -> None:
    segment, initial = segment_of(program(APART["nothing"]))

    assert not keeps_images_apart(segment, initial, [torch.from_numpy(images())[:1]])


def test_a_file_that_declares_its_number_of_images_takes_no_other() -> None:
    segment, initial = segment_of(program(APART["nothing"], images=IMAGES))

    assert not keeps_images_apart(segment, initial, [torch.from_numpy(images())])


@pytest.mark.skipif(not can_fuse(), reason="this build of PyTorch has no oneDNN graph compiler")
@pytest.mark.parametrize(
    ("behind", "compiles"), [(APART["nothing"], True), (MIXING["the mean of the batch"], False)]
)
def test_a_batch_in_parts_answers_as_the_steps_do(
    behind: Body, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(fusing, "_CACHED", 2 * BYTES)
    monkeypatch.setattr(fusing, "in_parts", lambda run, size: sizes.append(size) or in_parts(run, size))
    model = program(behind, "FLOAT16")
    plain, quick = Evaluator(model, compile_after=None), Evaluator(model, compile_after=0)

    (expected,), (result,) = (list(one.predict({"image": images()}).values()) for one in (plain, quick))

    # Another order of summation moves a few sums to the next number of fp16.
    np.testing.assert_allclose(result, expected, rtol=2**-8, atol=2**-8)
    assert sizes == ([2] if compiles else [])


@given(st.integers(1, 40), st.integers(1, 1000), st.integers(1, 4000))
def test_a_part_is_the_largest_that_divides_the_batch_and_fits(count: int, one: int, most: int) -> None:
    size = part_size(count, count * one, most)

    assert count % size == 0
    assert size == 1 or size * one <= most
    assert not any(count % more == 0 and more * one <= most for more in range(size + 1, count + 1))


def test_parts_are_joined_in_their_order() -> None:
    values = torch.arange(12.0).reshape(6, 2)

    doubled, first = in_parts(lambda x: (2 * x, x[:, :1]), 2)(values)

    torch.testing.assert_close(doubled, 2 * values)
    torch.testing.assert_close(first, values[:, :1])
