"""One layer of a NeuralNetwork -> its node, with the kernel that computes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import settle
from parity.coreml.layers.clamp import Clamp
from parity.coreml.program import Node, Value
from parity.coreml.registry import Layer, Prepared


def make_kernel(layer: Any, registered: Layer, where: str) -> Any:
    """Make what computes a layer, of its parameters."""
    params = getattr(layer, registered.type)
    try:
        return registered.make(params, layer=layer) if registered.wants_layer else registered.make(params)
    except ValueError as error:
        raise CoreMLError(f"{where}: {error}; the file is damaged, convert again") from error


def _check_arity(function: Callable[..., Any], count: int, where: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of torch's own have none
        return
    try:
        signature.bind(*range(count))
    except TypeError as error:
        raise CoreMLError(f"{where}: does not take {count} input(s); the file is damaged, convert again") from error


def layer_node(
    layer: Any,
    registered: Layer,
    inputs: tuple[str, ...],
    outputs: tuple[Value, ...],
    clamps: dict[str, tuple[Clamp, str]],
    where: str,
) -> Node:
    """Make a layer's node: its weights are read and prepared here, once.

    clamps: the values that are a Clamp of another value, with that value's name; those of the layer are added.
    """
    kernel = make_kernel(layer, registered, where)
    _check_arity(kernel.run if isinstance(kernel, Clamp | Prepared) else kernel, len(inputs), where)
    clamped = isinstance(kernel, Clamp) and len(inputs) == len(outputs) == 1
    if clamped:
        first, source = clamps.get(inputs[0], (Clamp(), inputs[0]))
        kernel, inputs = kernel.after(first), (source,)
        clamps[outputs[0].name] = (kernel, source)
    prepared = kernel if isinstance(kernel, Clamp | Prepared) else Prepared(kernel)
    # A tensor that is joined with itself cannot be overwritten while it is read.
    inplace = prepared.inplace if len(set(inputs)) == len(inputs) else None
    return Node(
        name=layer.name,
        type=registered.type,
        inputs=inputs,
        outputs=outputs,
        run=runner(prepared.run, len(outputs)),
        run_inplace=runner(inplace, len(outputs)) if inplace else None,
        owns_result=not registered.view,
        skippable=clamped,
        gain=prepared.gain,
        zeros=prepared.zeros,
        padded=_padded(prepared, len(outputs)),
        role=prepared.role,
        by_image=bool(prepared.role),
    )


def _padded(prepared: Any, count: int) -> Callable[[Node, tuple[int, ...]], Node] | None:
    """Make what makes of a layer's node one that pads by itself; None where it cannot."""
    padded = prepared.padded
    return padded and (lambda node, zeros: replace(node, run=runner(padded(zeros).run, count)))


def runner(function: Callable[..., Any], count: int) -> Callable[..., tuple[Any, ...]]:
    """Make a node's function, which returns a tuple; every number of a NeuralNetwork is a float32."""

    def run(*values: Any) -> tuple[Any, ...]:
        result = function(*values)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != count:
            raise ValueError(f"the file names {count} output(s), the layer gives {len(results)}; convert again")
        return tuple(settle(r, "fp32") if isinstance(r, torch.Tensor) else r for r in results)

    return run
