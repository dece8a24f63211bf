"""Recurrent layers. Source: NeuralNetwork.proto, SimpleRecurrentLayerParams to BiDirectionalLSTMLayerParams.

A sequence is [Seq, Batch, C, 1, 1], a state [1, Batch, C, 1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from parity.coreml.layers.activation import activation
from parity.coreml.layers.weights import read_weights
from parity.coreml.ops.recurrent import rows_of_batch
from parity.coreml.registry import Prepared, layer

_Function = Callable[[torch.Tensor], torch.Tensor]
_Tensors = tuple[torch.Tensor, ...]

# What the specification calls clip(), and the cell's limit where it is not set.
_LIMIT = 50.0
# alpha and beta where the file leaves both out, as coremltools' builder does: Apple's tests of the recurrent
# operations expect these, also for scaledTanh, for which the specification names 1.7159 and 2/3.
_DEFAULTS: dict[str, tuple[float, float]] = {
    "linear": (1.0, 0.0),
    "sigmoid": (0.0, 0.0),
    "tanh": (0.0, 0.0),
    "scaledTanh": (1.0, 1.0),
    "sigmoidHard": (0.2, 0.5),
    "ReLU": (0.0, 0.0),
}


@dataclass(frozen=True)
class _Cell:
    """Hold one direction of a recurrent layer.

    weight: the input matrices of all gates, [gates * H, I]; bias: [gates * H].
    states: how many states a step keeps; the first of them is the output.
    step: takes what the input gives to the gates, [Batch, gates * H], and the states [Batch, H]; gives the states.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    size: int
    states: int
    step: Callable[..., _Tensors]
    reverse: bool

    def run(self, x: torch.Tensor, initial: Sequence[torch.Tensor]) -> _Tensors:
        """Step through the sequence; return the outputs in the order of the steps, then the last states."""
        if x.ndim != 5:
            raise ValueError(f"a sequence is [Seq, Batch, C, 1, 1], not {list(x.shape)}")
        batch = x.shape[1]
        # Whatever the axes of size 1: for its `rnn`, coremltools writes a state as [Batch, H, 1, 1, 1].
        states = [rows_of_batch(state.reshape(-1, self.size), batch) for state in initial]
        states += [x.new_zeros(batch, self.size) for _ in range(self.states - len(states))]
        gates = F.linear(x.flatten(2), self.weight, self.bias)
        outputs: list[torch.Tensor] = []
        for one in (gates.flip(0) if self.reverse else gates).unbind(0):
            states = list(self.step(one, *states))
            outputs.append(states[0])
        return torch.stack(outputs), *states


def _one_way(cell: _Cell, sequence: bool) -> Callable[..., _Tensors]:
    """Make the layer of a single direction; in reverse the first output is that of the last element."""

    def run(x: torch.Tensor, *initial: torch.Tensor) -> _Tensors:
        outputs, *states = cell.run(x, initial)
        return _blobs(outputs if sequence else outputs[-1:], states)

    return run


def _blobs(outputs: torch.Tensor, states: Sequence[torch.Tensor]) -> _Tensors:
    return tuple(y[..., None, None] for y in (outputs, *(state[None] for state in states)))


def _nonlinearity(params: Any) -> _Function:
    kind = params.WhichOneof("NonlinearityType")
    if kind not in _DEFAULTS:
        raise ValueError(f"a recurrent layer with the activation {kind}; allowed are {', '.join(_DEFAULTS)}")
    filled = type(params)()
    filled.CopyFrom(params)
    function = getattr(filled, kind)
    if any(_DEFAULTS[kind]) and not (function.alpha or function.beta):
        function.alpha, function.beta = _DEFAULTS[kind]
    kernel = activation(filled)
    plain: _Function = kernel.run if isinstance(kernel, Prepared) or not callable(kernel) else kernel
    return plain


def _nonlinearities(params: Sequence[Any], count: int, what: str) -> list[_Function]:
    if len(params) != count:
        raise ValueError(f"`{what}` has {len(params)} entries; {count} are defined")
    return [_nonlinearity(one) for one in params]


