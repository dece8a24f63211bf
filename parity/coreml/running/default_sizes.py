"""Shapes that do not fit, reported at loading: Core ML plans a model for its default sizes, and refuses there.

A prediction with other sizes might go well here, and would never on a device. What a program declares is compared
as it stands. Sizes that an input leaves open get their defaults, in a run on zeros of what leads to the operations
that join values. Where a shape follows from what an input holds, zeros say nothing of it, and nothing is checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from parity.core.errors import CoreMLError
from parity.coreml.dtypes import CARRIERS
from parity.coreml.program import Node, Value
from parity.coreml.running.features import feed
from parity.coreml.running.guard import Guard
from parity.coreml.running.plan import Plan, Step
from parity.coreml.running.state import make_cells
from parity.coreml.shapes import Shape, default_shape, image_sizes, name_shapes

# Operations of ML Programs on two tensors, number by number, with NumPy's broadcasting.
_BINARY = frozenset(
    (
        *("add", "sub", "mul", "real_div", "floor_div", "mod", "pow", "maximum", "minimum", "equal", "not_equal"),
        *("greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or", "logical_xor"),
    )
)
# Whether these run depends on the shapes of their inputs and on nothing else.
_JOINING = _BINARY | frozenset(
    ["stack", "concat", "select", "matmul"]
    # Of NeuralNetworks.
    + ["concatND", "batchedMatmul", "multiply", "average", "max", "min", "dot", "whereBroadcastable"]
    + [f"{kind}Broadcastable" for kind in ("add", "subtract", "multiply", "divide", "floorDiv", "mod", "pow")]
    + ["maxBroadcastable", "minBroadcastable", "notEqual", "lessThan", "lessEqual", "greaterThan", "greaterEqual"]
    + ["logicalAnd", "logicalOr", "logicalXor"]
)
# These give a value's sizes, which its content has no part in.
_SIZES = frozenset(["shape", "getShape"])
# The shape of the result follows from the content even of a single input.
_BY_CONTENT = frozenset(
    (
        *("fill", "range_1d", "non_zero", "one_hot", "non_maximum_suppression", "make_list", "list_read"),
        *("list_gather", "classify", "fillDynamic", "rangeDynamic", "whereNonZero", "NonMaximumSuppression"),
    )
)
# Multiplications, and numbers of a result.
_FEW = 1 << 25
_CONTROL_FLOW = frozenset(["cond", "while_loop", "branch", "loop", "loopBreak", "loopContinue"])


def check_declared_shapes(plan: Plan) -> None:
    """Raise a CoreMLError for an operation of an ML Program whose operands have declared shapes that do not fit."""
    declared = {v.name: v for v in (*plan.graph.inputs, *(v for n in plan.graph.nodes for v in n.outputs))}
    for node in plan.graph.nodes:
        _check_declared(plan, node, declared)


def check_default_sizes(plan: Plan, description: Any) -> None:
    """Raise a CoreMLError for an operation whose operands' shapes do not fit at the inputs' default sizes."""
    if any(not _fixed(v.shape) or v.others for v in plan.graph.inputs):
        with torch.inference_mode(), Guard():
            _check_defaults(plan, description)


def shapes_by_content(plan: Plan) -> bool:
    """Say whether the shape of any value may follow from what the inputs hold."""
    return any(
        node.reads_numbers
        or (node.inputs and node.type in (_BY_CONTENT | _CONTROL_FLOW) - {"classify"})
        or (len(node.inputs) > 1 and node.type not in _JOINING)
        or node.type.endswith("Dynamic")
        for node in plan.graph.nodes
    )


def _fixed(shape: Shape) -> bool:
    return all(isinstance(size, int) for size in shape)


def _check_declared(plan: Plan, node: Node, declared: Mapping[str, Value]) -> None:
    values = [declared.get(name) for name in node.inputs]
    known = [v for v in values if v and v.dtype in CARRIERS and not v.state and not v.others and _fixed(v.shape)]
    if (
        node.type not in _JOINING
        or len(known) < 2
        or len(known) != len(values)
        or all(v.shape == () for v in known)
    ):
        return
    shapes = [cast(tuple[int, ...], v.shape) for v in known]
    # Most fit so, which NumPy says.
    if node.type in _BINARY and _broadcast(shapes):
        return
    # Views of a single number; where the result is large, before them, tensors without memory, for which PyTorch
    # loads its compiler in a second. Those cannot be where a constant takes part, which has memory.
    for device in ("cpu",) if _is_quick(shapes) else ("meta", "cpu"):
        single = [torch.ones((), dtype=CARRIERS[v.dtype], device=device) for v in known]
        try:
            node.run(*[one.expand(v.shape) for one, v in zip(single, known, strict=True)])  # type: ignore[arg-type]
        except Exception as error:  # torch's own
            if device == "cpu":
                raise _misfit(plan, node, shapes, "the file declares", error) from error
        else:
            return


def _is_quick(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Say whether even a product of these takes milliseconds and little memory."""
    return max(map(math.prod, shapes)) * max(size for shape in shapes for size in (1, *shape[-2:])) <= _FEW


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _check_defaults(plan: Plan, description: Any) -> None:
    checked = _to_check(plan)
    if not checked:
        return
    states = tuple(value for value in plan.graph.inputs if value.state)
    try:
        feeds = {f.name: _zeros(f, plan) for f in description.input}
        feeds |= make_cells(states, plan.where).cells if states else {}
    except CoreMLError:
        return  # no sizes to check by; a prediction tells what is wrong
    values: list[Any] = [*(feeds[value.name] for value in plan.graph.inputs), *plan.initial]
    for step in _leading_to(plan, checked):
        operands = [values[place] for place in step.inputs]
        try:
            results = step.run(*operands)
        except Exception as error:
            if step.node.outputs and step.node.outputs[0].name in checked:
                shapes: list[Shape] = [tuple(x.shape) for x in operands if isinstance(x, torch.Tensor)]
                raise _misfit(plan, step.node, shapes, "follow from the default sizes", error) from error
            return  # zeros may be at fault
        for place, result in zip(step.outputs, results, strict=True):
            values[place] = result


