"""What computes in 16 bits in an ONNX ModelProto: listed, and widened."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.formats.editing import Halves

# TensorProto.DataType.
_FLOAT, _HALVES = 1, {10: "float16", 16: "bfloat16"}


def halves(model: Any) -> Halves:
    """Find casts to 16 bits, and weights of 16 bits."""
    casts = {
        node.name or node.output[0]: _HALVES[attribute.i]
        for node in model.graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to" and attribute.i in _HALVES
    }
    stored = tuple(_HALVES[t.data_type] for t in model.graph.initializer if t.data_type in _HALVES)
    return Halves(casts, stored)


def widen(model: Any) -> None:
    """Give all that has 16 bits 32: weights, constants, casts, inputs and outputs."""
    _widen(model.graph)


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
