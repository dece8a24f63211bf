from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.guards.quiet import chatter_to
from parity.core.errors import CoreMLError
from parity.coreml import Evaluator
from tests.coreml.networks import ct
from tests.coreml.programs import Builder, call, run

_ACTIVATIONS = {
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def _order(gates: torch.Tensor, order: str, wanted: str) -> np.ndarray:
    """Put PyTorch's gates, stacked on the first axis, into Core ML's order."""
    parts = dict(zip(order, gates.detach().chunk(len(order)), strict=True))
    return torch.cat([parts[gate] for gate in wanted]).numpy()


_LSTM = {"order": "ifzo", "wanted": "ifoz"}
_GRU = {"order": "rzo", "wanted": "roz"}
_SIZES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))


def _lstm_weights(module: torch.nn.LSTM, suffix: str = "", back: str = "") -> dict[str, np.ndarray]:
    weights = dict(module.named_parameters())
    return {
        f"weight_ih{back}": _order(weights[f"weight_ih_l0{suffix}"], **_LSTM),
        f"weight_hh{back}": _order(weights[f"weight_hh_l0{suffix}"], **_LSTM),
        f"bias{back}": _order(weights[f"bias_ih_l0{suffix}"] + weights[f"bias_hh_l0{suffix}"], **_LSTM),
    }


@settings(max_examples=25)
@given(sizes=_SIZES, direction=st.sampled_from(["forward", "reverse"]), whole=st.booleans())
def test_lstm_is_pytorchs(sizes: tuple[int, int, int, int], direction: str, whole: bool) -> None:
    steps, batch, wide, hidden = sizes
    torch.manual_seed(0)
    module = torch.nn.LSTM(wide, hidden)
    x, h, c = _normal(1, steps, batch, wide), _normal(2, batch, hidden), _normal(3, batch, hidden)

    found = call(
        "lstm",
        x=x,
        initial_h=h,
        initial_c=c,
        **_lstm_weights(module),
        direction=direction,
        output_sequence=whole,
    )

    # The reverse direction answers in the order in which it goes.
    order = x[::-1].copy() if direction == "reverse" else x
    with torch.no_grad():
        answers, (h1, c1) = module(*_states(order, h[None], c[None]))
    wanted = (answers if whole else answers[-1:], h1[0], c1[0])
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)


