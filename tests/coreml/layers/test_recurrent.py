from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from parity.core.errors import CoreMLError
from tests.coreml.networks import close, normal, run

# The lengths of sequence and batch, and of the vectors in and out.
S, B, X, H = 3, 2, 4, 3
_X = normal(S, B, X, seed=9)
_STATES = [normal(B, H, seed=20 + i) for i in range(4)]
# By the names of coremltools' builder, which leaves alpha and beta out.
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "SIGMOID": expit,
    "TANH": np.tanh,
    "RELU": lambda x: np.maximum(x, 0),
    "LINEAR": lambda x: x,
    "SIGMOID_HARD": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "SCALED_TANH": np.tanh,
}
_kinds = st.sampled_from(sorted(_ACTIVATIONS))


def _matrices(count: int, *shape: int, seed: int) -> list[np.ndarray]:
    # Small, so that a chain of linear steps does not blow rounding up.
    return [0.4 * normal(*shape, seed=seed + i) for i in range(count)]


def _limited(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -50, 50)


def _blob(x: np.ndarray) -> np.ndarray:
    """Give [Batch, C] or [Seq, Batch, C] its five axes."""
    return (x if x.ndim == 3 else x[None])[..., None, None]


def _run(add: Callable[[Any], Any], names: str, states: Sequence[np.ndarray] = _STATES, x: np.ndarray = _X) -> Any:
    fed = dict(zip(names.split(), map(_blob, states), strict=False))
    return run(add, outputs=tuple(f"{name}_out" for name in ("y", *names.split())), x=_blob(x), **fed)


