"""Steps in a row compiled into one, by oneDNN's graph compiler, where many predictions pay for it.

    Plan --segments--> steps in a row that fuse --traced, compiled for these shapes--> one Step each --> Plan

A compiled segment takes half the time of its steps: activations and sums are computed while a convolution's
result lies in the registers, and channels stay in the blocks that the kernels want. It rounds as another order of
summation does. In one more respect the compiler alone would not keep to the steps: its relu and its clip make a
number of NaN. NaN comes of numbers only where infinity is added or multiplied. So values that may become infinite,
and that such an operation reads, are looked at; a prediction in which one is too large goes the way of the steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from parity.coreml.running.batch_parts import in_parts, keeps_images_apart, part_size
from parity.coreml.running.bounds import COMPUTABLE, LARGEST, MULTIPLIABLE, bound, computed
from parity.coreml.running.graph_compiler import can_fuse, compiler
from parity.coreml.running.packing import plain_weights
from parity.coreml.running.plan import Plan, Step
from parity.coreml.running.rewriting import Piece, Row, rewrite
from parity.coreml.running.segments import Segment, apart, largest_magnitude, other_values, peak

_HEAVY = frozenset(("conv", "linear", "matmul"))
# With fewer of the heavy ones, compiling is not worth its time.
_FEWEST = 4
_SELECTING = ("expand_dims", "max_pool", "pad", "reshape", "slice_by_index", "squeeze", "transpose")
_LIMITING = ("clip", "relu", "relu6", "sigmoid", "sigmoid_hard", "tanh", "thresholded_relu")
# These make no NaN of infinity.
_CALM = frozenset((*_SELECTING, *_LIMITING))
_SUMMING = ("add", "avg_pool", "batch_norm", "layer_norm", "leaky_relu", "mul", "reduce_mean", "softmax", "sub")
# Kernels whose way through their code follows from shapes alone, and which give no NaN for numbers that are not too
# large.
_FUSIBLE = frozenset((*_HEAVY, *_CALM, *_SUMMING, "concat", "gelu", "silu"))
# What a value that is looked at may be at most: so many times what it is while the plan is compiled, or so much.
_HEADROOM = 16.0
_LEAST: Mapping[str, float] = {"fp16": 1024.0, "fp32": 1e6}
# How far compiled and plain steps may be apart, as a share of the largest value: what sums in another order cost
# over a deep network, each of them rounded to the type.
_APART: Mapping[str, float] = {"fp16": 0.05, "fp32": 1e-3}

# A value with more bytes is in no cache, and its memory comes from the system anew each time. Then what goes over
# values once more, as rounding and padding do, costs more than is gained: steps overwrite, compiled ones do not. So
# large batches go through in parts.
_CACHED = 16 << 20

# The axes of values between the layers of a NeuralNetwork of before iOS 13.
_RANK5 = 5


@dataclass(frozen=True)
class Measured:
    """Hold what one run of a segment showed.

    limits: the places whose values are to be looked at, each with the most that it may be.
    finite: whether nothing is infinite that is computed within these limits.
    shapes: of all values. outputs: the values at the segment's outputs.
    """

    limits: Mapping[int, float]
    finite: bool
    shapes: Mapping[int, tuple[int, ...]]
    outputs: Mapping[int, Any]


def fuse(plan: Plan, inputs: Sequence[Any]) -> Plan | None:
    """Compile a plan for inputs of these shapes, in the graph's order; None where nothing is worth it."""
    parts = list(_parts(plan))
    if not can_fuse() or not any(isinstance(part, Segment) for part in parts):
        return None
    first = len(plan.graph.inputs)
    initial = {first + i: value for i, value in enumerate(plan.initial) if value is not None}
    values = {**initial, **dict(enumerate(inputs))}
    steps: list[Step] = []
    for part in parts:
        before = [values[place] for place in part.inputs]
        if isinstance(part, Segment):
            measured = _measure(part, initial, before)
            values.update(measured.outputs)
            steps += _fused(part, initial, before, measured)
        else:
            values.update(zip(part.outputs, part.node.run(*before), strict=True))
            steps.append(part)
        for place in part.frees:
            values.pop(place, None)
    return replace(plan, steps=tuple(steps))


