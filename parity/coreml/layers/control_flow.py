"""Branches and loops. Source: NeuralNetwork.proto.

A block is a function of the blobs that its layer may change; neuralnetwork.py says which, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from parity.coreml.registry import layer
from parity.coreml.running.blocks import Call, iterations

_ZERO = 1e-6
_BREAK, _CONTINUE = "break", "continue"


@layer("branch", view=True)
def branch(params: Any) -> Callable[..., tuple[Any, ...]]:
    """Run the first network where the condition is further than 1e-6 from zero, else the second."""

    def run(condition: torch.Tensor, *, blocks: Sequence[Call]) -> tuple[Any, ...]:
        return blocks[0]() if _holds(condition) else blocks[1]()

    return run


def _holds(condition: torch.Tensor) -> bool:
    """Read a condition: one number, as the specification has it, or several that say the same.

    A test of Apple's own asks a network with two for an answer. Which of them Core ML reads nobody says.
    """
    true = condition.abs() > _ZERO
    if not condition.numel() or true.any() != true.all():
        raise ValueError(f"a condition is one number, or several that say the same; this is {condition.tolist()}")
    return bool(true.all())


@layer("loop", view=True)
def loop(params: Any, layer: Any) -> Callable[..., tuple[Any, ...]]:
    """Run the body while the condition holds and the number of iterations is not reached.

    The number is the layer's input where it has one; without it zero stands for no limit, beside a condition.
    Blocks: the condition (variables -> its value and the variables), the body (variables -> how it was left and
    the variables).
    """
    counted, conditioned = len(layer.input) == 1, bool(params.conditionVar)
    if not conditioned and not counted and params.maxLoopIterations == 0:
        raise ValueError("a loop takes an input, a condition network or a number of iterations")

    def run(*values: Any, blocks: Sequence[Call]) -> tuple[Any, ...]:
        condition, body = blocks
        variables = list(values[1:] if counted else values)
        most = int(values[0].item()) if counted else int(params.maxLoopIterations)
        for done in iterations():
            if conditioned:
                holds, *variables = condition(*variables)
                if not _holds(holds):
                    break
            if done >= most and (most or counted or not conditioned):
                break
            left, *variables = body(*variables)
            if left == _BREAK:
                break
        return tuple(variables)

    return run


@layer("loopBreak")
def loop_break(params: Any) -> Callable[[], str]:
    """End the loop around this layer."""
    return lambda: _BREAK


@layer("loopContinue")
def loop_continue(params: Any) -> Callable[[], str]:
    """End this iteration of the loop around this layer."""
    return lambda: _CONTINUE
