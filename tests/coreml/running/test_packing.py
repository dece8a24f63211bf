"""Packed weights give what the plain convolution gives; padding that a convolution does itself changes nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.coreml import Evaluator
from parity.coreml.running import packing
from parity.coreml.running.packing import Convolution, PackedMatrix, PackedWeights, Pointwise, make_convolution
from tests.coreml.networks import Model, specify
from tests.coreml.programs import evaluator


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, Any]:
    groups = draw(st.sampled_from([1, 2, 4]))
    channels, filters = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    strides, dilations = (draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    sizes = [draw(st.integers(d * (k - 1) + 1, 16)) for d, k in zip(dilations, kernel, strict=True)]
    x = normal(draw(st.integers(1, 3)), channels, *sizes)
    bias = draw(st.sampled_from([None, normal(filters, seed=2)]))
    return x, normal(filters, channels // groups, *kernel, seed=1), bias, (strides, padding, dilations, groups)


@pytest.fixture(params=[True, False], ids=["oneDNN", "plain"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param and not packing._has_onednn():
        pytest.skip("this build of PyTorch has no oneDNN")
    monkeypatch.setattr(packing, "_has_onednn", lambda: request.param)
    return bool(request.param)


@pytest.mark.usefixtures("onednn")
def test_packed_weights_give_what_plain_ones_give() -> None:
    @settings(max_examples=60)
    @given(convolutions())
    def holds(drawn: Any) -> None:
        x, weight, bias, how = drawn
        convolve = Convolution(PackedWeights(weight), bias, *how)

        with torch.inference_mode():
            first, second = convolve(x), convolve(x)

        expected = F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), *how)
        torch.testing.assert_close(first.double(), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(first, second)

    holds()


@pytest.mark.usefixtures("onednn")
def test_weights_packed_for_one_size_serve_another() -> None:
    weight = normal(8, 3, 3, 3)
    convolve = Convolution(PackedWeights(weight), None, (2, 2), (1, 1), (1, 1), 1)

    for side in (224, 32, 7, 225):
        x = normal(2, 3, side, side, seed=side)
        with torch.inference_mode():
            torch.testing.assert_close(convolve(x), F.conv2d(x, weight, None, 2, 1), rtol=1e-4, atol=1e-4)


@st.composite
def products(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    channels, filters = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    sizes = draw(st.lists(st.sampled_from([1, 2, 5, 40]), max_size=3))
    bias = draw(st.sampled_from([None, normal(filters, seed=2)]))
    return normal(*sizes, channels), normal(filters, channels, seed=1), bias


@pytest.mark.usefixtures("onednn")
def test_a_packed_matrix_gives_what_a_plain_one_gives() -> None:
    @settings(max_examples=60)
    @given(products())
    def holds(drawn: Any) -> None:
        x, weight, bias = drawn
        matrix = PackedMatrix(weight)
        with torch.inference_mode():
            first, second = matrix.multiply(x, bias), matrix.multiply(x, bias)
            single = matrix.multiply(x.reshape(-1, x.shape[-1])[:1], bias)

        expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        torch.testing.assert_close(first.double(), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(first, second)
        torch.testing.assert_close(single, first.reshape(-1, len(weight))[:1], rtol=1e-4, atol=1e-4)

    holds()


@pytest.mark.usefixtures("onednn")
def test_a_large_matrix_that_is_packed_still_multiplies_few_rows_and_other_types() -> None:
    weight = normal(600, 500)
    matrix = PackedMatrix(weight)
    rows = normal(9, 500, seed=1)
    with torch.inference_mode():
        matrix.multiply(rows, None)

        torch.testing.assert_close(matrix.weight(), weight, rtol=0, atol=0)
        double = matrix.multiply(rows.double(), None)

    torch.testing.assert_close(double, F.linear(rows.double(), weight.double()))


@pytest.mark.usefixtures("onednn")
def test_a_kernel_of_one_element_is_a_product_with_its_channels_last() -> None:
    x, weight, bias = normal(2, 40, 9, 11), normal(60, 40, 1, 1, seed=1), normal(60, seed=2)
    single = make_convolution(weight, bias, (1, 1), (0, 0), (1, 1), 1)

    assert isinstance(single, Pointwise)
    with torch.inference_mode():
        result, wide = single(x), single.padded((1, 2))(x)
    torch.testing.assert_close(result, F.conv2d(x, weight, bias), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(wide, F.conv2d(x, weight, bias, 1, (1, 2)), rtol=1e-4, atol=1e-4)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "groups"),
    [
        ((3, 1), (1, 1), (0, 0), 1),
        ((1, 1), (2, 1), (0, 0), 1),
        ((1, 1), (1, 1), (0, 1), 1),
        ((1, 1), (1, 1), (0, 0), 2),
    ],
)
def test_what_is_no_product_stays_a_convolution(
    kernel: tuple[int, int], strides: tuple[int, int], padding: tuple[int, int], groups: int
) -> None:
    weight = normal(4, 4 // groups, *kernel)

    assert isinstance(make_convolution(weight, None, strides, padding, (1, 1), groups), Convolution)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("single", [True, False])
def test_channels_that_do_not_fit_are_named(single: bool) -> None:
    kernel = (1, 1) if single else (3, 3)
    convolve = make_convolution(normal(8, 4, *kernel), None, (1, 1), (0, 0), (1, 1), 1)

    with pytest.raises(ValueError, match=r"^5 channels come in, and the weight .* takes 4$"):
        convolve(normal(1, 5, 9, 9))


@pytest.mark.usefixtures("onednn")
def test_nan_and_infinity_go_where_they_go_in_a_plain_convolution() -> None:
    x, weight = normal(1, 4, 9, 9), normal(8, 4, 3, 3, seed=1)
    x[0, 0, 2, 2], x[0, 1, 7, 7] = torch.nan, torch.inf

    with torch.inference_mode():
        found = Convolution(PackedWeights(weight), None, (1, 1), (1, 1), (1, 1), 1)(x)

    expected = F.conv2d(x, weight, None, 1, 1)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())


# Padding


WEIGHT = np.random.default_rng(1).standard_normal((6, 3, 3, 3)).astype(np.float32)
PICTURE = np.random.default_rng(2).standard_normal((1, 3, 10, 12)).astype(np.float32)


def padded(pad: list[int], also: bool = False, **how: Any) -> Any:
    """Build pad -> conv; `also`: the padded value is an output too."""

    def body(x: Any) -> list[Any]:
        wide = Builder.pad(x=x, pad=pad, name="wide", **how)
        result = Builder.conv(x=wide, weight=WEIGHT, pad_type="custom", pad=[1, 1, 0, 0], strides=[2, 1])
        return [result, wide] if also else [result]

    return evaluator(body, PICTURE)


def steps_of(model: Any) -> list[str]:
    return [step.node.type for step in model._runnable.plan.steps]


def answer_of(model: Any) -> np.ndarray:
    name = model.description.input[0].name
    found = model.predict({name: PICTURE})
    traced = model.trace({name: PICTURE})
    result = next(value for value in found.values() if value.shape[1] == 6)
    # A trace computes every value of the file, the padded one too.
    assert "wide" in traced
    np.testing.assert_allclose(
        result, next(v for k, v in traced.items() if v.shape == result.shape), rtol=1e-5, atol=1e-5
    )
    return np.asarray(result)


def expected(pad: list[int], value: float = 0.0) -> np.ndarray:
    top, bottom, left, right = pad[-4:]
    wide = F.pad(torch.from_numpy(PICTURE), [left, right, top, bottom], value=value)
    return F.conv2d(wide, torch.from_numpy(WEIGHT), None, (2, 1), (1, 0)).numpy()


@pytest.mark.parametrize("pad", [[2, 2, 1, 1], [0, 0, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]])
def test_zeros_alike_on_both_sides_are_left_to_the_convolution(pad: list[int]) -> None:
    model = padded(pad)

    assert "pad" not in steps_of(model)
    np.testing.assert_allclose(answer_of(model), expected(pad), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("pad", "how", "value"),
    [
        pytest.param([0, 1, 0, 1], {}, 0.0, id="one-sided"),
        pytest.param([1, 1, 1, 1], {"constant_val": np.float32(2.0)}, 2.0, id="not-zero"),
    ],
)
def test_other_padding_stays(pad: list[int], how: dict[str, Any], value: float) -> None:
    model = padded(pad, **how)

    assert "pad" in steps_of(model)
    np.testing.assert_allclose(answer_of(model), expected(pad, value), rtol=1e-4, atol=1e-4)


def test_padding_whose_result_is_an_output_stays() -> None:
    model = padded([1, 1, 1, 1], also=True)

    assert "pad" in steps_of(model)
    np.testing.assert_allclose(answer_of(model), expected([1, 1, 1, 1]), rtol=1e-4, atol=1e-4)


class _WatchedLock:
    """Tell when a thread comes for the lock, before it waits for it."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._lock, self._arrived = threading.Lock(), arrived

    def __enter__(self) -> None:
        self._arrived()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.usefixtures("onednn")
