"""Where the evaluator's kernels are: ML Program operations by type and opset, NeuralNetwork layers by type.

An ML Program kernel is a function whose keyword arguments are Apple's parameter names with Apple's defaults. Its
annotations say what it wants each parameter as (a tensor, a tuple of ints, a string); `bind` in mil_binding.py
converts, once at planning time where the value is a constant. A layer's factory takes the layer's message from
NeuralNetwork.proto, prepares weights, and returns the function that runs on tensors, or a `Prepared`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from parity.core.errors import CoreMLError

F = TypeVar("F", bound=Callable[..., Any])

# In the order of release; an operation whose meaning changed is registered once for each opset that changed it.
OPSETS: tuple[str, ...] = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")


@dataclass(frozen=True)
class Kernel:
    """Hold an operation's function and what the planner must know of it.

    parameters: Apple's parameter name -> the annotation that says in which form the function wants it.
    exact: the result needs no rounding because it holds only values that its inputs hold.
    view: the result may share memory with an input.
    inplace: a variant that may overwrite the first parameter; same parameters, same result.
    wants_outputs: the function takes the declared outputs as its parameter `outputs`.
    wants_blocks: it takes the operation's two blocks, as functions, as its parameter `blocks`; see blocks.py.
    constant: what it computes from constants is a constant, worked out once, when the file is read.
    prepare: makes the function of the first parameter alone from all other arguments, where these are constants;
        None where it knows nothing better. What it makes may have `padded`, `zeros` or `gain`, see program.Node.
    """

    type: str
    since: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    required: frozenset[str]
    exact: bool = False
    view: bool = False
    inplace: Callable[..., Any] | None = None
    wants_outputs: bool = False
    wants_blocks: bool = False
    constant: bool = False
    prepare: Callable[..., Callable[..., Any] | None] | None = None


@dataclass(frozen=True)
class Prepared:
    """Hold a layer that is ready to run.

    inplace: the form that may overwrite the first input; None where there is none.
    role: the ML Program operation that computes the same, for each [C, H, W] by itself.
    gain, zeros: as program.Node has them; padded: makes the layer that puts zeros around its input by itself.
    """

    run: Callable[..., Any]
    inplace: Callable[..., Any] | None = None
    role: str = ""
    gain: Callable[[], tuple[float, float]] | None = None
    zeros: tuple[int, ...] | None = None
    padded: Callable[[tuple[int, ...]], Prepared] | None = None


@dataclass(frozen=True)
class Layer:
    """Hold a NeuralNetwork layer's factory and what the planner must know of the layer.

    make: takes the layer's parameters, for instance a ConvolutionLayerParams; a ValueError says what is wrong.
    view: the result may share memory with an input.
    wants_layer: the factory takes the NeuralNetworkLayer, which names inputs and outputs, as its parameter `layer`.
    """

    type: str
    make: Callable[..., Any]
    view: bool = False
    wants_layer: bool = False


_OPERATIONS: dict[str, dict[str, Kernel]] = {}
_LAYERS: dict[str, Layer] = {}


def op(
    *types: str,
    since: str = "iOS15",
    exact: bool = False,
    view: bool = False,
    inplace: Callable[..., Any] | None = None,
    constant: bool = False,
    prepare: Callable[..., Callable[..., Any] | None] | None = None,
) -> Callable[[F], F]:
    """Register a function as the kernel of one or more ML Program operations, from the opset `since` on."""

    def register(function: F) -> F:
        # Resolved here rather than at each look-up: the annotations are what `bind` converts by.
        hints = typing.get_type_hints(function)
        signature = inspect.signature(function).parameters
        names = [name for name in signature if name not in ("outputs", "blocks")]
        for kind in types:
            versions = _OPERATIONS.setdefault(kind, {})
            if since in versions:
                holder = versions[since].function
                raise ValueError(f"{kind} since {since} is registered by {holder.__module__}.{holder.__name__}")
            if since not in OPSETS:
                raise ValueError(f"{kind}: unknown opset {since}; known are {', '.join(OPSETS)}")
            versions[since] = Kernel(
                type=kind,
                since=since,
                function=function,
                parameters={name: hints[name] for name in names},
                required=frozenset(n for n in names if signature[n].default is inspect.Parameter.empty),
                exact=exact,
                view=view,
                inplace=inplace,
                wants_outputs="outputs" in signature,
                wants_blocks="blocks" in signature,
                constant=constant,
                prepare=prepare,
            )
        return function

    return register


def layer(*types: str, view: bool = False) -> Callable[[F], F]:
    """Register a factory for one or more NeuralNetwork layers, by their field's name in NeuralNetwork.proto."""

    def register(function: F) -> F:
        for kind in types:
            if kind in _LAYERS:
                holder = _LAYERS[kind].make
                raise ValueError(f"layer {kind} is registered by {holder.__module__}.{holder.__name__}")
            _LAYERS[kind] = Layer(kind, function, view, "layer" in inspect.signature(function).parameters)
        return function

    return register


@cache
def _load(package: str) -> None:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def find_operation(kind: str, opset: str) -> Kernel | None:
    """Find the kernel of an operation as the opset defines it; None where the evaluator has none."""
    _load("parity.coreml.ops")
    if opset not in OPSETS:
        raise CoreMLError(f"unknown opset `{opset}`; the evaluator knows {', '.join(OPSETS)}")
    versions = _OPERATIONS.get(kind, {})
    known = [since for since in OPSETS[: OPSETS.index(opset) + 1] if since in versions]
    return versions[known[-1]] if known else None


def find_layer(kind: str) -> Layer | None:
    """Find the factory of a NeuralNetwork layer; None where the evaluator has none."""
    _load("parity.coreml.layers")
    return _LAYERS.get(kind)


def operations() -> Mapping[str, Mapping[str, Kernel]]:
    """List every registered ML Program operation: type -> opset -> kernel."""
    _load("parity.coreml.ops")
    return _OPERATIONS


def layers() -> Mapping[str, Layer]:
    """List every registered NeuralNetwork layer by type."""
    _load("parity.coreml.layers")
    return _LAYERS