def _to_check(plan: Plan) -> frozenset[str]:
    """Name the results of joining nodes of several values whose shapes do not follow from what the inputs hold."""
    held = {value.name for value in plan.graph.inputs}
    shaped: set[str] = {value.name for value in plan.graph.inputs if value.dtype == "outer"}
    checked: set[str] = set()
    for node in plan.graph.nodes:
        outputs = {value.name for value in node.outputs}
        contents = [name for name in node.inputs if name in held]
        several = len(contents) > 1 and node.type not in _JOINING
        by_content = bool(contents) and node.type in _BY_CONTENT
        if several or by_content or _stays_unrun(node) or not shaped.isdisjoint(node.inputs):
            shaped |= outputs
        elif node.type in _JOINING and len(node.inputs) > 1:
            checked.add(node.outputs[0].name)
        if (contents and node.type not in _SIZES) or not shaped.isdisjoint(outputs):
            held |= outputs
    return frozenset(checked)


def _stays_unrun(node: Node) -> bool:
    # A loop may not end, and a draw would take numbers from the generator of whoever loads the model.
    drawing = node.type.startswith("random") or node.type == "categoricalDistribution"
    return drawing or node.type in _CONTROL_FLOW


def _leading_to(plan: Plan, checked: Iterable[str]) -> list[Step]:
    needed: list[Step] = []
    read = {plan.places[name] for name in checked}
    for step in reversed(plan.traced):
        if not read.isdisjoint(step.outputs):
            needed.append(step)
            read.update(step.inputs)
    return needed[::-1]


def _zeros(feature: Any, plan: Plan) -> Any:
    declared = next(value for value in plan.graph.inputs if value.name == feature.name)
    if feature.type.WhichOneof("Type") != "imageType":
        shape = () if declared.shape == () else default_shape(feature.type.multiArrayType)
        return feed(feature, np.broadcast_to(np.float32(0), shape), declared, plan.where)
    from PIL import Image

    image = feature.type.imageType
    default = (int(image.width), int(image.height))
    sizes = [default] if all(default) else image_sizes(image)
    width, height = (side if isinstance(side, int) else getattr(side, "low", 1) for side in sizes[0])
    return feed(feature, Image.new("RGB", (width, height)), declared, plan.where)


def _misfit(plan: Plan, node: Node, shapes: Sequence[Shape], origin: str, error: Exception) -> CoreMLError:
    text = " ".join(str(error).split()) or type(error).__name__
    listed = ", ".join(name_shapes([shape]) for shape in shapes)
    return CoreMLError(
        f"{plan.where}: operation `{node.name}` ({node.type}) cannot join the shapes {listed}, which {origin}: "
        f"{text}; Core ML refuses to load such a model, convert again with sizes that fit"
    )