def test_two_threads_that_come_first_pack_once_and_get_what_one_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, how = normal(8, 3, 3, 3), ((2, 2), (1, 1), (1, 1), 1)
    images = [normal(1, 3, 32, 32, seed=1), normal(2, 3, 17, 9, seed=2)]
    with torch.inference_mode():
        alone = [Convolution(PackedWeights(weight), None, *how)(x) for x in images]
    both_here = threading.Semaphore(0)
    packed: list[torch.Size] = []
    plain_pack = packing.pack

    def pack(*arguments: Any) -> torch.Tensor:
        # The first to pack waits until the second has come for the lock, or for packing.
        packed.append(arguments[1])
        if len(packed) == 1:
            both_here.acquire()
            both_here.acquire()
        else:
            both_here.release(2)
        return plain_pack(*arguments)

    monkeypatch.setattr(packing, "pack", pack)
    shared = PackedWeights(weight)
    monkeypatch.setattr(shared, "_packing", _WatchedLock(both_here.release))
    convolve = Convolution(shared, None, *how)

    def answer(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return convolve(x)

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(answer, images))

    assert len(packed) == 1
    assert all(torch.equal(found, wanted) for found, wanted in zip(together, alone, strict=True))


@pytest.mark.parametrize("kind", ["mlprogram", "neuralnetwork"])
def test_threads_that_predict_with_one_evaluator_get_what_they_get_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    # So often that threads meet inside of every operation.
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    weights = [normal(16, 3, 3, 3).numpy(), normal(16, 16, 3, 3, seed=1).numpy()]

    def program(x: Any) -> Any:
        for weight in weights:
            x = Builder.relu(x=Builder.conv(x=x, weight=weight, pad_type="custom", pad=[1, 1, 1, 1]))
        return Builder.reduce_mean(x=Builder.mul(x=x, y=np.float32(0.5)), axes=[2, 3])

    def network(b: Any) -> None:
        source = "x"
        for i, weight in enumerate(weights):
            b.add_convolution(
                f"c{i}", weight.shape[1], 16, 3, 3, 1, 1, "same", 1, weight.transpose(2, 3, 1, 0), None, False,
                input_name=source, output_name=f"c{i}",
            )  # fmt: skip
            b.add_activation(f"r{i}", "RELU", f"c{i}", f"r{i}")
            source = f"r{i}"
        b.add_reduce_mean("m", source, "y", axes=[-2, -1], keepdims=False)

    def model() -> Evaluator:
        if kind == "mlprogram":
            return evaluator(program, (1, 3, 32, 32))
        return Evaluator(Model(specify(network, {"x": (1, 3, 32, 32)})))

    images = [normal(1, 3, 32, 32, seed=seed).numpy() for seed in range(8)]
    name = model().description.input[0].name
    single = model()
    alone = [next(iter(single.predict({name: x}).values())) for x in images]
    shared, start = model(), threading.Barrier(4)

    def predict(images: list[np.ndarray]) -> list[np.ndarray]:
        start.wait()
        return [next(iter(shared.predict({name: x}).values())) for x in images]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(predict, [images[i:] + images[:i] for i in range(4)]))

    for i, answers in enumerate(together):
        np.testing.assert_array_equal(answers, alone[i:] + alone[:i])
