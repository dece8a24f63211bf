"""Arithmetics against loops over single fp16 numbers, to the last bit, and laws that hold for all numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from parity.core.errors import ParityError
from parity.coreml.program import Node
from parity.coreml.reading.files import open_model
from parity.coreml.running.engine import open_engine
from parity.envelope.arithmetics import ARITHMETICS, DEFAULT, PARTS, Arithmetic, Sums, chosen
from parity.envelope.kernels import change_of, changes_of, flushed, fused_sums, saturated
from parity.envelope.sums import add_up, parts_of
from parity.envelope.tables import last_place, look_up, make_table
from tests.coreml.programs import Body, convert
from tests.coreml.programs import Builder as mb  # noqa: N813

F = np.float16
Shape = tuple[int, ...]


def graph_of(body: Body, *shapes: Shape, precision: str = "fp16", passes: str | None = None):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    model = open_model(convert(body, *shapes, precision=precision, passes=passes))
    return open_engine(replace(model, open_forms=True), None).plan.graph


def node_of(kind: str, body: Body, *shapes: Shape, precision: str = "fp16") -> Node:
    return next(node for node in graph_of(body, *shapes, precision=precision).nodes if node.type == kind)


def under(node: Node, arithmetic: Arithmetic, *arrays: np.ndarray) -> np.ndarray:
    change = change_of(node, arithmetic)
    assert change is not None
    (result,) = (change.run or node.run)(*[torch.from_numpy(array.astype(np.float32)) for array in arrays])
    (adjust,) = change.adjust
    adjusted: np.ndarray = (adjust(result) if adjust else result).numpy()
    return adjusted


def numbers(shape: Shape, seed: int) -> np.ndarray:
    """Draw fp16 numbers whose products and sums of a few are exact in fp32, and are not in fp16."""
    random = np.random.default_rng(seed)
    return (random.integers(-60, 61, shape) / 8).astype(F)


def arithmetic(**parts: object) -> Arithmetic:
    return Arithmetic("tried", "", "", **parts)  # type: ignore[arg-type]


# Oracles: one number after the other, each step in fp16 or exact.


def chunks(count: int, sums: Sums) -> list[list[int]]:
    number = -(-count // sums.chunk)
    if sums.order == "lanes":
        return [[c for c in range(count) if c % number == lane] for lane in range(number)]
    split = [list(range(count))[i : i + sums.chunk] for i in range(0, count, sums.chunk)]
    return split[::-1] if sums.order == "reversed" else split


def added(terms: list[F], sums: Sums) -> F:  # type: ignore[valid-type]
    if sums.wide:
        return F(sum(float(term) for term in terms))
    if sums.order == "tree":
        while len(terms) > 1:
            pairs = [F(float(a) + float(b)) for a, b in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
        return terms[0]
    total = terms[0]
    for term in terms[1:]:
        total = F(float(total) + float(term))
    return total


def chunked_sum(products: list[float], bias: float, sums: Sums, channels: int) -> F:  # type: ignore[valid-type]
    """products: by channel, then by tap. The first chunk that is added has the bias."""
    taps = len(products) // channels
    terms = [
        F(sum(products[c * taps + t] for c in chunk for t in range(taps)) + (bias if not index else 0.0))
        for index, chunk in enumerate(chunks(channels, sums))
    ]
    return added(terms, sums)


def naive_conv(x: np.ndarray, w: np.ndarray, bias: np.ndarray, stride: int, groups: int, total) -> np.ndarray:  # type: ignore[no-untyped-def]
    n, _, height, width = x.shape
    out, per, kh, kw = w.shape
    rows, columns = (height - kh) // stride + 1, (width - kw) // stride + 1
    result = np.zeros((n, out, rows, columns), F)
    for i, o, r, c in product(range(n), range(out), range(rows), range(columns)):
        start = o // (out // groups) * per
        products = [
            float(x[i, start + k, r * stride + a, c * stride + b]) * float(w[o, k, a, b])
            for k, a, b in product(range(per), range(kh), range(kw))
        ]
        result[i, o, r, c] = total(products, float(bias[o]), per)
    return result


SUMS = [
    Sums(2),
    Sums(3),
    Sums(3, "reversed"),
    Sums(2, "tree"),
    Sums(3, "lanes"),
    Sums(2, wide=True),
]


@pytest.mark.parametrize("sums", SUMS)
@pytest.mark.parametrize(
    ("weight", "stride", "groups"),
    [((3, 7, 1, 1), 1, 1), ((3, 7, 2, 2), 1, 1), ((4, 5, 2, 1), 2, 2), ((2, 7, 1, 1), 2, 1)],
)
def test_a_convolution_in_chunks(sums: Sums, weight: Shape, stride: int, groups: int) -> None:
    w, bias = numbers(weight, 1), numbers(weight[:1], 2)
    x = numbers((1, weight[1] * groups, 3, 3), 3)

    def body(value):  # type: ignore[no-untyped-def]
        return mb.conv(
            x=value, weight=w.astype(np.float32), bias=bias.astype(np.float32), strides=[stride] * 2, groups=groups
        )

    found = under(node_of("conv", body, x.shape), arithmetic(sums=sums), x)

    expected = naive_conv(x, w, bias, stride, groups, lambda p, b, k: chunked_sum(p, b, sums, k))
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_chunks_are_seen_in_a_convolution() -> None:
    w, bias, x = numbers((3, 7, 2, 2), 1), numbers((3,), 2), numbers((1, 7, 3, 3), 3)
    whole = naive_conv(x, w, bias, 1, 1, lambda p, b, k: F(sum(p) + b))

    split = naive_conv(x, w, bias, 1, 1, lambda p, b, k: chunked_sum(p, b, Sums(2), k))

    assert (whole != split).any()


@pytest.mark.parametrize("sums", SUMS)
def test_a_linear_layer_in_chunks(sums: Sums) -> None:
    w, bias, x = numbers((4, 11), 4), numbers((4,), 5), numbers((2, 11), 6)

    found = under(
        node_of(
            "linear", lambda v: mb.linear(x=v, weight=w.astype(np.float32), bias=bias.astype(np.float32)), x.shape
        ),
        arithmetic(sums=sums),
        x,
    )

    for i, o in product(range(2), range(4)):
        products = [float(x[i, k]) * float(w[o, k]) for k in range(11)]
        assert found[i, o] == np.float32(chunked_sum(products, float(bias[o]), sums, 11))


@pytest.mark.parametrize("sums", SUMS)
def test_a_product_of_matrices_in_chunks(sums: Sums) -> None:
    x, y = numbers((2, 3, 7), 7), numbers((2, 4, 7), 8)

    found = under(
        node_of("matmul", lambda a, b: mb.matmul(x=a, y=b, transpose_y=True), x.shape, y.shape),
        arithmetic(sums=sums),
        x,
        y,
    )

    for n, i, j in product(range(2), range(3), range(4)):
        products = [float(x[n, i, k]) * float(y[n, j, k]) for k in range(7)]
        assert found[n, i, j] == np.float32(chunked_sum(products, 0.0, sums, 7))


@pytest.mark.parametrize("sums", SUMS)
@pytest.mark.parametrize(("kind", "scale"), [("reduce_sum", 1.0), ("reduce_mean", 1 / 8)])
def test_a_reduction_in_chunks(sums: Sums, kind: str, scale: float) -> None:
    x = numbers((2, 2, 4, 3), 9)

    def body(value):  # type: ignore[no-untyped-def]
        return getattr(mb, kind)(x=value, axes=[1, 2], keep_dims=True)

    found = under(node_of(kind, body, x.shape), arithmetic(sums=sums), x)

    assert found.shape == (2, 1, 1, 3)
    for n, c in product(range(2), range(3)):
        terms = [float(number) for number in x[n, :, :, c].reshape(-1)]
        split = [F(sum(terms[k] for k in chunk) * scale) for chunk in chunks(8, sums)]
        assert found[n, 0, 0, c] == np.float32(added(split, sums))


@pytest.mark.parametrize(
    ("weight", "stride", "groups"), [((3, 4, 2, 2), 1, 1), ((4, 2, 2, 1), 2, 2), ((3, 4, 1, 1), 1, 1)]
)
def test_products_are_rounded_one_by_one(weight: Shape, stride: int, groups: int) -> None:
    random = np.random.default_rng(10)
    # Eleven bits times eleven bits do not fit into eleven.
    w, x = (random.integers(1025, 2048, shape).astype(F) for shape in (weight, (1, weight[1] * groups, 3, 3)))
    x = (x.astype(np.float32) / 4096).astype(F)
    bias = numbers(weight[:1], 11)

    def body(value):  # type: ignore[no-untyped-def]
        return mb.conv(
            x=value, weight=w.astype(np.float32), bias=bias.astype(np.float32), strides=[stride] * 2, groups=groups
        )

    found = under(node_of("conv", body, x.shape), arithmetic(products=True), x)

    def total(products: list[float], b: float, channels: int) -> float:
        return float(F(sum(float(F(p)) for p in products) + b))

    np.testing.assert_array_equal(found, naive_conv(x, w, bias, stride, groups, total).astype(np.float32))


# Laws.

halves = hn.arrays(F, st.integers(1, 40), elements=st.floats(-100, 100, width=16))


@given(halves, st.sampled_from(["forward", "reversed", "tree", "lanes"]), st.booleans())
def test_one_chunk_is_one_rounding(terms: np.ndarray, order: str, wide: bool) -> None:
    sums = Sums(len(terms), order, wide)  # type: ignore[arg-type]
    exact = torch.from_numpy(terms.astype(np.float32))

    found = add_up(lambda: (exact[part].sum() for part in parts_of(len(terms), sums)), sums)

    assert F(found.item()) == F(exact.sum().item())


@given(st.integers(1, 200), st.integers(1, 40), st.sampled_from(["forward", "reversed", "tree", "lanes"]))
def test_chunks_hold_each_channel_once_and_no_more_than_they_may(count: int, chunk: int, order: str) -> None:
    parts = [list(range(count)[part]) for part in parts_of(count, Sums(chunk, order))]  # type: ignore[arg-type]

    assert sorted(channel for part in parts for channel in part) == list(range(count))
    assert max(map(len, parts)) <= chunk


def test_an_operation_of_one_chunk_is_left_alone() -> None:
    w = numbers((2, 8, 1, 1), 12).astype(np.float32)
    node = node_of("conv", lambda v: mb.conv(x=v, weight=w), (1, 8, 2, 2))

    assert change_of(node, arithmetic(sums=Sums(8))) is None
    assert change_of(node, arithmetic(sums=Sums(7))) is not None


ALL = np.arange(1 << 16, dtype=np.uint16).view(F)


def test_flushing_changes_subnormal_numbers_alone() -> None:
    with np.errstate(invalid="ignore"):
        found = flushed(torch.from_numpy(ALL.astype(np.float32))).numpy()
    subnormal = (np.abs(ALL) < np.finfo(F).smallest_normal) & (ALL != 0)

    assert subnormal.sum() == 2046
    assert not found[subnormal].any()
    np.testing.assert_array_equal(found[~subnormal], ALL[~subnormal].astype(np.float32))


def test_saturating_gives_no_infinity_and_changes_nothing_else() -> None:
    found = saturated(torch.from_numpy(ALL.astype(np.float32))).numpy()

    assert not np.isinf(found).any()
    assert found[np.isposinf(ALL)] == 65504
    finite = np.isfinite(ALL)
    np.testing.assert_array_equal(found[finite], ALL[finite].astype(np.float32))


def test_sums_saturate_on_the_way() -> None:
    terms = [torch.tensor(60000.0), torch.tensor(60000.0), torch.tensor(-60000.0)]

    assert add_up(lambda: terms, Sums(1)).item() == np.inf
    assert add_up(lambda: terms, Sums(1), saturate=True).item() == 5504


def test_only_sums_are_flushed_where_only_they_are() -> None:
    w = np.full((1, 1, 1, 1), 2.0**-12, np.float32)
    conv = node_of("conv", lambda v: mb.conv(x=v, weight=w), (1, 1, 1, 1))
    mul = node_of("mul", lambda v: mb.mul(x=v, y=np.float32(2.0**-12)), (1, 1))

    assert under(conv, ARITHMETICS["flush-sums"], np.full((1, 1, 1, 1), 2.0**-4)) == 0
    assert change_of(mul, ARITHMETICS["flush-sums"]) is None
    assert under(mul, ARITHMETICS["flush"], np.full((1, 1), 2.0**-4)) == 0


# Tables.

FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "gelu": torch.nn.functional.gelu,
    "rsqrt": torch.rsqrt,
}


@pytest.mark.parametrize("units", [1, 2, 4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_is_as_near_as_it_says_and_no_nearer(name: str, units: int) -> None:
    function = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        exact = function(torch.from_numpy(ALL.astype(np.float64))).numpy()
        table = make_table(function, units).numpy()
        rounded = exact.astype(F)
    finite = np.isfinite(ALL) & np.isfinite(rounded)
    steps = np.abs(table[finite] - exact[finite]) / last_place(exact[finite])

    assert units / 2 < steps.max() <= max(units, 0.5)
    np.testing.assert_array_equal(table[~finite], rounded[~finite].astype(np.float32))
    np.testing.assert_array_equal(table, table.astype(F).astype(np.float32))


@pytest.mark.parametrize("number", [1.0, 1.5, 2.0**-14, 2.0**-20, 65504.0, -3.0])
def test_the_last_place_is_the_step_to_the_next_number(number: float) -> None:
    bits = F(abs(number)).view(np.uint16)
    other = (bits - 1 if number == 65504 else bits + 1).astype(np.uint16).view(F)

    assert last_place(np.array(number)) == abs(float(other) - abs(number))


def test_what_is_looked_up_is_what_the_table_has() -> None:
    table = torch.arange(1 << 16, dtype=torch.float32)

    found = look_up(table, torch.from_numpy(ALL.astype(np.float32))[None])

    kept = ~np.isnan(ALL)  # which of the many a NaN is, is lost on the way through float32
    np.testing.assert_array_equal(found.numpy()[0][kept], np.arange(1 << 16)[kept])


@pytest.mark.parametrize("lay_out", [torch.channels_last, torch.contiguous_format])
def test_an_element_is_looked_up_wherever_it_lies(lay_out: torch.memory_format) -> None:
    table = torch.arange(1 << 16, dtype=torch.float32)
    x = torch.from_numpy(numbers((2, 3, 4, 5), 16).astype(np.float32)).contiguous(memory_format=lay_out)[:, :, 1:]

    found = look_up(table, x)

    np.testing.assert_array_equal(found.numpy(), x.numpy().astype(F).view(np.uint16))


def test_an_activation_comes_from_its_table() -> None:
    node = node_of("sigmoid", lambda v: mb.sigmoid(x=v), (2, 300))
    x = np.linspace(-8, 8, 600).reshape(2, 300).astype(F)

    found = under(node, ARITHMETICS["table-4"], x)

    table = make_table(torch.sigmoid, 4).numpy()
    np.testing.assert_array_equal(found, table[x.view(np.uint16)])
    assert (found != (1 / (1 + np.exp(-x.astype(np.float64)))).astype(F)).any()


@pytest.mark.parametrize("sums", [None, Sums(2)])
def test_a_softmax_of_steps(sums: Sums | None) -> None:
    x = np.array([[1.0, 2.5, -3.25, 0.125, 2.0]], F)

    found = under(node_of("softmax", lambda v: mb.softmax(x=v, axis=1), x.shape), arithmetic(table=2, sums=sums), x)

    table = make_table(torch.exp, 2).numpy()
    powers = [float(table[(n - F(2.5)).astype(F).view(np.uint16)]) for n in x[0]]
    total = (
        sum(powers)
        if sums is None
        else float(added([F(powers[0] + powers[1]), F(powers[2] + powers[3]), F(powers[4])], sums))
    )
    np.testing.assert_array_equal(found[0], [np.float32(F(np.float32(p) / np.float32(total))) for p in powers])


def test_a_layer_norm_with_a_root_from_a_table() -> None:
    x = numbers((2, 8), 13)
    gamma, beta = numbers((8,), 14).astype(np.float32), numbers((8,), 15).astype(np.float32)
    node = node_of(
        "layer_norm", lambda v: mb.layer_norm(x=v, axes=[1], gamma=gamma, beta=beta, epsilon=1e-3), x.shape
    )

    found = under(node, ARITHMETICS["table-2"], x)

    table, rows = make_table(torch.rsqrt, 2).numpy(), x.astype(np.float64)
    root = table[(rows.var(1) + F(1e-3)).astype(F).view(np.uint16)][:, None]
    expected = (rows - rows.mean(1, keepdims=True)) * root * gamma + beta
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


# What is done to a graph.


def test_a_sum_goes_unrounded_into_the_addition_that_alone_reads_it() -> None:
    w = np.full((1, 2, 1, 1), 1.0, np.float32)

    def body(a, b):  # type: ignore[no-untyped-def]
        return mb.add(x=mb.conv(x=a, weight=w), y=b)

    graph = graph_of(body, (1, 2, 1, 1), (1, 1, 1, 1))
    conv, add = (next(node for node in graph.nodes if node.type == kind) for kind in ("conv", "add"))
    x, y = torch.tensor([2048.0, 1.0]).reshape(1, 2, 1, 1), torch.full((1, 1, 1, 1), 1.0)
    change = changes_of(graph, ARITHMETICS["fused"])[conv.outputs[0].name]
    assert change.run is not None

    rounded, fused = conv.run(x)[0], change.run(x)[0]

    assert (rounded.item(), fused.item()) == (2048, 2049)
    assert (add.run(rounded, y)[0].item(), add.run(fused, y)[0].item()) == (2048, 2050)


def test_a_sum_that_is_read_twice_is_rounded() -> None:
    w = np.full((1, 2, 1, 1), 1.0, np.float32)

    def body(a, b):  # type: ignore[no-untyped-def]
        sums = mb.conv(x=a, weight=w)
        return mb.add(x=sums, y=b), mb.relu(x=sums)

    assert not fused_sums(graph_of(body, (1, 2, 1, 1), (1, 1, 1, 1)))


def test_what_the_file_says_is_fp32_is_computed_in_fp16() -> None:
    w = np.full((1, 1), 1 / 3, np.float32)
    node = node_of("linear", lambda v: mb.linear(x=v, weight=w), (1, 1), precision="fp32")

    found = under(node, ARITHMETICS["halves"], np.full((1, 1), 5.0))

    assert found.item() == float(F(5 * float(F(1 / 3))))
    assert change_of(node, ARITHMETICS["table-4"]) is None


def test_without_forms_nothing_but_results_can_be_changed() -> None:
    model = open_model(convert(lambda v: mb.sigmoid(x=v), (1, 4), precision="fp16"))
    nodes = [node for node in open_engine(model, None).plan.graph.nodes if node.type == "sigmoid"]

    assert [node.form for node in nodes] == [None]
    assert change_of(nodes[0], ARITHMETICS["table-4"]) is None
    assert change_of(nodes[0], ARITHMETICS["flush"]) is not None


# The list.


def test_every_arithmetic_says_what_it_does_and_where_that_is_from() -> None:
    assert all(one.title and one.source and one.parts for one in ARITHMETICS.values())
    assert {part for one in ARITHMETICS.values() for part in one.parts} == set(PARTS)
    assert set(DEFAULT) <= set(ARITHMETICS)
    assert {one.basis for one in ARITHMETICS.values()} == {"known", "in part", "assumed"}


def test_without_all_its_parts_an_arithmetic_is_round_once() -> None:
    left = ARITHMETICS["coarse"]
    for part in left.parts:
        left = left.without(part)

    assert left.parts == ()


def test_an_unknown_arithmetic_is_refused() -> None:
    with pytest.raises(ParityError, match="no arithmetic `exact`; there are neural-engine, "):
        chosen(["exact"])