def _states(x: np.ndarray, *states: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    return torch.from_numpy(x), tuple(torch.from_numpy(s) for s in states)


@pytest.mark.parametrize("whole", [False, True])
def test_bidirectional_lstm_is_pytorchs(whole: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.LSTM(4, 3, bidirectional=True)
    x, h, c = _normal(1, 5, 2, 4), _normal(2, 2, 2, 3), _normal(3, 2, 2, 3)

    found = call(
        "lstm",
        x=x,
        initial_h=np.concatenate(list(h), 1),
        initial_c=np.concatenate(list(c), 1),
        **_lstm_weights(module),
        **_lstm_weights(module, "_reverse", "_back"),
        direction="bidirectional",
        output_sequence=whole,
    )

    with torch.no_grad():
        answers, (h1, c1) = module(*_states(x, h, c))
    if not whole:
        # Each direction's own last step: of the backward one it is the first element of the sequence.
        answers = torch.cat([answers[-1:, :, :3], answers[:1, :, 3:]], 2)
    for f, w in zip(found, (answers, torch.cat(list(h1), 1), torch.cat(list(c1), 1)), strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)


def _naive_lstm(x: np.ndarray, w: dict[str, np.ndarray], names: tuple[str, str, str], clip: float) -> np.ndarray:
    """Compute an LSTM as Apple's tests write it down, one number at a time where the gates are concerned."""
    gate, into, out = (_ACTIVATIONS[name.lower()] for name in names)
    h, c = w["initial_h"], w["initial_c"]
    answers = []
    for now in x:
        i, f, o, z = np.split(now @ w["weight_ih"].T + h @ w["weight_hh"].T + w["bias"], 4, axis=1)
        p_i, p_f, p_o = np.split(w["peephole"], 3)
        c = np.clip(gate(f + p_f * c) * c + gate(i + p_i * c) * into(z), -clip, clip)
        h = gate(o + p_o * c) * out(c)
        answers.append(h)
    return np.stack(answers)


@pytest.mark.parametrize("clip", [0.2, 50.0])
@pytest.mark.parametrize(
    "names",
    [("sigmoid", "tanh", "relu"), ("hard_sigmoid", "linear", "scaled_tanh"), ("Tanh", "relu", "linear")],
)
def test_lstm_with_peepholes_clipping_and_other_activations(names: tuple[str, str, str], clip: float) -> None:
    x = _normal(1, 6, 2, 4)
    weights = {
        "initial_h": _normal(2, 2, 3),
        "initial_c": _normal(3, 2, 3),
        "weight_ih": _normal(4, 12, 4),
        "weight_hh": _normal(5, 12, 3),
        "bias": _normal(6, 12),
        "peephole": _normal(7, 9),
    }
    named = dict(zip(("recurrent_activation", "cell_activation", "activation"), names, strict=True))

    found, _, memory = call("lstm", x=x, **weights, **named, clip=clip, output_sequence=True)

    np.testing.assert_allclose(found, _naive_lstm(x, weights, names, clip), rtol=1e-4, atol=1e-5)
    assert np.abs(memory).max() <= clip


def test_the_backward_peephole_belongs_to_the_backward_direction() -> None:
    x, states = _normal(1, 4, 2, 3), _normal(2, 2, 4)
    weights = {"weight_ih": _normal(4, 8, 3), "weight_hh": _normal(5, 8, 2), "bias": _normal(6, 8)}
    there, back = _normal(7, 6), _normal(8, 6)
    both = {**weights, **{f"{name}_back": value for name, value in weights.items()}}

    found, _, _ = call(
        "lstm",
        x=x,
        initial_h=states,
        initial_c=states,
        **both,
        peephole=there,
        peephole_back=back,
        direction="bidirectional",
        output_sequence=True,
    )

    for half, peephole, order in ((slice(0, 2), there, 1), (slice(2, 4), back, -1)):
        starting = {"initial_h": states[:, half], "initial_c": states[:, half], "peephole": peephole}
        wanted = _naive_lstm(x[::order], {**weights, **starting}, ("sigmoid", "tanh", "tanh"), 1e9)
        np.testing.assert_allclose(found[:, :, half], wanted[::order], rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(sizes=_SIZES, direction=st.sampled_from(["forward", "reverse"]), whole=st.booleans())
def test_gru_that_resets_after_is_pytorchs(sizes: tuple[int, int, int, int], direction: str, whole: bool) -> None:
    steps, batch, wide, hidden = sizes
    torch.manual_seed(0)
    module = torch.nn.GRU(wide, hidden)
    x, h = _normal(1, steps, batch, wide), _normal(2, batch, hidden)

    found = call(
        "gru",
        x=x,
        initial_h=h,
        weight_ih=_order(module.weight_ih_l0, **_GRU),
        weight_hh=_order(module.weight_hh_l0, **_GRU),
        bias=_order(module.bias_hh_l0, **_GRU),
        input_bias=_order(module.bias_ih_l0, **_GRU),
        direction=direction,
        output_sequence=whole,
        reset_after=True,
    )

    with torch.no_grad():
        order = x[::-1].copy() if direction == "reverse" else x
        answers, h1 = module(torch.from_numpy(order), torch.from_numpy(h)[None])
    for f, w in zip(found, (answers if whole else answers[-1:], h1[0]), strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("inner", "outer"), [("sigmoid", "tanh"), ("hard_sigmoid", "relu")])
def test_gru_resets_the_states_themselves_by_default(inner: str, outer: str, biased: bool) -> None:
    x, h = _normal(1, 4, 2, 3), _normal(2, 2, 2)
    weight_ih, weight_hh, bias = _normal(3, 6, 3), _normal(4, 6, 2), _normal(5, 6) if biased else np.zeros(6)
    given: dict[str, Any] = {"bias": bias.astype(np.float32)} if biased else {}

    found, last = call(
        "gru",
        x=x,
        initial_h=h,
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        recurrent_activation=inner,
        activation=outer,
        output_sequence=True,
        **given,
    )

    gate, activate = _ACTIVATIONS[inner], _ACTIVATIONS[outer]
    (in_r, in_o, in_z), (w_r, w_o, w_z) = np.split(weight_ih, 3), np.split(weight_hh, 3)
    b_r, b_o, b_z = np.split(bias, 3)
    wanted = []
    for now in x:
        r = gate(now @ in_r.T + h @ w_r.T + b_r)
        z = gate(now @ in_z.T + h @ w_z.T + b_z)
        o = activate(now @ in_o.T + (r * h) @ w_o.T + b_o)
        h = (1 - z) * o + z * h
        wanted.append(h)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(last, found[-1])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_is_pytorchs(activation: str, direction: str, whole: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.RNN(4, 3, nonlinearity=activation)
    x, h = _normal(1, 5, 2, 4), _normal(2, 2, 3)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}

    found = call(
        "rnn",
        x=x,
        initial_h=h,
        weight_ih=weights["weight_ih_l0"],
        weight_hh=weights["weight_hh_l0"],
        bias=weights["bias_ih_l0"] + weights["bias_hh_l0"],
        direction=direction,
        output_sequence=whole,
        activation=activation,
    )

    with torch.no_grad():
        order = x[::-1].copy() if direction == "reverse" else x
        answers, h1 = module(torch.from_numpy(order), torch.from_numpy(h)[None])
    for f, w in zip(found, (answers if whole else answers[-1:], h1[0]), strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", _ACTIVATIONS)
def test_every_activation_has_its_meaning(activation: str) -> None:
    x = np.float32([[[-4, -1, 0, 0.5, 4]]])
    given = {"initial_h": np.zeros((1, 5), np.float32), "weight_hh": np.zeros((5, 5), np.float32)}

    found, _ = call("rnn", x=x, weight_ih=np.eye(5, dtype=np.float32), activation=activation, **given)

    np.testing.assert_allclose(found, _ACTIVATIONS[activation](x), rtol=1e-6)


def test_what_is_not_defined_is_an_error() -> None:
    x, h, square = np.zeros((1, 1, 2), np.float32), np.zeros((1, 2), np.float32), np.zeros((2, 2), np.float32)
    given = {"x": x, "initial_h": h, "weight_ih": square, "weight_hh": square}

    with pytest.raises(CoreMLError, match="no activation `swish` in a recurrent network; defined are hard_sigmoid"):
        call("rnn", **given, activation="swish")
    with pytest.raises(CoreMLError, match="no direction `bidirectional`.*choose forward or reverse"):
        call("rnn", **given, direction="bidirectional")
    gates = np.zeros((8, 2), np.float32)
    with pytest.raises(CoreMLError, match="needs weight_ih_back and weight_hh_back"):
        call("lstm", x=x, initial_h=h, initial_c=h, weight_ih=gates, weight_hh=gates, direction="bidirectional")


@pytest.mark.parametrize(("target", "precision"), [("iOS15", "fp32"), ("iOS17", "fp16"), ("iOS18", "fp32")])
def test_all_run_in_a_program(target: str, precision: str) -> None:
    x, h = _normal(1, 3, 1, 2), _normal(2, 1, 2)
    weights = {"weight_ih": _normal(3, 8, 2), "weight_hh": _normal(4, 8, 2)}

    def body(x: Any, h: Any) -> list[Any]:
        rnn = Builder.rnn(x=x, initial_h=h, weight_ih=weights["weight_ih"][:2], weight_hh=weights["weight_hh"][:2])
        gru = Builder.gru(x=x, initial_h=h, weight_ih=weights["weight_ih"][:6], weight_hh=weights["weight_hh"][:6])
        lstm = Builder.lstm(x=x, initial_h=h, initial_c=h, **weights, output_sequence=True, clip=np.float32(50))
        return [*rnn, *gru, *lstm]

    found = run(body, x, h, target=target, precision=precision)

    assert [f.shape for f in found] == [(1, 1, 2), (1, 2), (1, 1, 2), (1, 2), (3, 1, 2), (1, 2), (1, 2)]
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    wanted, *_ = call("lstm", x=x, initial_h=h, initial_c=h, **weights, output_sequence=True)
    np.testing.assert_allclose(found[4], wanted, atol=tolerance)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm", "bidirectional"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_rows_of_a_state_beyond_the_batch_belong_to_no_example(kind: str, direction: str) -> None:
    gates, width = {"rnn": (1, 1), "gru": (3, 1), "lstm": (4, 1), "bidirectional": (4, 2)}[kind]
    weights = {"weight_ih": _normal(1, 3 * gates, 2), "weight_hh": _normal(2, 3 * gates, 3)}
    if kind == "bidirectional":
        weights |= {"weight_ih_back": _normal(3, 12, 2), "weight_hh_back": _normal(4, 12, 3)}
        direction = kind
    states = {"initial_h": _normal(5, 7, 3 * width)}
    if gates == 4:
        states["initial_c"] = _normal(6, 7, 3 * width)
    given = {"x": _normal(7, 5, 4, 2), **weights, "direction": direction, "output_sequence": True}
    name = "lstm" if gates == 4 else kind

    more = call(name, **given, **states)
    alone = call(name, **given, **{name: state[:4] for name, state in states.items()})

    for found, wanted in zip(more, alone, strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="an initial state of 1 row"):
        call(name, **given, **{name: state[:1] for name, state in states.items()})


class _Packed(torch.nn.Module):
    """Go through sequences of several lengths, packed; batch first, longest first."""

    def __init__(self, *, batch_first: bool, bidirectional: bool) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 6, batch_first=batch_first, bidirectional=bidirectional)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        answers, _ = self.lstm(packed)
        whole, _ = torch.nn.utils.rnn.pad_packed_sequence(answers, batch_first=True, padding_value=-1.0)
        return whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["neuralnetwork", "mlprogram"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences_of_torch(kind: str, batch_first: bool) -> None:
    torch.manual_seed(0)
    module = _Packed(batch_first=batch_first, bidirectional=False).eval()
    x, lengths = torch.from_numpy(_normal(0, 3, 10, 4)), torch.tensor([10, 5, 1], dtype=torch.int32)
    precision = {} if kind == "neuralnetwork" else {"compute_precision": ct.precision.FLOAT32}
    with chatter_to():
        model = ct.convert(
            torch.jit.trace(module, (x, lengths)),
            inputs=[ct.TensorType("x", x.shape), ct.TensorType("lengths", (3,), dtype=np.int32)],
            convert_to=kind,
            skip_model_load=True,
            **precision,
        )

    (found,) = Evaluator(model).predict({"x": x.numpy(), "lengths": lengths.numpy()}).values()

    np.testing.assert_allclose(found, module(x, lengths).detach(), rtol=1e-5, atol=1e-6)
