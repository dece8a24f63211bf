"""Recurrent networks. Source: coremltools' MIL definitions, family recurrent.

Sizes: s steps, b examples, I numbers in, H out. An initial state may have more than b rows.

Where the text leaves something open, Apple's own tests decide: `reverse` answers in the order in which it computes,
the last element of the sequence first, while the backward half of `bidirectional` keeps the order of the sequence;
`scaled_tanh` is a plain tanh, `hard_sigmoid` has 0.2 and 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from parity.core.errors import CoreMLError
from parity.coreml.registry import op

Activation = Callable[[torch.Tensor], torch.Tensor]
# Takes what the inputs add to all gates at one step, and the states; returns the states, the answer first.
Step = Callable[[torch.Tensor, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]


def _hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return (0.2 * x + 0.5).clamp_(0, 1)


_ACTIVATIONS: Mapping[str, Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


def _activation(name: str) -> Activation:
    if name.lower() not in _ACTIVATIONS:
        raise CoreMLError(f"no activation `{name}` in a recurrent network; defined are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name.lower()]


def _inputs(x: torch.Tensor, weight: torch.Tensor, *biases: torch.Tensor | None) -> torch.Tensor:
    """Return what the inputs and biases add to the gates, for all steps in one product: [s, b, gates * H]."""
    total = x @ weight.mT
    for bias in biases:
        if bias is not None:
            total = total + bias
    return total


def rows_of_batch(state: torch.Tensor, batch: int) -> torch.Tensor:
    """Take the first `batch` rows of an initial state [rows, H]; those beyond belong to no example.

    coremltools writes more where a packed sequence of PyTorch goes in: it takes the steps for the examples. Apple's
    tests of that (TestLSTMWithPackedSequence) want PyTorch's answer all the same.
    """
    if len(state) < batch:
        raise ValueError(f"an initial state of {len(state)} row(s) for a batch of {batch}; it takes one for each")
    return state[:batch]


def _unroll(
    inputs: torch.Tensor, states: tuple[torch.Tensor, ...], step: Step, direction: str
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Go through the steps; return the answers in the order of computation [s, b, H], and the last states."""
    if direction not in ("forward", "reverse"):
        raise CoreMLError(f"no direction `{direction}` in this recurrent network; choose forward or reverse")
    states = tuple(rows_of_batch(state, inputs.shape[1]) for state in states)
    answers = []
    for now in inputs.unbind() if direction == "forward" else inputs.flip(0).unbind():
        states = step(now, states)
        answers.append(states[0])
    return torch.stack(answers), states


def _some(answers: torch.Tensor, output_sequence: bool) -> torch.Tensor:
    return answers if output_sequence else answers[-1:]


@op("rnn")
def rnn(
    x: torch.Tensor,
    initial_h: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute h = activation(W_ih x + W_hh h + bias) step by step; return all h or the last, and the last [b, H].

    x [s, b, I], initial_h [b, H], weight_ih [H, I], weight_hh [H, H], bias [H].
    """
    activate = _activation(activation)

    def step(now: torch.Tensor, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (activate(torch.addmm(now, states[0], weight_hh.mT)),)

    answers, (h,) = _unroll(_inputs(x, weight_ih, bias), (initial_h,), step, direction)
    return _some(answers, output_sequence), h


@op("gru")
def gru(
    x: torch.Tensor,
    initial_h: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute h = (1 - z) o + z h step by step; return all h or the last, and the last [b, H].

    x [s, b, I], initial_h [b, H], weight_ih [3 H, I], weight_hh [3 H, H], biases [3 H]; the gates are r, o, z.
    reset_after: r multiplies what the states add to o, `bias` included, and not the states themselves. Apple's
        formula reads as if that were always so; its tests say otherwise.
    """
    gate, activate = _activation(recurrent_activation), _activation(activation)
    weight_r, weight_o, weight_z = weight_hh.mT.chunk(3, 1)
    nothing = weight_hh.new_zeros(weight_hh.shape[0])
    bias_r, bias_o, bias_z = (nothing if bias is None else bias).chunk(3)

    def step(now: torch.Tensor, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (h,) = states
        now_r, now_o, now_z = now.chunk(3, 1)
        r = gate(now_r + torch.addmm(bias_r, h, weight_r))
        z = gate(now_z + torch.addmm(bias_z, h, weight_z))
        if reset_after:
            o = activate(now_o + r * torch.addmm(bias_o, h, weight_o))
        else:
            o = activate(now_o + torch.addmm(bias_o, r * h, weight_o))
        return ((1 - z) * o + z * h,)

    answers, (h,) = _unroll(_inputs(x, weight_ih, input_bias), (initial_h,), step, direction)
    return _some(answers, output_sequence), h


def _lstm_step(
    weight_hh: torch.Tensor,
    peephole: torch.Tensor | None,
    recurrent_activation: str,
    cell_activation: str,
    activation: str,
    clip: float | None,
) -> Step:
    """Make the step of an LSTM in one direction; its states are h and the cell's memory."""
    gate = _activation(recurrent_activation)
    into, out = _activation(cell_activation), _activation(activation)
    size = weight_hh.shape[1]
    watch = weight_hh.new_zeros(3 * size) if peephole is None else peephole
    watch_i, watch_f, watch_o = watch.chunk(3)

    def step(now: torch.Tensor, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        h, memory = states
        i, f, o, z = torch.addmm(now, h, weight_hh.mT).chunk(4, 1)
        kept = gate(f + watch_f * memory) * memory + gate(i + watch_i * memory) * into(z)
        if clip is not None:
            kept = kept.clamp(-clip, clip)
        return gate(o + watch_o * kept) * out(kept), kept

    return step


@op("lstm")
def lstm(
    x: torch.Tensor,
    initial_h: torch.Tensor,
    initial_c: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    peephole: torch.Tensor | None = None,
    weight_ih_back: torch.Tensor | None = None,
    weight_hh_back: torch.Tensor | None = None,
    bias_back: torch.Tensor | None = None,
    peephole_back: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute an LSTM; return all h or the last, the last h and the last memory [b, H], two directions [b, 2 H].

    x [s, b, I], initial_h and initial_c [b, H] or [b, 2 H], weight_ih [4 H, I], weight_hh [4 H, H], bias [4 H];
    the gates are i, f, o, z; peephole [3 H] for i, f, o. What ends in `_back` counts in `bidirectional` alone.
    clip: the limit of the memory's magnitude, after every step.
    """
    settings = (recurrent_activation, cell_activation, activation, clip)
    forward = _lstm_step(weight_hh, peephole, *settings)
    if direction != "bidirectional":
        inputs = _inputs(x, weight_ih, bias)
        answers, (h, c) = _unroll(inputs, (initial_h, initial_c), forward, direction)
        return _some(answers, output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise CoreMLError("a bidirectional lstm needs weight_ih_back and weight_hh_back; convert again")
    (h, h_back), (c, c_back) = initial_h.chunk(2, 1), initial_c.chunk(2, 1)
    backward = _lstm_step(weight_hh_back, peephole_back, *settings)
    there, (h, c) = _unroll(_inputs(x, weight_ih, bias), (h, c), forward, "forward")
    inputs = _inputs(x, weight_ih_back, bias_back)
    back, (h_back, c_back) = _unroll(inputs, (h_back, c_back), backward, "reverse")
    # Without the sequence each direction gives its own last step, which for the backward one is the first element.
    answers = torch.cat([there, back.flip(0)] if output_sequence else [there[-1:], back[-1:]], 2)
    return answers, torch.cat([h, h_back], 1), torch.cat([c, c_back], 1)