def _parts(plan: Plan) -> Iterator[Step | Segment]:
    """Divide a plan into steps and segments, in order; constants that a step gives come first, and part no row."""
    plan = replace(plan, steps=tuple(sorted(plan.steps, key=lambda step: bool(step.inputs))))
    row: list[Step] = []
    for index, step in enumerate(plan.steps):
        if _fits(step):
            row.append(step)
            continue
        yield from _row(row, plan, index)
        yield step
        row = []
    yield from _row(row, plan, len(plan.steps))


def _fits(step: Step) -> bool:
    node = step.node
    return node.role in _FUSIBLE and not node.reads_numbers and all(v.dtype in LARGEST for v in node.outputs)


def _row(row: list[Step], plan: Plan, end: int) -> Iterator[Step | Segment]:
    """Make a segment of steps in a row where it is worth it. end: the number of the plan's step after them."""
    if sum(step.node.role in _HEAVY for step in row) < _FEWEST:
        yield from row
        return
    first = len(plan.graph.inputs)
    known = {first + i for i, value in enumerate(plan.initial) if value is not None}
    written = {place for step in row for place in step.outputs}
    read = {place for step in plan.steps[end:] for place in step.inputs} | set(plan.outputs)
    inputs = dict.fromkeys(p for step in row for p in step.inputs if p not in written | known)
    outputs = dict.fromkeys(p for step in row for p in step.outputs if p in read)
    yield Segment(tuple(row), tuple(inputs), tuple(outputs))


def _measure(segment: Segment, initial: Mapping[int, Any], inputs: Sequence[Any]) -> Measured:
    """Run a segment, and bound its values."""
    limits: dict[int, float] = {}
    bounds: dict[int, float] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    boundless: list[Piece] = []

    def limit(place: int, value: torch.Tensor, largest: float) -> None:
        most = max(_HEADROOM * peak(value), _LEAST[dtypes[place]])
        bounds[place] = limits[place] = min(most, largest, LARGEST[dtypes[place]])

    def visit(piece: Piece, read: Sequence[Any], results: Sequence[Any]) -> None:
        for place, value in zip(piece.inputs, read, strict=True):
            shapes[place] = tuple(value.shape)
            if place not in bounds:  # a number that the file holds
                bounds[place] = peak(value)
        largest = computed(piece.node, [bounds[place] for place in piece.inputs], read)
        if piece.node.role not in _CALM and not largest <= COMPUTABLE:
            for place, value in zip(piece.inputs, read, strict=True):
                if bounds[place] > MULTIPLIABLE and place in dtypes:
                    limit(place, value, MULTIPLIABLE)
            largest = computed(piece.node, [bounds[place] for place in piece.inputs], read)
            if COMPUTABLE < largest < math.inf or any(bounds[place] > MULTIPLIABLE for place in piece.inputs):
                boundless.append(piece)
        for place, result in zip(piece.outputs, results, strict=True):
            bounds[place] = bound(piece.node, largest)
            if math.isinf(bounds[place]) and place in wild:
                limit(place, result, math.inf)

    wild = {place for step in segment.steps if step.node.role not in _CALM for place in step.inputs}
    dtypes = {p: v.dtype for step in segment.steps for p, v in zip(step.outputs, step.node.outputs, strict=True)}
    for step in segment.steps:
        dtypes |= {place: step.node.outputs[0].dtype for place in step.inputs if place in segment.inputs}
    for place, value in zip(segment.inputs, inputs, strict=True):
        limit(place, value, math.inf)
    outputs = segment.run(initial, inputs, segment.outputs, visit=visit)
    return Measured(limits, not boundless, shapes, outputs)