def _gates(messages: Any, names: Sequence[str], field: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Read one field of each gate, and put them one below the other."""
    fields = [name + field for name in names]
    return torch.cat([read_weights(getattr(messages, name), shape, name) for name in fields])


@layer("simpleRecurrent")
def simple_recurrent(params: Any) -> Callable[..., _Tensors]:
    """Compute y_t = f(W x_t + R y_t-1 + b)."""
    inputs, size = int(params.inputVectorSize), int(params.outputVectorSize)
    f = _nonlinearity(params.activation)
    recursion = read_weights(params.recursionMatrix, (size, size), "recursionMatrix")
    bias = read_weights(params.biasVector, (size,), "biasVector") if params.hasBiasVector else None

    def step(gates: torch.Tensor, y: torch.Tensor) -> _Tensors:
        return (f((gates + F.linear(y, recursion)).clamp_(-_LIMIT, _LIMIT)),)

    weight = read_weights(params.weightMatrix, (size, inputs), "weightMatrix")
    return _one_way(_Cell(weight, bias, size, 1, step, params.reverseInput), params.sequenceOutput)


_GRU_GATES = ("updateGate", "resetGate", "outputGate")


@layer("gru")
def gru(params: Any) -> Callable[..., _Tensors]:
    """Run a gated recurrent unit, in which the reset gate acts before the recursion matrix."""
    inputs, size = int(params.inputVectorSize), int(params.outputVectorSize)
    f, g = _nonlinearities(params.activations, 2, "activations")
    recursion = _gates(params, _GRU_GATES, "RecursionMatrix", (size, size))
    both, last = recursion[: 2 * size], recursion[2 * size :]
    bias = _gates(params, _GRU_GATES, "BiasVector", (size,)) if params.hasBiasVectors else None

    def step(gates: torch.Tensor, y: torch.Tensor) -> _Tensors:
        first, third = gates.split([2 * size, size], -1)
        z, r = f((first + F.linear(y, both)).clamp_(-_LIMIT, _LIMIT)).chunk(2, -1)
        o = g((third + F.linear(y * r, last)).clamp_(-_LIMIT, _LIMIT))
        return ((1 - z) * o + z * y,)

    weight = _gates(params, _GRU_GATES, "WeightMatrix", (size, inputs))
    return _one_way(_Cell(weight, bias, size, 1, step, params.reverseInput), params.sequenceOutput)


# The three that the activation f is for stand side by side.
_LSTM_GATES = ("inputGate", "forgetGate", "outputGate", "blockInput")
_PEEPHOLES = ("inputGate", "forgetGate", "outputGate")


@layer("uniDirectionalLSTM")
def uni_directional_lstm(params: Any) -> Callable[..., _Tensors]:
    """Run a long short-term memory in one direction."""
    cell = _lstm(params, params.activations, "activations", params.weightParams, params.reverseInput)
    return _one_way(cell, params.params.sequenceOutput)


@layer("biDirectionalLSTM")
def bi_directional_lstm(params: Any) -> Callable[..., _Tensors]:
    """Run a long short-term memory in both directions; the outputs of both stand side by side in the channels."""
    if len(params.weightParams) != 2:
        raise ValueError(
            f"`weightParams` has {len(params.weightParams)} entries; two are defined, one per direction"
        )
    there, back = params.weightParams
    forward = _lstm(params, params.activationsForwardLSTM, "activationsForwardLSTM", there, False)
    backward = _lstm(params, params.activationsBackwardLSTM, "activationsBackwardLSTM", back, True)

    def run(x: torch.Tensor, *initial: torch.Tensor) -> _Tensors:
        ahead, *states = forward.run(x, initial[:2])
        behind, *others = backward.run(x, initial[2:])
        if params.params.sequenceOutput:
            outputs = torch.cat([ahead, behind.flip(0)], -1)
        else:
            outputs = torch.cat([ahead[-1:], behind[-1:]], -1)
        return _blobs(outputs, [*states, *others])

    return run


def _lstm(params: Any, activations: Sequence[Any], what: str, weights: Any, reverse: bool) -> _Cell:
    """Make one direction; params: the layer's message."""
    inputs, size, options = int(params.inputVectorSize), int(params.outputVectorSize), params.params
    f, g, h = _nonlinearities(activations, 3, what)
    recursion = _gates(weights, _LSTM_GATES, "RecursionMatrix", (size, size))
    bias = torch.zeros(4 * size)
    if options.hasBiasVectors:
        bias = _gates(weights, _LSTM_GATES, "BiasVector", (size,))
    if options.forgetBias:
        bias[size : 2 * size] += 1
    peepholes = torch.zeros(3 * size)
    if options.hasPeepholeVectors:
        peepholes = _gates(weights, _PEEPHOLES, "PeepholeVector", (size,))
    peep_i, peep_f, peep_o = peepholes.chunk(3)
    limit = options.cellClipThreshold or _LIMIT
    coupled = bool(options.coupledInputAndForgetGate)

    def step(gates: torch.Tensor, y: torch.Tensor, c: torch.Tensor) -> _Tensors:
        into, forget, out, block = (gates + F.linear(y, recursion)).chunk(4, -1)
        i = f((into + peep_i * c).clamp_(-_LIMIT, _LIMIT))
        kept = 1 - i if coupled else f((forget + peep_f * c).clamp_(-_LIMIT, _LIMIT))
        c = (c * kept + i * g(block.clamp(-_LIMIT, _LIMIT))).clamp_(-limit, limit)
        return h(c) * f((out + peep_o * c).clamp_(-_LIMIT, _LIMIT)), c

    weight = _gates(weights, _LSTM_GATES, "WeightMatrix", (size, inputs))
    return _Cell(weight, bias, size, 2, step, reverse)
