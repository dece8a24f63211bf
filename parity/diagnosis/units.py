"""PyTorch's operations with weights, in the order in which they run: kernels, norms, and one number a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parity.diagnosis.batch_norm import Norm, Unit
from parity.diagnosis.constants import of_step

if TYPE_CHECKING:
    from parity.diagnosis.source import Program, Step

# PyTorch's operations that take one number a channel, and what the formats call them, without underscores.
BY_CHANNEL: Mapping[str, tuple[str, ...]] = {
    "mul": ("mul", "multiply", "scale", "multiplybroadcastable"),
    "add": ("add", "addbroadcastable", "bias"),
    "_prelu_kernel": ("prelu", "activation"),
    "prelu": ("prelu", "activation"),
}


def units_of(program: Program, state: Mapping[str, np.ndarray]) -> tuple[list[Unit], list[Norm]]:
    readers: dict[int, list[int]] = {}
    for step in program.steps:
        for number in step.inputs:
            readers.setdefault(number, []).append(step.index)
    units: list[Unit] = []
    norms: list[Norm] = []
    behind: set[int] = set()
    for step in program.steps:
        arrays = [(name, state[name]) for name in step.weights if name in state]
        by_channel = step.type in BY_CHANNEL and step.whole == step.type
        vectors = [name for name, array in arrays if by_channel and is_vector(array)]
        kernels = [(n, array) for n, array in arrays if array.ndim >= 2 and array.size > 3 and n not in vectors]
        if step.type == "native_batch_norm" and len(arrays) == 4:
            if step.index not in behind:
                norms.append(Norm(step.module, {n.split(".")[-1]: a for n, a in arrays}))
        elif kernels:
            kernel_name, kernel = kernels[0]
            bias_name, bias = next(((name, array) for name, array in arrays if array.ndim == 1), ("", None))
            follow = [program.steps[i] for n in step.outputs for i in readers.get(n or -1, [])]
            norm: dict[str, np.ndarray] = {}
            epsilon = 0.0
            if step.type == "convolution" and len(follow) == 1 and follow[0].type == "native_batch_norm":
                vectors = [name for name in follow[0].weights if name in state]
                if len(vectors) == 4:
                    norm, epsilon = {name: state[name] for name in vectors}, float(follow[0].args[7])
                    behind.add(follow[0].index)
            numbers = _numbers_behind(program, readers, step) if step.type == "convolution" and not norm else None
            units.append(
                Unit(
                    *(step.module, step.type, kernel, bias, tuple(norm.values()), epsilon),
                    *(kernel_name, bias_name, tuple(norm)),
                    groups=int(step.args[8]) if step.type == "convolution" and step.args[6] else 0,
                )
            )
            if numbers:
                units[-1] = _with_numbers(units[-1], *numbers)
        elif step.whole.endswith("norm") and len(arrays) == 1:
            name, array = arrays[0]
            if norms and norms[-1].module == step.module and name.endswith("bias"):
                norms[-1] = Norm(step.module, {**norms[-1].vectors, "bias": array})
            else:
                norms.append(Norm(step.module, {name.split(".")[-1]: array}))
    return units, norms


def _numbers_behind(
    program: Program, readers: Mapping[int, Sequence[int]], step: Step
) -> tuple[float, float] | None:
    """Find the numbers that all of a convolution's result is multiplied by, and that are added to it."""
    scale, shift, known = 1.0, 0.0, False
    while True:
        follow = [program.steps[i] for number in step.outputs for i in readers.get(number or -1, [])]
        if len(follow) != 1 or follow[0].whole != follow[0].type:
            break
        step = follow[0]
        constant = of_step(step)
        if constant is None or constant.kind not in ("add", "mul"):
            break
        known = True
        if constant.kind == "mul":
            scale, shift = scale * constant.number, shift * constant.number
        else:
            shift += constant.number
    return (scale, shift) if known else None


def _with_numbers(unit: Unit, scale: float, shift: float) -> Unit:
    ones = np.ones(unit.outputs)
    return replace(unit, norm=(scale * ones, shift * ones, 0 * ones, ones), scaled=True)


def vectors_of(program: Program, state: Mapping[str, np.ndarray], norms: set[str]) -> list[Unit]:
    """List the operations that multiply or add one number a channel: a layer's scale, the slopes of PReLU.

    norms: the modules whose normalisation is one in the file, too.
    """
    units = []
    for step in program.steps:
        arrays = [(name, state[name]) for name in step.weights if name in state]
        if step.whole.endswith("norm") and step.module in norms:
            continue
        if step.type in BY_CHANNEL and len(arrays) == 1 and is_vector(arrays[0][1]):
            units.append(Unit(step.module, step.type, *(arrays[0][1], None), kernel_name=arrays[0][0]))
    return units


def is_vector(array: np.ndarray) -> bool:
    return array.size > 3 and array.size == max(array.shape, default=0)