def _steps(
    step: Callable[..., tuple[np.ndarray, ...]], states: Sequence[np.ndarray], reverse: bool = False
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Go through the sequence; return the outputs in the order of computation, and the last states."""
    outputs, now = [], [state.astype(np.float64) for state in states]
    for x in _X[::-1] if reverse else _X:
        now = list(step(x, *now))
        outputs.append(now[0])
    return np.stack(outputs), now


def _compare(found: Any, outputs: np.ndarray, states: Sequence[np.ndarray], sequence: bool) -> None:
    close(found[0], _blob(outputs if sequence else outputs[-1:]), 1e-5)
    for one, expected in zip(found[1:], states, strict=True):
        close(one, _blob(expected), 1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["TANH", "RELU"])
def test_simple_recurrent_is_torchs(kind: str, bias: bool, sequence: bool, reverse: bool) -> None:
    w, r, b = normal(H, X, seed=1), normal(H, H, seed=2), normal(H, seed=3)
    rnn = torch.nn.RNN(X, H, nonlinearity=kind.lower(), bias=bias)
    values = [w, r, b, np.zeros(H)] if bias else [w, r]
    for parameter, value in zip(rnn.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32)

    def add(n: Any) -> None:
        names = ["x", "h"], ["y_out", "h_out"]
        n.add_simple_rnn("r", r, w, b if bias else None, H, X, kind, *names, sequence, reverse)

    with torch.no_grad():
        x = torch.tensor(_X[::-1].copy() if reverse else _X)
        outputs, last = rnn(x, torch.tensor(_STATES[0])[None])
    _compare(_run(add, "h"), outputs.numpy(), [last[0].numpy()], sequence)


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.booleans(), st.booleans(), _kinds, _kinds)
def test_gru(bias: bool, sequence: bool, reverse: bool, inner: str, outer: str) -> None:
    w, r = _matrices(3, H, X, seed=1), _matrices(3, H, H, seed=4)
    b = _matrices(3, H, seed=7) if bias else [np.zeros(H)] * 3
    f, g = _ACTIVATIONS[inner], _ACTIVATIONS[outer]

    def step(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        update = f(_limited(x @ w[0].T + y @ r[0].T + b[0]))
        reset = f(_limited(x @ w[1].T + y @ r[1].T + b[1]))
        out = g(_limited(x @ w[2].T + (y * reset) @ r[2].T + b[2]))
        return ((1 - update) * out + update * y,)

    def add(n: Any) -> None:
        n.add_gru(
            "g", r, w, b if bias else None, H, X, ["x", "h"], ["y_out", "h_out"], outer, inner, sequence, reverse
        )

    _compare(_run(add, "h"), *_steps(step, _STATES[:1], reverse), sequence)


def _lstm_step(
    w: list[np.ndarray],
    r: list[np.ndarray],
    b: list[np.ndarray],
    p: list[np.ndarray],
    kinds: Sequence[str],
    coupled: bool = False,
    limit: float = 50.0,
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Make a step; the gates stand as in the builder: input, forget, output, block input."""
    f, g, h = (_ACTIVATIONS[kind] for kind in kinds)

    def step(x: np.ndarray, y: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
        sums = [x @ w[k].T + y @ r[k].T + b[k] for k in range(4)]
        i = f(_limited(sums[0] + p[0] * c))
        forget = 1 - i if coupled else f(_limited(sums[1] + p[1] * c))
        c = np.clip(c * forget + i * g(_limited(sums[3])), -limit, limit)
        return h(c) * f(_limited(sums[2] + p[2] * c)), c

    return step


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_lstm_in_one_direction(data: st.DataObject) -> None:
    w, r = _matrices(4, H, X, seed=1), _matrices(4, H, H, seed=5)
    flag = st.booleans()
    bias, peep, forget, coupled, sequence, reverse = (data.draw(flag) for _ in range(6))
    kinds, limit = [data.draw(_kinds) for _ in range(3)], data.draw(st.sampled_from([50.0, 0.3]))
    b = _matrices(4, H, seed=9) if bias else [np.zeros(H)] * 4
    p = _matrices(3, H, seed=13) if peep else [np.zeros(H)] * 3

    def add(n: Any) -> None:
        n.add_unilstm(
            "l", r, w, b if bias else None, H, X, ["x", "h", "c"], ["y_out", "h_out", "c_out"], *kinds,
            peep=p if peep else None, output_all=sequence, forget_bias=forget, coupled_input_forget_gate=coupled,
            cell_clip_threshold=limit, reverse_input=reverse,
        )  # fmt: skip

    shifted = [b[0], b[1] + forget, b[2], b[3]]
    step = _lstm_step(w, r, shifted, p, kinds, coupled, limit)
    _compare(_run(add, "h c"), *_steps(step, _STATES[:2], reverse), sequence)


@pytest.mark.parametrize("sequence", [False, True])
def test_lstm_in_both_directions(sequence: bool) -> None:
    w, r, b, p = (
        _matrices(n, *shape, seed=10 * n) for n, shape in ((4, (H, X)), (4, (H, H)), (4, (H,)), (3, (H,)))
    )
    back = [[-one for one in some] for some in (w, r, b, p)]
    kinds = ("SIGMOID", "RELU", "TANH")

    def add(n: Any) -> None:
        n.add_bidirlstm(
            "l", r, w, b, back[1], back[0], back[2], H, X, ["x", "h", "c", "hr", "cr"],
            ["y_out", "h_out", "c_out", "hr_out", "cr_out"], *kinds, peep=p, peep_back=back[3], output_all=sequence,
        )  # fmt: skip

    ahead, states = _steps(_lstm_step(w, r, b, p, kinds), _STATES[:2])
    behind, others = _steps(_lstm_step(*back, kinds), _STATES[2:], reverse=True)
    # The last of both, or each beside the other's for the same element of the sequence.
    pairs = (ahead, behind[::-1]) if sequence else (ahead[-1:], behind[-1:])
    _compare(_run(add, "h c hr cr"), np.concatenate(pairs, -1), [*states, *others], sequence)


def test_lstm_in_both_directions_is_torchs() -> None:
    lstm = torch.nn.LSTM(X, H, bidirectional=True)
    for i, parameter in enumerate(lstm.parameters()):
        parameter.data = torch.tensor(normal(*parameter.shape, seed=i))
    numbers = {name: parameter.detach().numpy() for name, parameter in lstm.named_parameters()}

    def gates(name: str) -> list[np.ndarray]:
        i, f, block, out = np.split(numbers[name], 4)
        return [i, f, out, block]

    def add(n: Any) -> None:
        b, b_back = (
            [x + y for x, y in zip(gates(f"bias_ih_l0{end}"), gates(f"bias_hh_l0{end}"), strict=True)]
            for end in ("", "_reverse")
        )
        n.add_bidirlstm(
            "l", gates("weight_hh_l0"), gates("weight_ih_l0"), b, gates("weight_hh_l0_reverse"),
            gates("weight_ih_l0_reverse"), b_back, H, X, ["x", "h", "c", "hr", "cr"],
            ["y_out", "h_out", "c_out", "hr_out", "cr_out"], output_all=True,
        )  # fmt: skip

    given_h, given_c = torch.tensor(np.stack(_STATES[::2])), torch.tensor(np.stack(_STATES[1::2]))
    with torch.no_grad():
        outputs, (h, c) = lstm(torch.tensor(_X), (given_h, given_c))
    states = [state.numpy() for state in (h[0], c[0], h[1], c[1])]
    _compare(_run(add, "h c hr cr"), outputs.numpy(), states, True)


def _ones(count: int, *shape: int) -> list[np.ndarray]:
    return [np.ones(shape)] * count


def _scalar_lstm(n: Any, **settings: Any) -> Any:
    """Add an LSTM of one number whose every weight is 1."""
    names = ["x"], ["y_out", "h_out", "c_out"]
    return n.add_unilstm("l", _ones(4, 1, 1), _ones(4, 1, 1), None, 1, 1, *names, **settings).uniDirectionalLSTM


@pytest.mark.parametrize("layer", ["gru", "lstm"])
def test_states_that_are_not_given_are_zero(layer: str) -> None:
    def add(n: Any) -> None:
        if layer == "lstm":
            _scalar_lstm(n)
        else:
            n.add_gru("g", _ones(3, 1, 1), _ones(3, 1, 1), None, 1, 1, ["x"], ["y_out", "h_out"])

    found = run(add, outputs=("y_out", "h_out", "c_out")[: 3 - (layer == "gru")], x=np.ones((1, 1, 1, 1, 1)))

    update = np.clip(0.2 + 0.5, 0, 1)
    c = expit(1) * np.tanh(1)
    expected = expit(1) * np.tanh(c) if layer == "lstm" else (1 - update) * np.tanh(1)
    close(found[0], [[[[[expected]]]]])


def _scalar(x: float) -> np.ndarray:
    return np.full((1, 1, 1, 1, 1), x)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sum_of_a_simple_layer_is_limited_to_50(sign: int) -> None:
    def add(n: Any) -> None:
        n.add_simple_rnn("r", np.eye(1), np.eye(1), None, 1, 1, "LINEAR", ["x", "h"], ["y_out", "h_out"])

    assert run(add, ("y_out", "h_out"), x=_scalar(sign * 70), h=_scalar(1))[0].item() == sign * 50


def test_each_sum_of_a_gru_is_limited_to_50() -> None:
    def add(n: Any) -> None:
        names = ["x", "h"], ["y_out", "h_out"]
        n.add_gru("g", _ones(3, 1, 1), _ones(3, 1, 1), None, 1, 1, *names, "LINEAR", "LINEAR")

    # Both gates are 50, and so is the output gate, instead of 70 + 50 * 1.
    assert run(add, ("y_out", "h_out"), x=_scalar(70), h=_scalar(1))[0].item() == (1 - 50) * 50 + 50 * 1


def test_each_sum_of_an_lstm_is_limited_to_50() -> None:
    def add(n: Any) -> None:
        names = ["x", "h", "c"], ["y_out", "h_out", "c_out"]
        weights = _ones(4, 1, 1), _ones(4, 1, 1)
        n.add_unilstm("l", *weights, None, 1, 1, *names, *["LINEAR"] * 3, cell_clip_threshold=1e6)

    y, _, c = run(add, ("y_out", "h_out", "c_out"), x=_scalar(70), h=_scalar(0), c=_scalar(1))

    assert (c.item(), y.item()) == (50 * 1 + 50 * 50, 2550 * 50)


def test_the_cell_is_limited_to_50_where_the_file_does_not_say() -> None:
    def add(n: Any) -> None:
        params = _scalar_lstm(n, cell_state_update_activation="LINEAR", output_activation="LINEAR")
        params.params.cellClipThreshold = 0

    # The gates are open; each of two steps adds 50 to the cell.
    assert run(add, ("y_out", "h_out", "c_out"), x=np.full((2, 1, 1, 1, 1), 70.0))[2].item() == 50


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "expected"),
    [
        ("linear", 2.0, 0.5, 2 * 0.4 + 0.5),
        ("linear", 0.0, 0.5, 0.5),
        ("scaledTanh", 1.7159, 2 / 3, 1.7159 * np.tanh(0.4 * 2 / 3)),
        ("sigmoidHard", 0.3, 0.1, 0.3 * 0.4 + 0.1),
    ],
)
def test_what_the_file_sets_of_an_activation_counts(kind: str, alpha: float, beta: float, expected: float) -> None:
    def add(n: Any) -> None:
        n.add_simple_rnn("r", np.eye(1), np.eye(1), None, 1, 1, "TANH", ["x", "h"], ["y_out", "h_out"])
        function = getattr(n.nn_spec.layers[0].simpleRecurrent.activation, kind)
        function.alpha, function.beta = alpha, beta

    found = run(add, ("y_out", "h_out"), x=np.full((1, 1, 1, 1, 1), 0.4), h=np.zeros((1, 1, 1, 1, 1)))

    close(found[0], [[[[[expected]]]]])


