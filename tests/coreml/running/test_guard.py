"""Values that are too large are refused before they are made, and what they were is told."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from parity.core.errors import CoreMLError, ParityError
from parity.core.memory import VARIABLE, memory_limit
from parity.coreml import Evaluator
from parity.coreml.running import guard
from parity.coreml.running.guard import Guard, ValueTooLargeError
from tests.coreml import networks
from tests.coreml.programs import Builder, convert, edited

MOST = 2**15


def size(n: Any) -> Any:
    return Builder.squeeze(x=Builder.mul(x=n, y=n))


BY_INPUT: dict[str, Callable[[Any], Any]] = {
    "fill": lambda n: Builder.fill(shape=Builder.concat(values=[n, n], axis=0), value=np.float32(1)),
    "tile": lambda n: Builder.tile(x=np.ones((1, 1), np.float32), reps=Builder.concat(values=[n, n], axis=0)),
    "range_1d": lambda n: Builder.range_1d(start=0, end=size(n), step=1),
    "one_hot": lambda n: Builder.one_hot(indices=np.int32([0, 1]), one_hot_vector_size=size(n)),
}


@pytest.mark.parametrize("kind", BY_INPUT)
def test_a_size_that_an_input_holds(kind: str) -> None:
    evaluator = Evaluator(convert(BY_INPUT[kind], np.int32([0])))
    name = evaluator.description.input[0].name
    assert evaluator.predict({name: np.int32([3])})
    # That a smaller one went well says nothing of 2^30 numbers.
    with pytest.raises(CoreMLError, match=rf"\({kind}\) fails: a value of the shape .* GiB, and one may have 1;"):
        evaluator.predict({name: np.int32([MOST])})


def declare(sizes: tuple[int, ...], place: int = 0) -> Callable[[Any], None]:
    def change(operations: Any) -> None:
        dimensions = operations[place].outputs[0].type.tensorType.dimensions
        for size, dimension in zip(sizes, dimensions, strict=True):
            dimension.constant.size = size

    return change


def test_a_program_that_declares_too_much_is_refused_when_it_is_read() -> None:
    """2^14 by 2^15 numbers took 2.4 GB, in a file of 2 kB."""
    model = convert(lambda x: Builder.relu(x=x), (2, 3), passes="empty")
    with pytest.raises(
        CoreMLError,
        match=r"operation `.*` \(relu\): a value of the shape \[16384, 32768\] takes 2 GiB, and one may",
    ):
        Evaluator(edited(model, declare((2**14, 2**15))))


def test_an_input_that_is_declared_too_large_is_refused_when_the_file_is_read() -> None:
    model = convert(lambda x: Builder.relu(x=x), (2, 3)).get_spec()
    (declared,) = model.mlProgram.functions["main"].inputs
    for dimension in declared.type.tensorType.dimensions:
        dimension.constant.size = 2**16
    model.description.input[0].type.multiArrayType.shape[:] = [2**16, 2**16]
    with pytest.raises(CoreMLError, match=r"the input `.*`: a value of the shape \[65536, 65536\] takes 16 GiB"):
        Evaluator(networks.Model(model))


def test_a_value_that_doubles_in_a_loop() -> None:
    def body(x: Any) -> Any:
        return Builder.while_loop(
            _cond=lambda i, v: Builder.less(x=i, y=np.int32(40)),
            _body=lambda i, v: (Builder.add(x=i, y=np.int32(1)), Builder.concat(values=[v, v], axis=0)),
            loop_vars=(np.int32(0), x),
        )[1]

    model = convert(body, (1 + 2**10,), passes="empty")
    with pytest.raises(CoreMLError, match=r"\(concat\) fails: a value of the shape .* and one may have 1"):
        Evaluator(model).predict({model.get_spec().description.input[0].name: np.ones(1 + 2**10, np.float32)})


LAYERS: dict[str, Callable[[Any], None]] = {
    "fillStatic": lambda b: b.add_fill_static("l", "y", [2**15, 2**15], 1.0),
    "tile": lambda b: b.add_tile("l", "x", "y", [2**15, 2**15]),
    "upsample": lambda b: b.add_upsample("l", 2**15, 2**15, "x", "y"),
    "padding": lambda b: b.add_padding("l", left=2**28, input_name="x", output_name="y"),
    "constantPad": lambda b: b.add_constant_pad("l", ["x"], "y", 0.0, pad_amounts=[0, 2**28, 0, 0, 0, 0]),
    "rangeStatic": lambda b: b.add_range_static("l", "y", end=2**29, start=0, step=1),
    "broadcastToStatic": lambda b: (
        b.add_broadcast_to_static("e", "x", "e", [2**15, 2**15, 2, 2]),
        b.add_unary("l", "e", "y", "abs"),
    ),
    "broadcastToStatic, of which one number is left": lambda b: (
        b.add_broadcast_to_static("e", "x", "e", [2**15, 2**15, 2, 2]),
        b.add_slice_static("l", "e", "y", [0] * 4, [1] * 4, [1] * 4, [False] * 4, [False] * 4),
    ),
    "broadcastToDynamic": lambda b: (
        b.add_load_constant_nd("s", "s", np.array([2**15, 2**15, 2, 2]), (4,)),
        b.add_broadcast_to_dynamic("e", ["x", "s"], "e"),
        b.add_slice_static("l", "e", "y", [0] * 4, [1] * 4, [1] * 4, [False] * 4, [False] * 4),
    ),
    "addBroadcastable": lambda b: (
        b.add_tile("t", "x", "t", [1, 2**15, 1]),
        b.add_transpose("u", [1, 0, 2], "t", "u"),
        b.add_tile("v", "u", "v", [2**15, 1, 1]),
        b.add_add_broadcastable("l", ["t", "v"], "y"),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_that_asks_for_too_much(kind: str) -> None:
    with pytest.raises(
        CoreMLError, match=r"operation `.*` \(.*\) fails: a value of the shape .* and one may have 1;"
    ):
        networks.run(LAYERS[kind], x=np.ones((1, 2, 2)))


COPIES: dict[str, Callable[[], Any]] = {
    "outer sum": lambda: torch.ones(2**17, 1) + torch.ones(2**17),
    "outer product": lambda: torch.ones(2**17, 1) @ torch.ones(1, 2**17),
    "einsum": lambda: torch.einsum("i,j->ij", torch.ones(2**17), torch.ones(2**17)),
    "convolution": lambda: torch.conv2d(torch.ones(1, 1, 9, 9), torch.ones(1, 1, 3, 3), padding=2**16),
    "transposed": lambda: torch.conv_transpose2d(torch.ones(1, 1, 9, 9), torch.ones(1, 1, 3, 3), stride=2**16),
    "gather": lambda: torch.ones(1, 2**16).index_select(0, torch.zeros(2**16, dtype=torch.long)),
    "stack": lambda: torch.stack([torch.ones(2**20)] * 2**10),
    "contiguous": lambda: torch.ones(1).expand(2**40).contiguous(),
    "reshape": lambda: torch.ones(1, 1).expand(2**20, 2**20).reshape(-1),
    "random": lambda: torch.rand(2**40),
}


@pytest.mark.parametrize("kind", COPIES)
def test_every_way_to_make_a_large_value_of_small_ones(kind: str) -> None:
    with torch.inference_mode(), Guard(), pytest.raises(ValueTooLargeError):
        COPIES[kind]()


def test_what_is_no_copy_and_what_reads_its_content_pass() -> None:
    with torch.inference_mode(), Guard():
        assert torch.ones(1).expand(2**40).shape == (2**40,)
        assert torch.nonzero(torch.ones(3)).tolist() == [[0], [1], [2]]


def test_nothing_is_drawn_twice() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with Guard():
        assert torch.equal(torch.rand(3), expected)


def test_the_limit_can_be_raised_and_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convert(lambda x: Builder.relu(x=x), (2, 3), passes="empty")
    monkeypatch.setenv(VARIABLE, "1e-9")
    with pytest.raises(CoreMLError, match=r"\(relu\): a value of the shape \[2, 3\]"):
        Evaluator(model)
    monkeypatch.setenv(VARIABLE, "inf")
    assert memory_limit() >= 2**63
    monkeypatch.setenv(VARIABLE, "2")
    assert memory_limit() == 2**31


windows = st.integers(1, 5).flatmap(lambda window: st.tuples(st.just(window), st.integers(0, window // 2)))


@given(
    st.sampled_from(["avg_pool", "max_pool"]),
    st.lists(st.tuples(st.integers(1, 4), windows), min_size=1, max_size=3),
)
def test_a_pool_gives_at_most_so_many_times_what_it_reads(
    kind: str, axes: list[tuple[int, tuple[int, int]]]
) -> None:
    sizes = [size for size, _ in axes]
    windows, padding = ([window[place] for _, window in axes] for place in (0, 1))
    name = f"{kind}{len(axes)}d"

    try:
        result = getattr(torch.nn.functional, name)(torch.ones(1, 1, *sizes), windows, 1, padding)
    except RuntimeError:  # a window that is larger than the image
        reject()

    assert result.numel() <= guard._AT_MOST[name] * math.prod(sizes)


TOO_LARGE = {
    "cat": lambda: torch.cat([torch.ones(1).expand(2**28)] * 2),
    "linear": lambda: torch.nn.functional.linear(torch.ones(2**15, 1), torch.ones(2**15, 1), torch.ones(2**15)),
    "linear without a bias": lambda: torch.nn.functional.linear(torch.ones(2**15, 1), torch.ones(2**15, 1)),
    "mm": lambda: torch.ones(2**15, 1) @ torch.ones(1, 2**15),
    "addmm": lambda: torch.addmm(torch.ones(2**15), torch.ones(2**15, 1), torch.ones(1, 2**15)),
    "pool": lambda: torch.nn.functional.max_pool2d(torch.ones(1).expand(1, 1, 2**14, 2**14 + 1), 2, 1, 1),
    "softmax": lambda: torch.softmax(torch.ones(1).expand(2**28 + 1), 0),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
@pytest.mark.parametrize("inference", [False, True])
def test_what_is_not_asked_for_its_shape_is_refused_all_the_same(kind: str, inference: bool) -> None:
    with torch.inference_mode(inference), pytest.raises(ValueTooLargeError), Guard():
        TOO_LARGE[kind]()


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, 3), (3,))])
def test_factors_that_do_not_fit_are_told_by_the_product(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(RuntimeError), Guard():
        torch.mm(*map(torch.ones, shapes))


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ParityError, match=rf"PARITY_MEMORY_LIMIT={text}: give the GiB"):
        memory_limit()


def test_a_prediction_does_not_load_the_compiler_of_torch(tmp_path: Path) -> None:
    """Which takes longer than all of a small network's predictions."""
    weight = np.ones((4, 3, 3, 3), np.float32)

    def body(x: Any) -> Any:
        x = Builder.clip(x=Builder.conv(x=Builder.sub(x=x, y=np.float32(1)), weight=weight), alpha=0.0, beta=6.0)
        x = Builder.layer_norm(x=Builder.concat(values=[x, Builder.relu(x=x)], axis=2), axes=[3])
        x = Builder.max_pool(
            x=Builder.avg_pool(x=x, kernel_sizes=[2, 2], pad_type="same"), kernel_sizes=[3, 3], pad_type="valid"
        )
        pooled = Builder.reduce_mean(x=Builder.mul(x=x, y=x), axes=[2, 3], keep_dims=False)
        return Builder.softmax(x=Builder.linear(x=pooled, weight=np.ones((5, 4), np.float32), bias=np.ones(5)))

    path = tmp_path / "m.mlpackage"
    convert(body, (1, 3, 8, 8), precision="fp16").save(str(path))
    code = (
        "import sys, numpy\n"
        "from parity.coreml import Evaluator\n"
        f"evaluator = Evaluator({str(path)!r})\n"
        "name = evaluator.description.input[0].name\n"
        "evaluator.predict({name: numpy.ones((1, 3, 8, 8), numpy.float32)})\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-P", "-c", code], check=True)
