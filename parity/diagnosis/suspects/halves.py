"""Operations of an ONNX file that compute in 16 bits, whether the whole file does or a few between two casts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.diagnosis.repair import Repair
from parity.diagnosis.suspects import Suspect
from parity.diagnosis.suspects.precision import LARGEST

if TYPE_CHECKING:
    from parity.diagnosis.editing import Editable
    from parity.diagnosis.examination import Examination

# TensorProto.DataType.
_FLOAT, _HALVES = 1, {10: "float16", 16: "bfloat16"}


def suspects(examination: Examination) -> Iterator[Suspect]:
    """Compute in fp32 what the file computes in 16 bits."""
    graph = examination.graph
    if examination.artifact.format != "onnx" or graph is None:
        return
    content = examination.editable.content
    found = [_HALVES[tensor.data_type] for tensor in content.graph.initializer if tensor.data_type in _HALVES]
    casts = {
        node.name or node.output[0]: _HALVES[attribute.i]
        for node in content.graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to" and attribute.i in _HALVES
    }
    if not found and not casts:
        return
    kind = next(iter((*casts.values(), *found)))
    where = f", first behind Cast `{next(iter(casts))}`" if casts else ""
    repair = Repair(
        edit=_widened,
        evidence="the same file computed in fp32 agrees",
        fix="export in float32, or judge it by a tolerance for 16 bits",
    )
    if name := _overflowing(examination):
        yield Suspect(
            "p-fp16-overflow",
            f"`{name}` overflows in {kind} (> {LARGEST:g}){where}: keep that operation in float32.",
            repair,
            seen=True,
        )
        return
    yield Suspect(
        "p-fp16-drift",
        f"A part of the file computes in {kind}{where}: the same file computed in float32 agrees.",
        repair,
    )


def _overflowing(examination: Examination) -> str:
    """Name the first value that is infinite for the worst image; empty where none is, or it cannot be traced."""
    values = examination.values(examination.pixels[examination.screen[0]]) or {}
    floats = ((name, value) for name, value in values.items() if value.dtype.kind == "f")
    return next((name for name, value in floats if np.isinf(value).any()), "")


def _widened(model: Editable) -> None:
    """Give all that has 16 bits 32: weights, constants, casts, inputs and outputs."""
    _widen(model.content.graph)


def _widen(graph: Any) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in _HALVES:
                attribute.i = _FLOAT
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            if attribute.HasField("g"):
                _widen(attribute.g)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _HALVES:
            value.type.tensor_type.elem_type = _FLOAT


def _widen_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    if tensor.data_type in _HALVES:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