@pytest.mark.parametrize("batch", [1, 2])
def test_a_state_may_have_its_axes_of_size_1_elsewhere(batch: int) -> None:
    w, r = normal(H, X, seed=1), normal(H, H, seed=2)

    def add(n: Any) -> None:
        n.add_simple_rnn("r", r, w, None, H, X, "TANH", ["x", "h"], ["y_out", "h_out"])

    x, h = _X[:, :batch], _STATES[0][:batch]
    y, _ = run(add, ("y_out", "h_out"), x=_blob(x), h=h[:, :, None, None, None])

    close(y, _run(add, "h", [h], x)[0])


def test_under_the_shape_mapping_rank_5_a_vector_is_one_step() -> None:
    w, r = normal(H, X, seed=1), normal(H, H, seed=2)

    def add(n: Any) -> None:
        n.add_simple_rnn("r", r, w, None, H, X, "TANH", ["x", "h"], ["y_out", "h_out"])

    y, _ = run(add, ("y_out", "h_out"), rank5=True, x=_X[0, 0], h=_STATES[0][0])

    close(y, np.tanh(w @ _X[0, 0] + r @ _STATES[0][0]).reshape(1, 1, H, 1, 1), 1e-5)


def _simple(n: Any) -> Any:
    names = ["x", "h"], ["y_out", "h_out"]
    return n.add_simple_rnn("r", np.eye(1), np.eye(1), None, 1, 1, "TANH", *names).simpleRecurrent


