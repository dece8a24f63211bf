"""Twins of recurrent networks and of sampling: PyTorch's own modules and grid_sample, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tests.coreml.random_programs.twins import twin_of

_ACTIVATIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@twin_of("rnn")
def rnn(
    x: Any,
    initial_h: Any,
    weight_ih: Any,
    weight_hh: Any,
    direction: str,
    output_sequence: bool,
    activation: str,
    bias: Any = 0.0,
) -> Any:
    h, answers = initial_h, []
    for now in x if direction == "forward" else x[::-1]:
        h = _ACTIVATIONS[activation](now @ weight_ih.T + h @ weight_hh.T + bias)
        answers.append(h)
    return np.stack(answers if output_sequence else answers[-1:]), h


@twin_of("gru")
def gru(
    x: Any,
    initial_h: Any,
    weight_ih: Any,
    weight_hh: Any,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    activation: str,
    reset_after: bool = False,
    bias: Any = 0.0,
    input_bias: Any = 0.0,
) -> Any:
    gate, h, answers, size = _ACTIVATIONS[recurrent_activation], initial_h, [], initial_h.shape[1]
    # One vector of biases a gate, in the order of the weights: reset, output, update.
    into_r, into_o, into_z = np.reshape(np.broadcast_to(input_bias, 3 * size), (3, size))
    bias_r, bias_o, bias_z = np.reshape(np.broadcast_to(bias, 3 * size), (3, size))
    (in_r, in_o, in_z), (back_r, back_o, back_z) = np.split(weight_ih, 3), np.split(weight_hh, 3)
    for now in x if direction == "forward" else x[::-1]:
        r = gate(now @ in_r.T + into_r + h @ back_r.T + bias_r)
        z = gate(now @ in_z.T + into_z + h @ back_z.T + bias_z)
        state = r * (h @ back_o.T + bias_o) if reset_after else (r * h) @ back_o.T + bias_o
        h = (1 - z) * _ACTIVATIONS[activation](now @ in_o.T + into_o + state) + z * h
        answers.append(h)
    return np.stack(answers if output_sequence else answers[-1:]), h


def _of_torch(matrix: Any) -> torch.Tensor:
    """Put Apple's gates, input, forget, output, cell, into PyTorch's order, input, forget, cell, output."""
    i, f, o, z = np.split(matrix, 4)
    return torch.from_numpy(np.concatenate([i, f, z, o]))


@twin_of("lstm")
def lstm(
    x: Any,
    initial_h: Any,
    initial_c: Any,
    weight_ih: Any,
    weight_hh: Any,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    cell_activation: str,
    activation: str,
    bias: Any,
    weight_ih_back: Any = None,
    weight_hh_back: Any = None,
    bias_back: Any = None,
) -> Any:
    both = direction == "bidirectional"
    size = weight_hh.shape[1]
    module = torch.nn.LSTM(x.shape[2], size, bidirectional=both).double()
    parts = {"": (weight_ih, weight_hh, bias)} | (
        {"_reverse": (weight_ih_back, weight_hh_back, bias_back)} if both else {}
    )
    weights = {}
    for end, (into, back, shift) in parts.items():
        weights |= {f"weight_ih_l0{end}": _of_torch(into), f"weight_hh_l0{end}": _of_torch(back)}
        weights |= {f"bias_ih_l0{end}": _of_torch(shift), f"bias_hh_l0{end}": torch.zeros(4 * size).double()}
    module.load_state_dict(weights)
    states = [torch.from_numpy(np.stack(np.split(s, 1 + both, 1))) for s in (initial_h, initial_c)]
    steps = torch.from_numpy(x[::-1].copy() if direction == "reverse" else x)
    with torch.no_grad():
        answers, ends = module(steps, tuple(states))
    h, c = (np.concatenate(list(end.numpy()), 1) for end in ends)
    return answers.numpy() if output_sequence else h[None], h, c


@twin_of("resample")
def resample(
    x: Any,
    coordinates: Any,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Any:
    mode = {"constant": "zeros", "symmetric": "reflection"}.get(padding_mode, padding_mode)
    image, grid = torch.from_numpy(x), torch.from_numpy(coordinates)
    return F.grid_sample(image, grid, sampling_mode, mode, align_corners).numpy()
