"""Tables of 33 knots: as far off as was measured on devices; hard swish known among the operations of a file."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from parity.envelope.arithmetics import ARITHMETICS
from parity.envelope.kernels import changes_of
from parity.envelope.knots import DOMAINS, HARD_SWISH, hard_swish_table, hard_swishes
from parity.envelope.tables import Domain, make_knots
from tests.coreml.programs import Builder as mb  # noqa: N813
from tests.parity.envelope.test_kernels import ALL, F, graph_of, node_of, under

FINITE = ALL[np.isfinite(ALL)]


def hard_swish(x: float) -> float:
    return x * min(max(x + 3, 0.0), 6.0) / 6


def worst(table: torch.Tensor, function: Callable[[float], float]) -> float:
    """Return how far a table is off at most, where fp16 itself tells less than that apart."""
    near = FINITE[np.abs(FINITE) < 16]
    exact = np.array([function(float(x)) for x in near])
    found: np.ndarray = table.numpy()[near.view(np.uint16)]
    return float(np.abs(found - exact)[np.abs(exact) < 4].max())


# Measured on an M1 (ane-guide, chapter 3), and straight lines between knots that lie evenly come near to it.
@pytest.mark.parametrize(
    ("name", "function", "measured"),
    [
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x)), 0.0034),
        ("tanh", math.tanh, 0.0017),
        ("gelu", lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2))), 0.0059),
    ],
)
def test_a_table_is_as_far_off_as_was_measured(
    name: str, function: Callable[[float], float], measured: float
) -> None:
    kernels = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}

    found = worst(make_knots(kernels[name], DOMAINS["narrow"][name]), function)

    assert measured / 1.25 < found < measured * 1.25


# Over a length h a chord of f is off by h * h / 8 * f'' at most; of x * x / 6 that is h * h / 24.
@pytest.mark.parametrize(("knots", "width"), [("narrow", 6), ("wide", 16)])
def test_hard_swish_is_off_by_what_a_chord_of_a_parabola_is(knots: str, width: float) -> None:
    chord = (width / 32) ** 2 / 24

    found = worst(hard_swish_table(knots), hard_swish)  # type: ignore[arg-type]

    # fp16 tells 2 ** -10 apart below 2: half of that comes on top.
    assert chord <= found <= chord + 2**-10


def test_a_table_goes_through_its_knots_and_is_exact_outside() -> None:
    table = make_knots(lambda x: x * x, Domain(-4.0, 4.0)).numpy()

    assert [table[F(x).view(np.uint16)] for x in (-4.0, -0.25, 0.0, 0.5, 4.0)] == [16, 0.0625, 0, 0.25, 16]
    assert table[F(0.125).view(np.uint16)] == 0.03125  # between 0 and 0.0625, where the square is 0.015625
    assert table[F(5.0).view(np.uint16)] == 25


def test_an_odd_table_is_its_own_mirror_image() -> None:
    table = make_knots(torch.tanh, DOMAINS["narrow"]["tanh"]).numpy()

    np.testing.assert_array_equal(table[FINITE.view(np.uint16)], -table[(-FINITE).view(np.uint16)])


def test_a_table_holds_fp16_numbers_for_every_one_of_them() -> None:
    for domains in DOMAINS.values():
        for name in set(domains) & {"sigmoid", "silu"}:
            kernel = {"sigmoid": torch.sigmoid, "silu": torch.nn.functional.silu}[name]
            table = make_knots(kernel, domains[name]).numpy()
            np.testing.assert_array_equal(table, table.astype(F).astype(np.float32))
            assert np.isfinite(table[FINITE.view(np.uint16)]).all()


def test_an_activation_comes_from_its_knots() -> None:
    node = node_of("sigmoid", lambda v: mb.sigmoid(x=v), (1, 3))

    found = under(node, ARITHMETICS["knots-33"], np.array([[-20.0, 8.25, 0.0]]))

    # Right between two knots of 0.57 apart sigmoid is nearly straight at 0, and outside of them it is exact.
    assert found[0, 0] == F(1 / (1 + math.exp(20)))
    assert abs(found[0, 2] - 0.5) < 1e-3


# Hard swish, as coremltools writes it, and what looks like it.


def swish(x, alpha: float = 1 / 6):  # type: ignore[no-untyped-def]
    kept = mb.thresholded_relu(x=x, alpha=-3.0)
    return mb.mul(x=kept, y=mb.sigmoid_hard(x=kept, alpha=alpha, beta=0.5))


def test_hard_swish_is_known_and_comes_from_one_table() -> None:
    graph = graph_of(swish, (1, 5))
    x = np.array([[-4.0, -1.59375, 0.0, 1.40625, 7.0]], F)
    (name,) = hard_swishes(graph)
    product, kept = (next(n for n in graph.nodes if n.type == kind) for kind in ("mul", "thresholded_relu"))
    change = changes_of(graph, ARITHMETICS["knots-33"])[name]
    assert change.run is not None

    (cut,) = kept.run(torch.from_numpy(x.astype(np.float32)))
    inputs = [cut if one == kept.outputs[0].name else torch.full((1, 5), torch.nan) for one in product.inputs]
    (found,) = change.run(*inputs)

    assert name == product.outputs[0].name
    table = hard_swish_table("narrow").numpy()
    np.testing.assert_array_equal(found.numpy()[0], [0, *table[x[0, 1:].view(np.uint16)]])
    # In the middle between two knots: a chord lies above a parabola.
    assert found[0, 1] > hard_swish(-1.59375)
    assert set(changes_of(graph, ARITHMETICS["table-4"])) == set()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda x, y: mb.mul(x=y, y=mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)), "a gate of something else"),
        (lambda x, y: mb.add(x=swish(x, 0.2), y=y), "another slope"),
        (
            lambda x, y: (
                mb.mul(x=x, y=(gate := mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5))),
                mb.add(x=gate, y=y),
            ),
            "the gate is read elsewhere",
        ),
        (lambda x, y: mb.mul(x=x, y=mb.sigmoid(x=x)), "a soft one"),
    ],
)
def test_what_is_no_hard_swish_is_none(body, why: str) -> None:  # type: ignore[no-untyped-def]
    assert hard_swishes(graph_of(body, (1, 4), (1, 4))) == {}, why


def test_domains_grow_from_narrow_to_wide() -> None:
    assert DOMAINS[""] == {}
    assert set(DOMAINS["narrow"]) == set(DOMAINS["wide"])
    for name in ("silu", HARD_SWISH):
        assert DOMAINS["narrow"][name].high < DOMAINS["wide"][name].high