def _elu(n: Any) -> None:
    _simple(n).activation.ELU.alpha = 1


def _no_activation(n: Any) -> None:
    _simple(n).activation.Clear()


def _one_activation(n: Any) -> None:
    layer = n.add_gru("g", _ones(3, 1, 1), _ones(3, 1, 1), None, 1, 1, ["x", "h"], ["y_out", "h_out"])
    del layer.gru.activations[1]


def _one_direction(n: Any) -> None:
    weights = _ones(4, 1, 1)
    names = ["x"], ["y_out", "h_out", "c", "d", "e"]
    layer = n.add_bidirlstm("b", weights, weights, None, weights, weights, None, 1, 1, *names)
    del layer.biDirectionalLSTM.weightParams[1]


@pytest.mark.parametrize(
    ("add", "text"),
    [
        (_elu, "with the activation ELU; allowed are linear, sigmoid, tanh, scaledTanh, sigmoidHard, ReLU"),
        (_no_activation, "with the activation None; allowed"),
        (_one_activation, "`activations` has 1 entries; 2 are defined"),
        (_one_direction, "`weightParams` has 1 entries; two are defined, one per direction"),
    ],
)
def test_what_is_wrong_with_the_layer_is_said(add: Callable[[Any], None], text: str) -> None:
    one = np.ones((1, 1, 1, 1, 1))
    with pytest.raises(CoreMLError, match=text):
        run(add, ("y_out", "h_out"), x=one, h=one)


def test_a_sequence_has_five_axes() -> None:
    with pytest.raises(CoreMLError, match=r"a sequence is \[Seq, Batch, C, 1, 1\], not \[1, 1\]"):
        run(_simple, ("y_out", "h_out"), x=np.ones((1, 1)), h=np.ones((1, 1)))