def _fused(
    segment: Segment, initial: Mapping[int, Any], inputs: Sequence[Any], measured: Measured
) -> tuple[Step, ...]:
    """Make one step of a segment; its own steps where that gains nothing or cannot be.

    A batch whose values are too large goes through it in parts, if images are kept apart.
    """
    size = 0
    if _goes_over_again(segment) and _largest(measured) > _CACHED:
        if not keeps_images_apart(segment, initial, inputs):
            return segment.steps
        size = part_size(len(inputs[0]), _largest(measured), _CACHED)
        inputs = [value[:size] for value in inputs]
        measured = _measure(segment, initial, inputs)
        if _largest(measured) > _CACHED:
            return segment.steps
    run = _compiled(segment, initial, inputs, measured)
    if run is None:
        return segment.steps
    run = in_parts(run, size) if size else run
    return (Step(segment.steps[-1].node, run, segment.inputs, segment.outputs, segment.frees),)


def _compiled(
    segment: Segment, initial: Mapping[int, Any], inputs: Sequence[Any], measured: Measured
) -> Callable[..., tuple[Any, ...]] | None:
    """Compile a segment; None where the compiler fails, or would not answer as the steps do."""
    if not measured.finite:
        return None
    most = torch.tensor(list(measured.limits.values()))
    wanted = (*segment.outputs, *measured.limits)
    pieces = rewrite(Row(segment.steps, wanted, measured.shapes))
    merge = _by_image(segment, measured)
    known = {place: _as_images(value) for place, value in initial.items()} if merge else initial

    def traced(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = map(_as_images, values) if merge else values
        inside = segment.run(known, list(map(_channels_last, images)), wanted, pieces)
        peaks = [largest_magnitude(inside[place]) for place in measured.limits]
        outputs = [inside[place] for place in segment.outputs]
        if merge:
            outputs = [inside[place].reshape(measured.outputs[place].shape) for place in segment.outputs]
        return (*outputs, torch.stack(peaks))

    try:
        with compiler(), plain_weights(), torch.inference_mode(mode=False), torch.no_grad():
            examples = tuple(value.clone() for value in inputs)
            traced(*examples)  # which unpacks the weights
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what tracing fixes, which follows from shapes here
                function = torch.jit.trace(traced, examples, check_trace=False)
            for _ in range(2):  # the first call looks at the shapes, the second compiles
                function(*examples)
            # On other values than those that were traced: one that became a constant would show.
            others = tuple(map(other_values, examples))
            *outputs, peaks = function(*others)
        expected = segment.run(initial, others, segment.outputs).values()
    except RuntimeError:
        return None
    allowed = max(_APART[value.dtype] for step in segment.steps for value in step.node.outputs)
    alike = all(apart(one, other) <= allowed for one, other in zip(outputs, expected, strict=True))
    if not alike or not bool((peaks <= most).all()):
        return None
    return _watched(function, most, segment, initial)


def _goes_over_again(segment: Segment) -> bool:
    return any(step.node.unrounded or step.node.role == "pad" for step in segment.steps)


def _largest(measured: Measured) -> int:
    """Return the bytes of the largest value."""
    return max(4 * math.prod(shape) for shape in measured.shapes.values())


def _by_image(segment: Segment, measured: Measured) -> bool:
    """Say whether values [Seq, Batch, C, H, W] can be images all the way; the compiler fuses those."""
    leading = {shape[:2] for shape in measured.shapes.values() if len(shape) == _RANK5}
    return len(leading) == 1 and all(step.node.by_image for step in segment.steps)


def _as_images(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.ndim != _RANK5:
        return value
    # Only this keeps the stride of a batch of one, by which torch and the compiler know how its channels lie.
    return value.squeeze(0) if value.shape[0] == 1 else value.flatten(0, 1)


def _channels_last(value: torch.Tensor) -> torch.Tensor:
    """Lay images out as what follows a convolution may be, from which on the compiler keeps it."""
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def _watched(
    function: Callable[..., Any], most: torch.Tensor, segment: Segment, initial: Mapping[int, Any]
) -> Callable[..., tuple[Any, ...]]:
    def run(*inputs: Any) -> tuple[Any, ...]:
        *results, peaks = function(*inputs)
        if bool((peaks <= most).all()):  # false where one is NaN
            return tuple(results)
        return tuple(segment.run(initial, inputs, segment.outputs).values())

    return run
