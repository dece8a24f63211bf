"""What a Core ML file says, as plain data: the common form between the readers and the planner.

A reader (mil.py, neuralnetwork.py) turns a file into `Node`s that carry a ready kernel; plan.py orders them,
decides what may be overwritten and what may be freed, and runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.coreml.shapes import Shape


@dataclass(frozen=True)
class Value:
    """Name a value with its declared type.

    dtype: `fp16`, `fp32`, `int32`, ... (see dtypes.py), `string`, or the kind of a value that is no tensor:
        `list`, `dict`, `tuple`; `outer` for what a block reads from around it.
    shape: None stands for a size that is known only when the program runs, a Span for those that an input may have.
    others: further shapes that an input may have.
    state: the value is a Cell (see state.py) that holds a tensor of this type.
    """

    name: str
    dtype: str
    shape: Shape = ()
    others: tuple[Shape, ...] = ()
    state: bool = False


# Takes the values that a node reads, and returns one for each that it gives.
NodeRun = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Form:
    """Hold what an operation of an ML Program is computed by, for those who compute it in another way.

    function: the kernel; it takes Apple's parameters by name. fixed: those of them that are constants.
    changing: the others, in the order of the node's inputs. prepare: as registry.Kernel has it.
    make: makes the `run` of a node from a function of the changing parameters, and from what brings a result to its
        declared type, as dtypes.settle does.
    """

    function: Callable[..., Any]
    fixed: Mapping[str, Any]
    changing: tuple[str, ...]
    prepare: Callable[..., Callable[..., Any] | None] | None
    make: Callable[[Callable[..., Any], Callable[..., Any]], NodeRun]


@dataclass(frozen=True)
class Node:
    """Hold one operation, ready to run.

    run: takes the values named by `inputs`, in order, and returns one value per name in `outputs`.
    run_inplace: the same, but may overwrite its first input; None where no such form exists.
    owns_result: the outputs never share memory with an input, so a later node may overwrite them.
    reads_numbers: takes sizes, or other numbers that are no tensor to its kernel, from values that are computed.
    skippable: a run leaves the node out where nothing reads its outputs; a trace computes it all the same.
    zeros: the node does nothing but put so many zeros on both sides of each spatial axis of [N, C, *spatial].
    padded: makes of the node one that puts such zeros around its input by itself.
    unrounded: the same as `run` without the rounding to fp16 at its end; None where nothing is rounded.
    gain: gives (factor, offset) of a node on one value: results are at most factor times the largest, plus offset.
    form: what `run` is made of, where the file was opened for that (ModelFile.open_forms).
    role: the ML Program operation that computes the same, by which plans are compiled; empty where there is none.
    by_image: a layer that treats each [C, H, W] by itself, whatever axes lie before.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    run: NodeRun
    run_inplace: NodeRun | None = None
    owns_result: bool = True
    reads_numbers: bool = False
    skippable: bool = False
    zeros: tuple[int, ...] | None = None
    padded: Callable[[Node, tuple[int, ...]], Node] | None = None
    unrounded: NodeRun | None = None
    gain: Callable[[], tuple[float, float]] | None = None
    form: Form | None = None
    role: str = ""
    by_image: bool = False


@dataclass(frozen=True)
class Graph:
    """Hold the nodes of a function or of a block, in the order of the file.

    constants: values known before the first run, by name.
    aliases: output -> the value that it is, where the two have different names.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
